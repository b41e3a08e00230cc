"""Descriptors of other processes: which threads share a table of them, and how to copy one."""

from __future__ import annotations

import os
from pathlib import Path

from exporter.kernel.libc import pidfd_open, system_call

_PIDFD_THREAD = os.O_EXCL
_KCMP_FILES = 2  # include/uapi/linux/kcmp.h
_SAME, _BEFORE = 0, 1


class Tables:
    """The tables of descriptors met so far: most threads of a process share one, but any may have its own."""

    def __init__(self) -> None:
        """Start without a table."""
        self._threads: list[int] = []
        """One thread for each table, in the order in which kcmp(2) puts the tables."""

    def meets_another(self, thread: int) -> bool:
        """Return whether the table of `thread` wasn't met before, and note it.

        Also True where the kernel can't compare tables.
        """
        low, high = 0, len(self._threads)
        while low < high:
            middle = (low + high) // 2
            try:
                order = system_call("kcmp", thread, self._threads[middle], _KCMP_FILES, 0, 0)
            except ProcessLookupError:
                if not Path(f"/proc/{thread}").exists():
                    return False
                del self._threads[middle]
                high -= 1
                continue
            except OSError:
                return True
            if order == _SAME:
                return False
            low, high = (low, middle) if order == _BEFORE else (middle + 1, high)
        self._threads.insert(low, thread)
        return True


def pidfd(pid: int, thread: int) -> int:
    """Open a pidfd of a thread of `pid`; before Linux 6.9, one of `pid` itself. Raises OSError."""
    if thread == pid:
        return pidfd_open(pid)
    try:
        return pidfd_open(thread, _PIDFD_THREAD)
    except OSError:
        return pidfd_open(pid)


def copied(of: int, number: int) -> int:
    """Return a copy of a descriptor that a thread (a pidfd) has under `number`. Raises OSError."""
    return system_call("pidfd_getfd", of, number, 0)
