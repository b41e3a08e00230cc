"""Functions of the C library that Python doesn't offer, and system calls that the C library doesn't offer."""

from __future__ import annotations

import ctypes
import os
import platform

from exporter.common.errors import KernelError

LIBC = ctypes.CDLL(None, use_errno=True)
_NEWER = {"pidfd_send_signal": 424, "pidfd_open": 434, "pidfd_getfd": 438, "lsm_list_modules": 461}
"""System calls since Linux 5.1 have the same number on all machines."""
_NUMBERS = {
    "x86_64": {"bpf": 321, "kcmp": 312, "membarrier": 324, **_NEWER},
    "aarch64": {"bpf": 280, "kcmp": 272, "membarrier": 283, **_NEWER},
}


def checked(result: int) -> int:
    """Return the result of a call that was just made. Raises OSError with its errno when it failed."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def system_call(name: str, *arguments: object) -> int:
    """Make a system call; return its result. Raises OSError, and KernelError on an unknown machine."""
    numbers = _NUMBERS.get(platform.machine())
    if numbers is None:
        raise KernelError(f"{platform.machine()} is not supported", hint="x86_64 and aarch64 are")
    return checked(LIBC.syscall(numbers[name], *arguments))


def pidfd_open(pid: int, flags: int = 0) -> int:
    """Return a descriptor of a process, closed on exec. Raises OSError.

    A Python that was built with headers older than Linux 5.3 has no os.pidfd_open.
    """
    return system_call("pidfd_open", pid, flags)


def pidfd_send_signal(descriptor: int, number: int) -> None:
    """Send a signal to the process of a descriptor. Raises OSError, ProcessLookupError if it has ended."""
    system_call("pidfd_send_signal", descriptor, number, None, 0)
