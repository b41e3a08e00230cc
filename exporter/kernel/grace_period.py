"""Wait until every run of the kernel's programs that may have read maps before a change has ended."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from .libc import system_call


@cache
def thread(name: str) -> ThreadPoolExecutor:
    """Return an executor whose only thread does one thing after the other; one for each `name`.

    The first call for a name starts the thread.
    """
    executor = ThreadPoolExecutor(1, name)
    executor.submit(int).result()  # this starts the thread; the executor never starts another
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
    """Return once every program that runs now has ended: membarrier(2) waits for RCU readers like them."""
    try:
        system_call("membarrier", _MEMBARRIER_CMD_GLOBAL, 0, 0)
    except OSError:
        time.sleep(_PATIENCE_S)  # a sandbox may forbid the call; a program runs for microseconds
