"""Get the programs' bytecode: from the object that came with the package, or from BCC in a child process.

The compiler (BCC and LLVM) never enters this process, which only reads its output.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from exporter.common.errors import KernelError
from exporter.common.limits import limit_hint

from .btf import MEMBERS, kernel_offsets
from .bytecode import Bytecode, BytecodeObject, placeholders
from .sources import bpf_directory, compiler_flags, source_text, sources_digest
from .uses import ALL_USES, Uses

SYSTEM_PYTHON = "/usr/bin/python3"
_SCRIPT = Path(__file__).with_name("compiler.py")
TIMEOUT_S = 300.0
"""The most seconds that compiling may take: on an idle machine it takes one, on a busy one minutes."""
_HINTS = {
    "import": "apt-get install python3-bpfcc (0.25 or newer; PyPI's bcc is another thing)",
    "compile": "run with -v for the compiler's words, and report them",
}


PLACEHOLDERS = placeholders([*MEMBERS, *Uses().numbers])
_AGAIN = "install ci-egress-exporter again; in a checkout: make objects"


class Request(NamedTuple):
    """A request to the compiler."""

    source: str
    flags: list[str]
    include: Path
    """Folder of the headers."""

    def text(self) -> str:
        """Return the request in the form that compiler.py reads."""
        return json.dumps(self._asdict() | {"include": str(self.include)})


class Compiler:
    """BCC, run in a child process."""

    def __init__(self, command: list[str]) -> None:
        """`command` runs compiler.py under a Python that has BCC."""
        self._command = command
        self._child: subprocess.Popen[str] | None = None

    def version(self) -> str:
        """Return BCC's version. Raises KernelError when there is none that can be used."""
        version: str = self._run("", "--check")["bcc"]
        return version

    def compile(self, request: Request) -> dict[str, Any]:
        """Compile `request` in the child; return the child's answer (see compiler.py).

        Raises KernelError with what is missing and how to get it.
        """
        return self._run(request.text())

    def end(self) -> None:
        """Kill the child, whatever it is doing. Any thread may call this."""
        if self._child:
            self._child.kill()

    def _run(self, text: str, *arguments: str) -> dict[str, Any]:
        self._child = child = self._start(*arguments)
        try:
            output, said = child.communicate(text, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise KernelError(
                f"the programs were not compiled within {TIMEOUT_S:.0f} s",
                hint="try again when the machine is less busy",
            ) from None
        try:
            answer: dict[str, Any] = json.loads(output)
        except ValueError:
            answer = {"error": f"the compiler ended with status {child.returncode}", "stage": "compile"}
        if "error" in answer:
            stage = answer["stage"]
            what = "cannot use BCC" if stage == "import" else "cannot compile the programs"
            # BCC's exception needn't name the cause; its output does.
            hint = limit_hint(answer["error"]) or limit_hint(said) or _HINTS[stage]
            raise KernelError(f"{what}: {answer['error']}", hint=hint, detail=said)
        return answer

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        # The child runs as root, so it gets nothing of the caller's environment. Nor does it get the working
        # directory, which may be deleted, or closed to this user.
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(  # noqa: S603 - a fixed program
                [*self._command, *arguments],
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                env=environment,
                cwd="/",
                text=True,
            )
        except OSError as error:
            hint = limit_hint(str(error)) or "apt-get install python3"
            raise KernelError(f"cannot run {self._command[0]}: {error.strerror}", hint=hint) from None


def system_compiler(python: str = SYSTEM_PYTHON) -> Compiler:
    """Return the compiler of this machine; `python` is the interpreter that has BCC."""
    return Compiler([python, "-I", str(_SCRIPT)])


def compiled(
    compiler: Compiler,
    machine: str,
    folder: Path | None = None,
    offsets: Mapping[str, int] = PLACEHOLDERS,
) -> BytecodeObject:
    """Compile bpf/ for a machine of requirements.MACHINES.

    `folder` is bpf/ as the compiler's process sees it. `offsets` are the numbers by which the object's table
    is made: with others, the object is the same. Raises KernelError.
    """
    ours = bpf_directory()
    folder = folder or ours
    request = Request(source_text(ours), compiler_flags(folder, offsets, machine), folder)
    return BytecodeObject.of(compiler.compile(request), sources_digest(ours), offsets)


def kept_object(machine: str) -> Path:
    """Return the path of the object that came with this package, or that `make objects` made."""
    return bpf_directory() / "objects" / f"{machine}.json"


def prebuilt(machine: str) -> BytecodeObject | None:
    """Return the object in `kept_object`; None if it was made from other sources, or is missing.

    Raises KernelError when it can't be read.
    """
    path = kept_object(machine)
    try:
        found = BytecodeObject.parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KernelError(f"cannot read {path}: {error.strerror}", hint=_AGAIN) from None
    except ValueError as error:
        raise KernelError(f"{path} is damaged: {error}", hint=_AGAIN) from None
    return found if found.source == sources_digest(bpf_directory()) else None


def our_bytecode(compiler: Compiler, uses: Uses = ALL_USES, *, compiles: bool = False) -> Bytecode:
    """Return the programs for the kernel that runs: prebuilt, or compiled if there is no such or `compiles`.

    Raises KernelError.
    """
    machine = os.uname().machine
    ready = None if compiles else prebuilt(machine)
    return (ready or compiled(compiler, machine)).fitted(kernel_offsets() | uses.numbers)
