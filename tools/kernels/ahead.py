"""Make bytecode and test programs before a kernel boots: in the machine it would take minutes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from exporter.kernel.compilation.btf import MEMBERS, Btf
from exporter.kernel.compilation.bytecode import Cache, Request
from exporter.kernel.compilation.compiling import SYSTEM_PYTHON, Compiler
from exporter.kernel.compilation.sources import bpf_directory, compiler_flags, source_text
from tools.kernels.folders import CACHE, CHECKOUT, digest, made_once
from tools.kernels.roots import Root, in_root

_COMPILER = "/src/exporter/kernel/compilation/compiler.py"
_BPF = "/src/bpf"
_PROGRAMS = CHECKOUT / "tests/kernel/programs"
_STAND_IN = """\
from pathlib import Path
print(Path("/results/ahead/bytecode/{compiler}.json").read_text())
"""


def offsets_in(btf: bytes) -> dict[str, int]:
    """Return the offsets of what the programs read, in the kernel with this BTF. Raises KernelError."""
    return Btf(btf).offsets(MEMBERS)


def compile_for(offsets: Mapping[str, int], root: Root) -> str:
    """Compile our programs for a kernel with these offsets, by the root's compiler; return its output.

    Raises KernelError.
    """
    folder = bpf_directory()
    request = Request(source_text(folder), compiler_flags(folder, dict(offsets)), folder)
    target = CACHE / "bytecode" / f"{root.folder.name}-{request.digest()[:32]}"
    with made_once(target) as unfinished:
        if unfinished:
            there = Request(request.source, [_moved(flag, folder) for flag in request.flags], Path(_BPF))
            compiler = Compiler(root.command(SYSTEM_PYTHON, "-I", _COMPILER))
            (unfinished / "answer.json").write_text(json.dumps(compiler.compile(there)))
    return (target / "answer.json").read_text()


def _moved(flag: str, folder: Path) -> str:
    return flag.replace(str(folder), _BPF)


def test_programs(root: Root) -> Path:
    """Make the folder of programs that the tests run; they are static, and so run with any root."""
    sources = sorted(path for path in _PROGRAMS.iterdir() if path.is_file())
    target = CACHE / f"programs-{digest(*sources)}"
    with made_once(target) as unfinished:
        if unfinished:
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


def put(folder: Path, programs: Path, bytecode: Mapping[str, str]) -> None:
    """Put both into a folder for `--made-ahead` of the tests; `bytecode` is by the name of its compiler."""
    shutil.copytree(programs, folder / "programs")
    (folder / "bytecode").mkdir(parents=True)
    for compiler, answer in bytecode.items():
        (folder / "bytecode" / f"{compiler}.json").write_text(answer)


def put_compiler(folder: Path, compiler: str) -> None:
    """Put a stand-in for exporter/kernel/compilation/compiler.py there; it prints that one's output."""
    (folder / "compiler.py").write_text(_STAND_IN.format(compiler=compiler))


def keep_for_the_next_start(cache: Path, offsets: Mapping[str, int], answer: str) -> None:
    """Put bytecode where ci-egress looks for it first, as an earlier start would have left it."""
    folder = bpf_directory()
    request = Request(source_text(folder), compiler_flags(folder, dict(offsets)), folder)
    Cache(cache).put(request.digest(), json.loads(answer))


__all__: Sequence[str] = (
    "compile_for",
    "keep_for_the_next_start",
    "offsets_in",
    "put",
    "put_compiler",
    "test_programs",
)
