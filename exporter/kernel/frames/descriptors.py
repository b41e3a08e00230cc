"""Copies of other processes' descriptors."""

from __future__ import annotations

import os

from exporter.kernel.libc import system_call

_PIDFD_THREAD = os.O_EXCL


def pidfd(pid: int, thread: int) -> int:
    """Open a pidfd of a thread of `pid`, or of its process before Linux 6.9. Raises OSError."""
    if thread == pid:
        return os.pidfd_open(pid)
    try:
        return os.pidfd_open(thread, _PIDFD_THREAD)
    except OSError:
        return os.pidfd_open(pid)


def copied(of: int, number: int) -> int:
    """Return a copy of a descriptor that a thread (a pidfd) has under `number`. Raises OSError."""
    return system_call("pidfd_getfd", of, number, 0)
