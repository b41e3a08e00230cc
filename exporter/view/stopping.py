"""^Z: a process that is stopped leaves the terminal as it was, and comes back to it when it goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def around_stops(leave: Callable[[], object], enter: Callable[[], object]) -> Iterator[None]:
    """During the block, call `leave` before SIGTSTP stops this process, and `enter` when it goes on."""

    def stop(*_: object) -> None:
        leave()
        os.kill(os.getpid(), signal.SIGSTOP)  # nothing comes between: it is stopped before this returns
        enter()

    before = signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)
