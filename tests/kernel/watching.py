"""`ci-egress watch` as a process, and a runner of the test's own whose jobs it is to find."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.checkout import ROOT
from tests.launch import whole_lines

from .running_exporter import wait_for
from .tracing import CLIENT, RUN_LIMIT_S, Point, Span, environment, metrics, spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

LIMIT_S = 90.0
"""Of what only takes that long when it fails."""

Environ = dict[str, str]
Step = tuple[Environ, list[str]]

_RUNNER = """
import json, os, signal, subprocess, sys

if os.fork():
    os._exit(0)
os.setsid()
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
print(os.getpid(), flush=True)
steps = []
try:
    for line in sys.stdin:
        asked = json.loads(line)
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "process_group": 0}
        new = [subprocess.Popen(argv, env=env, **quiet) for env, argv in asked["steps"]]
        steps += new
        print(json.dumps([step.wait() if asked["waits"] else step.pid for step in new]), flush=True)
finally:
    for step in steps:
        if step.returncode is None:
            os.killpg(step.pid, signal.SIGKILL)
"""


class Runner:
    """What starts the steps of jobs: no descendant of the test, which may be a step of some job itself."""

    def __init__(self, under: Sequence[str | bytes] = (), python: str = sys.executable) -> None:
        """`under` is a command that starts it elsewhere, `python` what it runs."""
        self._under, self._python = under, python

    def __enter__(self) -> Self:
        """Start it; init adopts it."""
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [*self._under, self._python, "-c", _RUNNER],
            stdin=pipe,
            stdout=pipe,
            text=True,
            env=environment(),
            cwd="/",
        )
        self.pid = int(self._answer())
        self._process.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, and what of its steps still runs."""
        self.end()

    def end(self) -> None:
        """The same; where a test has failed, it may be waiting for its steps, and they for the test."""
        assert self._process.stdin
        assert self._process.stdout
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        wait_for(lambda: not Path(f"/proc/{self.pid}").exists())

    def run(self, *steps: Step) -> None:
        """Run them side by side, to their ends, which must be good ones."""
        assert self.statuses(*steps) == [0] * len(steps)

    def statuses(self, *steps: Step) -> list[int]:
        """Run them side by side, to their ends; what they ended with."""
        return self._ask(steps, waits=True)

    def start(self, *steps: Step) -> list[int]:
        """Start them; returns their pids."""
        return self._ask(steps, waits=False)

    def _ask(self, steps: Sequence[Step], *, waits: bool) -> list[int]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"steps": steps, "waits": waits}) + "\n")
        self._process.stdin.flush()
        answer: list[int] = json.loads(self._answer())
        return answer

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


@dataclass(frozen=True)
class Watched:
    """A watch that is over: what it said, and what it told."""

    status: int
    said: list[dict[str, Any]] = field(repr=False)
    spans: list[Span] = field(repr=False)
    metrics: dict[str, list[Point]] = field(repr=False)

    @property
    def account(self) -> str:
        """The last line."""
        text: str = self.said[-1]["message"]
        return text

    def of_run(self, run_id: str) -> list[Span]:
        """The spans of one run."""
        return [span for span in self.spans if span.resource.get("cicd.pipeline.run.id") == run_id]

    def jobs(self, run_id: str) -> list[Span]:
        """The spans of its jobs."""
        return [span for span in self.of_run(run_id) if "process.pid" not in span.attributes]

    def egress(self, run_id: str) -> list[Span]:
        """What was done in it, in order."""
        found = (span for span in self.of_run(run_id) if span.kind == CLIENT)
        return sorted(found, key=lambda span: span.started_ns)

    def of_program(self, path: str) -> list[Span]:
        """What any program of this path did."""
        return [
            span
            for span in self.spans
            if span.kind == CLIENT and span.attributes.get("process.executable.path") == path
        ]


@dataclass(frozen=True)
class Watch:
    """A `ci-egress watch` that goes on."""

    process: subprocess.Popen[bytes]
    otlp_dir: Path
    log: Path
    systemd: socket.socket
    """What it takes for systemd's."""

    def said(self) -> list[dict[str, Any]]:
        """What it said so far."""
        return [json.loads(line) for line in whole_lines(self.log)]

    def has_said(self, words: str) -> bool:
        """Whether it did so far."""
        return any(words in line["message"] for line in self.said())

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait until it is so, while it runs."""

        def is_so_or_over() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return is_so()

        try:
            wait_for(is_so_or_over, LIMIT_S)
        except AssertionError as error:
            error.add_note(self.log.read_text())
            raise

    def wait_until_said(self, words: str, *, times: int = 1, run_id: str = "") -> None:
        """Wait until it said `words` so often, of `run_id` if one is given."""

        def is_said() -> bool:
            lines = [line for line in self.said() if not run_id or line.get("run_id") == run_id]
            return sum(words in line["message"] for line in lines) >= times

        self.wait_for(is_said)

    def wait_for_end(self, run_id: str) -> None:
        """Wait until the job of `run_id` is over."""
        self.wait_until_said(" ended: ", run_id=run_id)

    def so_far(self) -> Watched:
        """What it said and told up to now."""
        return Watched(0, self.said(), self._spans(), {})

    def egress(self, run_id: str) -> list[Span]:
        """What it told so far of what was done in a run, in order."""
        return self.so_far().egress(run_id)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Watched:
        """End it with a signal."""
        self.process.send_signal(number)
        status = self.process.wait(RUN_LIMIT_S)
        return Watched(status, self.said(), self._spans(), metrics(self.otlp_dir / "metrics.jsonl"))

    def _spans(self) -> list[Span]:
        return [span for path in self.otlp_dir.glob("traces*.jsonl") for span in spans(path)]


@contextmanager
def watching(
    folder: Path,
    *options: str,
    env: Mapping[str, str] | None = None,
    to_files: bool = True,
    until_ready: bool = True,
    stderr: int | None = None,
    under: Sequence[str] = (),
) -> Iterator[Watch]:
    """Watch from where it says that it is ready; `folder` gets the files, and its words but for `stderr`.

    `under` is what the command is put behind; it must become what it runs.
    """
    otlp_dir, log, address = folder / "otlp", folder / "log", f"ci-egress-test-{os.getpid()}-{folder.name}"
    files = ["--otlp-dir", str(otlp_dir)] if to_files else []
    command = [*under, sys.executable, "-m", "exporter", "watch", "--json-log", *files, *options]
    mine = {"NOTIFY_SOCKET": f"@{address}", "STATE_DIRECTORY": str(folder / "state"), **(env or {})}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, log.open("wb") as stream:
        systemd.bind(f"\0{address}")
        systemd.settimeout(LIMIT_S)
        words = stream if stderr is None else stderr
        with subprocess.Popen(command, stderr=words, env=environment(mine), cwd=ROOT) as process:
            watch = Watch(process, otlp_dir, log, systemd)
            try:
                if until_ready:
                    watch.wait_for(lambda: bool(select.select([systemd], [], [], 0)[0]))
                    assert systemd.recv(100) == b"READY=1"
                yield watch
            finally:
                if process.poll() is None:
                    process.terminate()  # killed, one that enforces would stay attached
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(RUN_LIMIT_S)
                    process.kill()
