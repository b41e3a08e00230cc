"""The tools of every benchmark: a folder, and the load, run plainly or under `ci-egress run`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from exporter.kernel.tracer import Tracer
    from exporter.policy.compile import Compiled

ROOT = Path(__file__).resolve().parent.parent
_DEADLINE_S = 600
_ACCOUNT = re.compile(r"^attempts (\d+) = exported (\d+) \+ aggregated (\d+) ", re.MULTILINE)


class BenchmarkError(Exception):
    """A benchmark couldn't be carried through, so there is no figure."""


class Load:
    """A process of load.c in a `with` block: it does acts on demand, and reports how long they took."""

    process: subprocess.Popen[str]
    asked_ns: int
    """When it was started, by CLOCK_MONOTONIC."""
    started_ns: int
    """When its main function began."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        terminal: int | None = None,
    ) -> None:
        """`command` is load.c, perhaps with something in front; `terminal`, if given, is its stderr."""
        self._terminal = terminal
        self._command = command
        self._environment = environment
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start it, and wait until it runs. Raises BenchmarkError, with its messages, if it ends instead."""
        self._messages = self._stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))
        pipe, environment = subprocess.PIPE, self._environment
        self.asked_ns = time.monotonic_ns()
        self.process = subprocess.Popen(
            self._command,
            stdin=pipe,
            stdout=pipe,
            stderr=self._messages if self._terminal is None else self._terminal,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        self.started_ns = self._answer()
        return self

    def do(self, acts: int) -> int:
        """Do so many acts; returns the nanoseconds that they took."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{acts}\n")
        self.process.stdin.flush()
        return self._answer()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close its stdin, which ends it. Raises BenchmarkError when it failed."""
        with self._stack:
            if kind is not None:
                self.process.terminate()  # it may have many acts to do yet, which nobody waits for
            self.process.communicate(timeout=_DEADLINE_S)
            if kind is None and self.process.returncode:
                raise self._failure()
            self._account = _ACCOUNT.search(self._said())

    def lost(self) -> int:
        """Return the number of attempts that ci-egress didn't export; to be called after the end."""
        if self._account is None:
            raise BenchmarkError("ci-egress ended without an account")
        attempts, exported, aggregated = map(int, self._account.groups())
        return attempts - exported - aggregated

    def cpu_s(self) -> float:
        """Return the CPU time so far of the process: under ci-egress the exporter's, not COMMAND's."""
        return cpu_s(self.process.pid)

    def memory_mb(self, field: str) -> float:
        """Return a size of the started process, in 10⁶ bytes: `VmRSS` now, `VmHWM` at most."""
        return memory_mb(self.process.pid, field)

    def _answer(self) -> int:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(_DEADLINE_S)
            raise self._failure()
        return int(line)

    def _failure(self) -> BenchmarkError:
        command = shlex.join(self._command)
        return BenchmarkError(f"{command} ended with status {self.process.returncode}:\n{self._said()}")

    def _said(self) -> str:
        self._messages.seek(0)
        return self._messages.read()


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process so far."""
    text = Path(f"/proc/{pid}/stat").read_text()
    user, system = text.rsplit(")", 1)[-1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, field: str) -> float:
    """Return a size of a process, in 10⁶ bytes: `VmRSS` now, `VmHWM` at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024 / 1e6


@dataclass(frozen=True)
class Workshop:
    """The folder and the settings of a run of benchmarks."""

    folder: Path
    """The folder, which is deleted afterwards."""
    is_quick: bool
    """Few rounds: to see that it works, not to know how fast it is."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The environment of ci-egress."""

    def rounds(self, count: int) -> int:
        """Return `count`, or 2 when it has to be quick."""
        return 2 if self.is_quick else count

    def load(self, *arguments: str, beside_flood: bool = False) -> Load:
        """Return load.c, run plainly; if asked, beside one that sends without end."""
        return Load(self.plain(*arguments, beside_flood=beside_flood))

    def traced(
        self,
        *arguments: str,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        beside_flood: bool = False,
    ) -> Load:
        """Return load.c under `ci-egress run`, which writes to files, or exports as `environment` says."""
        command = self.plain(*arguments, beside_flood=beside_flood)
        return Load(
            [*self._run(is_to_files=environment is None), *options, "--", *command],
            {**self.environment, **(environment or {})},
        )

    def traced_on(self, terminal: int, *arguments: str, options: Sequence[str]) -> Load:
        """Return load.c under `ci-egress run` with `options`, whose stderr is `terminal`."""
        command = [*self._run(is_to_files=True), *options, "--", *self.plain(*arguments)]
        return Load(command, {**self.environment, "TERM": "xterm-256color"}, terminal)

    def plain(self, *arguments: str, beside_flood: bool = False) -> list[str]:
        """Return the command line of load.c."""
        beside = ["sh", "-c", '"$0" flood & "$0" "$@"; status=$?; kill $!; exit $status']
        return [*(beside if beside_flood else []), str(self.folder / "load"), *arguments]

    @property
    def otlp(self) -> Path:
        """The folder that the files are written to."""
        return self.folder / "otlp"

    def _run(self, *, is_to_files: bool) -> list[str]:
        files = [f"--otlp-dir={self.otlp}"] if is_to_files else []
        return [sys.executable, "-m", "exporter", "run", *files]


def hold_to(tracer: Tracer, scope: int, policy: Compiled) -> None:
    """Hold `scope` to `policy` from now on."""
    written = tracer.scopes.write(policy)
    tracer.scopes.hold(scope, written.number, written.policy)


@contextmanager
def workshop(*, is_quick: bool) -> Iterator[Workshop]:
    """Make a folder and compile the load into it."""
    with tempfile.TemporaryDirectory(prefix="ci-egress-benchmarks-") as name:
        folder = Path(name)
        source = Path(__file__).with_name("load.c")
        flags = ["-O2", "-Wall", "-Wextra", "-Werror"]
        subprocess.run(["cc", *flags, "-o", folder / "load", source], check=True)
        yield Workshop(folder, is_quick, _environment(folder))


def _environment(folder: Path) -> dict[str, str]:
    """Return this environment without OTEL_*; compiled Python is kept, as in an installation."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
