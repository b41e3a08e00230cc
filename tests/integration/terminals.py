"""A program at a terminal of its own, as a person has it: what is typed, and what is shown then."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.launch import CI_EGRESS, DEADLINE_S, PLAIN_ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

WITHIN_S = 60.0


class Terminal:
    """The other side of it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.shown = b""
        """Since the last `type`, echo and control sequences included."""

    def type(self, text: str) -> None:
        """Press these keys."""
        self.shown = b""
        os.write(self._descriptor, text.encode())

    def wait_for(self, *texts: str, within_s: float = WITHIN_S) -> None:
        """Wait until each of these is shown."""
        deadline_s = time.monotonic() + within_s
        while missing := [text for text in texts if text.encode() not in self.shown]:
            left_s = deadline_s - time.monotonic()
            is_told = left_s > 0 and select.select([self._descriptor], [], [], left_s)[0]
            assert is_told, f"{missing} isn't shown, but {self.shown.decode(errors='replace')!r}"
            self.shown += os.read(self._descriptor, 65536)


@contextmanager
def terminal(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Iterator[Terminal]:
    """Run a program at a terminal until the block ends."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execvpe(argv[0], tuple(argv), dict(env))  # noqa: S606 - the program of this test
    try:
        yield Terminal(descriptor)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(descriptor)
        os.waitpid(pid, 0)


def in_a_terminal(*arguments: str, cwd: Path) -> str:
    """What a terminal gets to see of `ci-egress` with `arguments`."""
    ours, theirs = pty.openpty()
    shown = bytearray()
    reader = threading.Thread(target=read_all, args=(ours, shown))
    reader.start()
    env = PLAIN_ENVIRONMENT | {"TERM": "xterm-256color"}
    subprocess.run([*CI_EGRESS, *arguments], cwd=cwd, env=env, stderr=theirs, stdin=theirs, check=False)
    os.close(theirs)
    reader.join(timeout=DEADLINE_S)
    os.close(ours)
    return shown.decode()


def read_all(terminal: int, into: bytearray) -> None:
    """Read until nobody holds the other side any more."""
    try:
        while chunk := os.read(terminal, 65536):
            into += chunk
    except OSError:  # EIO: that is how a terminal ends
        return
