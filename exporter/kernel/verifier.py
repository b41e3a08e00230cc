"""What the verifier says to a program that it refuses, on every kernel to its end."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable

Attempt = Callable[[int, int, int], int]
"""Have it look at a program, by log_level, log_size and log_buf: returns a descriptor. Raises OSError."""

# log_level of BPF_PROG_LOAD: its way through the program, or only what is wrong with that, and figures
_WAY, _FAULT = 1, 4
_FAULT_ROOM = 1 << 16
_WAY_ROOMS = (1 << 20, 1 << 23, 1 << 26)
"""Bytes. Before Linux 6.4 what finds no room is the end."""
_WAY_LINES = 100
_FIGURES = ("processed ", "verification time ", "stack depth ")


class VerifierError(Exception):
    """A program that the kernel doesn't take: its errno's words; no more where the verifier had no part."""

    def __init__(self, what: str, reason: str = "", log: str = "") -> None:
        """`reason` is its last word, `log` how it came to that, as far as that is of use."""
        super().__init__(what)
        self.reason = reason
        self.log = log


def refusal(code: int, attempt: Attempt) -> VerifierError:
    """The error for a program that was refused with errno `code`, after the same attempt with all reasons."""
    what = os.strerror(code)
    fault, _ = _said(attempt, _FAULT, _FAULT_ROOM)
    reason = last_word(fault)
    return VerifierError(what, reason, _way(attempt) or fault) if reason else VerifierError(what)


def last_word(log: str) -> str:
    """The last line that says what is wrong; empty where there are but figures."""
    lines = (line.strip() for line in reversed(log.splitlines()))
    return next((line for line in lines if line and not line.startswith(_FIGURES)), "")


def _way(attempt: Attempt) -> str:
    """The last lines of its way; empty where that is longer than all that there is room for."""
    for room in _WAY_ROOMS:
        log, is_whole = _said(attempt, _WAY, room)
        if is_whole:
            return "\n".join(log.rstrip("\n").rsplit("\n", _WAY_LINES)[-_WAY_LINES:])
    return ""


def _said(attempt: Attempt, level: int, room: int) -> tuple[str, bool]:
    """What it says at `level`, and whether there was room for all of it."""
    log = ctypes.create_string_buffer(room)
    is_whole = True
    try:
        os.close(attempt(level, room, ctypes.addressof(log)))
    except OSError as error:
        is_whole = error.errno != errno.ENOSPC
    return log.value.decode(errors="replace"), is_whole
