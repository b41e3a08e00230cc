"""Who may trace, of all the tests on this machine: many at once, or one that must be alone."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "ci-egress/tests.lock")

waited_s = 0.0
"""For a turn, by all tests until now."""


class _Turn(NamedTuple):
    lock: IO[str]
    kind: int
    """How it is locked."""

    def take(self) -> None:
        global waited_s  # noqa: PLW0603
        begun_s = time.monotonic()
        with LOCK.with_suffix(".turn").open("a") as line:  # in turn: else the others would go on and on
            fcntl.flock(line, fcntl.LOCK_EX)
            fcntl.flock(self.lock, self.kind)
        waited_s += time.monotonic() - begun_s

    def leave(self) -> None:
        """Also where a process that the test forked still has the file open."""
        fcntl.flock(self.lock, fcntl.LOCK_UN)


_held: list[_Turn] = []


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Keep others from tracing beside what must be alone, those of another checkout, too."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("a") as lock:
        mine = _Turn(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        mine.take()
        _held.append(mine)
        try:
            yield
        finally:
            _held.remove(mine)
            mine.leave()


@contextmanager
def turn_left() -> Iterator[None]:
    """Let others be alone while a test waits for minutes, before it traces anything."""
    left = _held[:]
    for mine in left:
        mine.leave()
    try:
        yield
    finally:
        for mine in left:
            mine.take()
