"""Waiting until all runs of the kernel's programs that saw the maps as they were before have ended."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from .libc import system_call


@cache
def thread(name: str) -> ThreadPoolExecutor:
    """Return the only thread of that name, which does one thing after the other; the first call starts it."""
    executor = ThreadPoolExecutor(1, name)
    executor.submit(int).result()  # it starts the thread; no other one ever starts
    return executor


_MEMBARRIER_CMD_GLOBAL = 1
_PATIENCE_S = 1.0
NAME = "grace"
"""The name of the thread that waits."""


class Grace:
    """A wait for the running programs, done by a thread so that nobody else has to wait."""

    def __init__(self) -> None:
        """Begin to wait."""
        self._waiting = thread(NAME).submit(wait_for_programs)

    def is_over(self) -> bool:
        """Whether every program that ran at the beginning has ended."""
        return self._waiting.done()

    def wait(self) -> None:
        """Block until the wait is over."""
        self._waiting.result()


def wait_for_programs() -> None:
    """Return once every program that runs now has ended: they run as RCU readers do."""
    try:
        system_call("membarrier", _MEMBARRIER_CMD_GLOBAL, 0, 0)
    except OSError:
        time.sleep(_PATIENCE_S)  # a sandbox may forbid the call; a program runs for microseconds
