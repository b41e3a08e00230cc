"""Get the programs' bytecode: a child process compiles the sources, unless an earlier start kept the result.

The compiler (BCC and LLVM) never enters this process, which only reads its output.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter.common.errors import KernelError
from exporter.common.limits import limit_hint

from .btf import kernel_offsets
from .bytecode import Bytecode, Cache, Request
from .sources import bpf_directory, compiler_flags, source_text

SYSTEM_PYTHON = "/usr/bin/python3"
_SCRIPT = Path(__file__).with_name("compiler.py")
TIMEOUT_S = 300.0
"""The most seconds that compiling may take: on an idle machine it takes one, on a busy one minutes."""
_HINTS = {
    "import": "apt-get install python3-bpfcc (0.25 or newer; PyPI's bcc is another thing)",
    "compile": "run with -v for the compiler's words, and report them",
}


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
        return self._run(json.dumps(request.fields()))

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


def our_request() -> Request:
    """Return the request for our programs on this kernel. Raises KernelError."""
    folder = bpf_directory()
    return Request(source_text(folder), compiler_flags(folder, kernel_offsets()), folder)


def compiled(
    request: Request,
    compiler: Compiler,
    cache: Cache | None,
    is_complete: Callable[[Bytecode], bool] = lambda _: True,
) -> Bytecode:
    """Return the bytecode from the cache, if it `is_complete`; else compile it and put it into the cache.

    Raises KernelError.
    """
    if cache is None:
        return Bytecode.of(compiler.compile(request))
    digest = request.digest()
    bytecode = cache.get(digest)
    if bytecode is None or not is_complete(bytecode):
        answer = compiler.compile(request)
        cache.put(digest, answer)
        bytecode = Bytecode.of(answer)
    return bytecode
