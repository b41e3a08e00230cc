"""Capabilities of this process: capabilities(7). The `capset` call is what the standard library lacks."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

CAP_SETGID = 6
CAP_SETUID = 7

_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_NO_CAPABILITIES = bytes(2 * 3 * 4)
"""Two halves (capabilities 0-31, 32-63) of effective, permitted and inheritable, 32 bits each."""


def has_effective(*capabilities: int) -> bool:
    """Whether this process may use all of the given capabilities (bit numbers of <linux/capability.h>)."""
    wanted = sum(1 << capability for capability in capabilities)
    return _effective() & wanted == wanted


def drop_all() -> None:
    """Give up every capability of this thread, those a later exec would inherit included; raises OSError.

    An empty inheritable set empties the ambient one too. The bounding set stays, so that sudo still works.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0)
    if libc.capset(header, _NO_CAPABILITIES) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _effective() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
