"""Make bytecode and test programs before a kernel boots: in the machine it would take minutes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from exporter.kernel.compilation.btf import MEMBERS, Btf
from exporter.kernel.compilation.compiling import SYSTEM_PYTHON, Compiler, compiled
from exporter.kernel.compilation.sources import bpf_directory, sources_digest
from tools.kernels.architectures import X86_64, Architecture
from tools.kernels.folders import CACHE, CHECKOUT, digest, made_once
from tools.kernels.roots import Root, in_root

_COMPILER = "/src/exporter/kernel/compilation/compiler.py"
_BPF = Path("/src/bpf")
_PROGRAMS = CHECKOUT / "tests/kernel/programs"
OBJECTS = "objects"
"""The folder of the objects, one by each compiler."""


def offsets_in(btf: bytes) -> dict[str, int]:
    """Return the offsets of what the programs read, in the kernel with this BTF. Raises KernelError."""
    return Btf(btf).offsets(MEMBERS)


def bytecode_by(root: Root, architecture: Architecture) -> Path:
    """Return the object that the root's compiler makes of bpf/. Raises KernelError."""
    machine = architecture.machine
    target = CACHE / "bytecode" / f"{root.folder.name}-{machine}-{sources_digest(bpf_directory())[:32]}"
    with made_once(target) as unfinished:
        if unfinished:
            compiler = Compiler(root.command(SYSTEM_PYTHON, "-I", _COMPILER))
            (unfinished / "object.json").write_bytes(compiled(compiler, machine, _BPF).text())
    return target / "object.json"


def test_programs(root: Root, architecture: Architecture) -> Path:
    """Make the folder of programs that the tests run; they are static, and so run with any root.

    The root's compiler makes those of its own architecture, the host's those of another one.
    """
    sources = sorted(path for path in _PROGRAMS.iterdir() if path.is_file())
    target = CACHE / f"programs-{architecture.debian}-{digest(*sources)}"
    with made_once(target) as unfinished:
        if unfinished and architecture != X86_64:
            make = [
                "make",
                "--silent",
                "-C",
                str(_PROGRAMS),
                f"OUT={unfinished}",
                f"CC={architecture.compiler}",
            ]
            subprocess.run(make, check=True)
        elif unfinished:
            written = unfinished / "written"
            written.mkdir()
            make = ["make", "--silent", "-C", "/src/tests/kernel/programs", "OUT=/programs"]
            script = 'mkdir /programs && exec "$@"'
            command = in_root(root.folder, "sh", "-c", script, "sh", *make, kept=written)
            subprocess.run(command, check=True)
            for program in (written / "upper/programs").iterdir():
                program.rename(unfinished / program.name)
            shutil.rmtree(written)
    return target


def put(folder: Path, programs: Path, objects: Mapping[str, Path]) -> None:
    """Put both into a folder for `--made-ahead` of the tests; `objects` are by their compilers' names."""
    shutil.copytree(programs, folder / "programs")
    (folder / OBJECTS).mkdir(parents=True)
    for compiler, path in objects.items():
        shutil.copy(path, folder / OBJECTS / f"{compiler}.json")


__all__: Sequence[str] = ("OBJECTS", "bytecode_by", "offsets_in", "put", "test_programs")
