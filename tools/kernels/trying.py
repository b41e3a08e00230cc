"""Try one kernel, from its BTF to its results."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.common.errors import KernelError
from exporter.kernel.compilation.btf import VMLINUX
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.kinds import possible
from tools.kernels.ahead import OBJECTS, bytecode_by, offsets_in, put
from tools.kernels.architectures import X86_64, Architecture
from tools.kernels.folders import CHECKOUT, RESULTS
from tools.kernels.machine import boot
from tools.kernels.results import (
    AT_SECURITY_HOOKS,
    ON_A_KERNEL_TOO_OLD,
    ON_OTHERS,
    Check,
    Outcome,
    checks_in,
    unseen,
)
from tools.kernels.roots import Image, Root
from tools.kernels.unpacked import Kernel

THIS_MACHINE = "this machine"
_TEST_LIMIT_S = 300
"""The most seconds for each test: ten times what it takes without emulation."""
_HERE_LIMIT_S = 1800
"""The most seconds on this machine: a minute, and waiting for tests that run alone (tests/conftest.py)."""
_COMPILERS = {"bookworm": "llvm14", "trixie": "llvm19"}
"""The names of the compilers, by the root whose BCC it is."""
_JOB = """\
mkdir bpf/objects
cp /results/ahead/{objects}/{compiler}.json "bpf/objects/$(uname -m).json"
exec {command}
"""


@dataclass(frozen=True)
class Made:
    """The files that all kernels are tried with."""

    roots: Mapping[str, Root]
    images: Mapping[tuple[str, Architecture], Image]
    """What machines boot with, by suite and architecture."""
    checkouts: Mapping[str, Path]
    """The checkouts as tar files, by suite: they are the same for each architecture."""
    programs: Mapping[Architecture, Path]


def test_files() -> list[str]:
    """Return the files that have tests for every kernel, by their paths in the checkout."""
    return [
        str(path.relative_to(CHECKOUT))
        for path in sorted((CHECKOUT / "tests").rglob("test_*.py"))
        if "pytest.mark.everywhere(" in path.read_text()
    ]


def in_a_machine(kernel: Kernel, made: Made) -> Outcome:
    """Find offsets, then run all tests in one boot; a kernel that is too old must be refused."""
    stock, results = kernel.stock, _empty(RESULTS / kernel.stock.name)
    began_s = time.monotonic()
    checks, wanted = list[Check](), ON_A_KERNEL_TOO_OLD
    if not stock.is_too_old:
        checks, wanted = [_offsets(kernel.btf.read_bytes())], ON_OTHERS
    seconds = {"ahead": time.monotonic() - began_s}
    if all(check.ok for check in checks):
        _put_ahead(results, made, stock.architecture)
        command = _pytest(".venv/bin/python", Path("/results"), is_too_old=stock.is_too_old)
        job = _JOB.format(objects=OBJECTS, compiler=_COMPILERS[stock.root], command=command)
        over = boot(
            kernel, made.images[stock.root, stock.architecture], made.checkouts[stock.root], results, job
        )
        checks += _checks(results, over.status, over.story())
        seconds["boot"] = over.seconds
    return _outcome(stock.name, kernel.release, [*checks, *unseen(checks, wanted)], made, seconds)


def on_this_machine(made: Made) -> Outcome:
    """Try the kernel that runs in the same way, but without a virtual machine."""
    began_s = time.monotonic()
    results = _empty(RESULTS / "this-machine")
    checks = [_offsets(VMLINUX.read_bytes())]
    _put_ahead(results, made, X86_64)
    seconds = {"ahead": time.monotonic() - began_s}
    log = results / "log"
    with log.open("w") as output:
        command = ["sh", "-c", _pytest(sys.executable, results, is_too_old=False)]
        # In CI, tests that weren't chosen count as left out (tests/conftest.py).
        environment = {name: value for name, value in os.environ.items() if name != "CI"}
        done = subprocess.run(
            command,
            cwd=CHECKOUT,
            env=environment,
            stdout=output,
            stderr=output,
            timeout=_HERE_LIMIT_S,
            check=False,
        )
    checks += _checks(results, done.returncode, log.read_text())
    seconds["boot"] = time.monotonic() - began_s - seconds["ahead"]
    takes_all = len(possible(PROGRAMS)) == len(PROGRAMS)
    wanted = [each for each in ON_OTHERS if takes_all or each not in AT_SECURITY_HOOKS]
    return _outcome(THIS_MACHINE, platform.release(), [*checks, *unseen(checks, wanted)], made, seconds)


def _outcome(
    name: str, release: str, checks: list[Check], made: Made, seconds: Mapping[str, float]
) -> Outcome:
    compilers = tuple(root.llvm() for root in made.roots.values())
    return Outcome(name, release, tuple(checks), compilers=compilers, seconds=seconds)


def _offsets(btf: bytes) -> Check:
    """Check that the kernel has all that the programs read."""
    try:
        offsets_in(btf)
    except KernelError as error:
        return Check("offsets", "offsets", ok=False, why=str(error))
    return Check("offsets", "offsets", ok=True)


def _put_ahead(results: Path, made: Made, architecture: Architecture) -> None:
    """Put the objects of both compilers, and the programs of the tests, into `results`."""
    objects = {_COMPILERS[suite]: bytecode_by(root, architecture) for suite, root in made.roots.items()}
    put(results / "ahead", made.programs[architecture], objects)


def _pytest(python: str, results: Path, *, is_too_old: bool) -> str:
    """Return the command for tests that carry `everywhere`: the refusal's if it is too old, else others."""
    refused = "everywhere(feature='refusal')"
    which = refused if is_too_old else f"everywhere and not {refused}"
    return (
        f'{python} -m pytest -p no:cacheprovider -p no:hypothesispytest -m "{which}"'
        f" -o timeout={_TEST_LIMIT_S} --durations=15 -v"
        f" --made-ahead={results}/ahead --junitxml={results}/tests.xml {' '.join(test_files())}"
    )


def _checks(results: Path, status: int | None, story: str) -> list[Check]:
    """Return the checks that pytest wrote, and a failure if it didn't come to its end."""
    junit = results / "tests.xml"
    checks = list(checks_in(junit)) if junit.exists() else []
    is_told = any(not check.ok for check in checks)
    if status is None:
        checks.append(Check("(boot)", "boot", ok=False, why=f"it didn't come to its end in time\n{story}"))
    elif status != 0 and not is_told:
        checks.append(Check("(boot)", "boot", ok=False, why=f"the tests ended with status {status}\n{story}"))
    return checks


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
