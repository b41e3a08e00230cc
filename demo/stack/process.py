"""A server as a process: start it, wait for it, stop it, kill it, and start it again on the same ports."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from demo.stack.interrupts import uninterrupted
from exporter.common.errors import CiEgressError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 15.0
_POLL_S = 0.05
_PROBE_TIMEOUT_S = 2.0
_LOG_TAIL_LINES = 15
_ENDS_WITH_THIS_PROCESS = ("setpriv", "--pdeathsig", "KILL", "--")
"""A prefix for commands: their process ends with this one, however this one ends, so that none is left."""


@dataclass
class Server:
    """A program that serves until it is stopped. Its command has its ports, so a restart keeps them."""

    name: str
    command: Sequence[str | Path]
    ready_url: str
    """A URL that answers 200 once the server is ready."""
    folder: Path
    """The folder in which it runs, and keeps its data and its log."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Environment variables beside this process's own."""
    configure: Callable[[], None] | None = None
    """Function that writes its configuration; it is called before each start."""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def log(self) -> Path:
        """The file with its output on stdout and stderr, also from before restarts."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """The process id; None while it doesn't run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def launch(self) -> None:
        """Start it; `wait_until_ready` waits until it serves."""
        assert self.pid is None, f"{self.name} runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.configure is not None:
            self.configure()
        with self.log.open("ab") as log, uninterrupted():
            self._process = subprocess.Popen(
                [*_ENDS_WITH_THIS_PROCESS, *self.command],
                cwd=self.folder,
                env={**os.environ, **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C interrupts this process alone, which then stops the server
            )

    def start(self) -> None:
        """Start it and wait until it serves. Raises CiEgressError when it doesn't."""
        self.launch()
        wait_until_ready([self])

    def stop(self) -> None:
        """End it by SIGTERM, or by SIGKILL if it doesn't end in time. Does nothing if it doesn't run."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log_tail(self) -> str:
        """Return the last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"    {line}" for line in lines[-_LOG_TAIL_LINES:])


def wait_until_ready(servers: Sequence[Server], *, within_s: float = READY_WITHIN_S) -> None:
    """Wait until all servers are ready.

    Raises CiEgressError, with the end of its log, as soon as a server has ended, or if one isn't ready in
    time.
    """
    deadline_s = time.monotonic() + within_s
    waiting = list(servers)
    while waiting := [each for each in waiting if not _answers(each.ready_url)]:
        for server in servers:
            if server.pid is None:
                raise CiEgressError(f"{server.name} ended at once; its log's end:\n{server.log_tail()}")
        if time.monotonic() > deadline_s:
            late = waiting[0]
            raise CiEgressError(
                f"{late.name} doesn't serve after {within_s:.0f} s; its log's end:\n{late.log_tail()}"
            )
        time.sleep(_POLL_S)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_PROBE_TIMEOUT_S) as answer:  # noqa: S310 - http to loopback
            return bool(answer.status == HTTPStatus.OK)
    except (urllib.error.URLError, OSError):
        return False
