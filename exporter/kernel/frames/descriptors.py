"""Copies of other processes' descriptors."""

from __future__ import annotations

import ctypes
import os
import platform

_PIDFD_GETFD = {"x86_64": 438, "aarch64": 438}
_PIDFD_THREAD = os.O_EXCL
_libc = ctypes.CDLL(None, use_errno=True)


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
    copy: int = _libc.syscall(_PIDFD_GETFD[platform.machine()], of, number, 0)
    if copy < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return copy
