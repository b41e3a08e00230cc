"""Functions of the C library that Python doesn't offer, and system calls that the C library doesn't offer."""

from __future__ import annotations

import ctypes
import os
import platform

from exporter.common.errors import KernelError

LIBC = ctypes.CDLL(None, use_errno=True)
_NUMBERS = {
    "x86_64": {"bpf": 321, "kcmp": 312, "membarrier": 324, "pidfd_getfd": 438, "lsm_list_modules": 461},
    "aarch64": {"bpf": 280, "kcmp": 272, "membarrier": 283, "pidfd_getfd": 438, "lsm_list_modules": 461},
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
