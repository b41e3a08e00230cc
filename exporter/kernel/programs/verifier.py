"""The verifier's log on a program that it refuses, read to its end on every kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from exporter.common.errors import KernelError
from exporter.common.limits import limit_hint

Attempt = Callable[[int, int, int], int]
"""A function that loads a program, given log_level, log_size and log_buf: returns a descriptor, raises
OSError."""

# log_level of BPF_PROG_LOAD: the verifier's way through the program, or only the fault and some figures
_WAY, _FAULT = 1, 4
_FAULT_ROOM = 1 << 16
_WAY_ROOMS = (1 << 20, 1 << 23, 1 << 26)
"""The bytes of room for a log, tried in turn: before Linux 6.4 a log that is too long lacks its end."""
_WAY_LINES = 100
_FIGURES = ("processed ", "verification time ", "stack depth ")


class VerifierError(Exception):
    """A program that the kernel refuses; without a `reason`, something else than the verifier refused it."""

    def __init__(self, what: str, reason: str = "", log: str = "") -> None:
        """`what` is the errno's text, `reason` the last line of the verifier, `log` the lines before it."""
        super().__init__(what)
        self.reason = reason
        self.log = log


def refusal(code: int, attempt: Attempt) -> VerifierError:
    """Return the error for a program refused with errno `code`; loads it again, to get the reason."""
    what = os.strerror(code)
    fault, _ = _said(attempt, _FAULT, _FAULT_ROOM)
    reason = last_word(fault)
    return VerifierError(what, reason, _way(attempt) or fault) if reason else VerifierError(what)


def last_word(log: str) -> str:
    """Return the last line that says what is wrong; empty where there are only figures."""
    lines = (line.strip() for line in reversed(log.splitlines()))
    return next((line for line in lines if line and not line.startswith(_FIGURES)), "")


def _way(attempt: Attempt) -> str:
    """Return the last lines of the verifier's way; empty where the log doesn't fit into any of _WAY_ROOMS."""
    for room in _WAY_ROOMS:
        log, is_whole = _said(attempt, _WAY, room)
        if is_whole:
            return "\n".join(log.rstrip("\n").rsplit("\n", _WAY_LINES)[-_WAY_LINES:])
    return ""


def _said(attempt: Attempt, level: int, room: int) -> tuple[str, bool]:
    """Return the verifier's log at `level`, and whether there was room for all of it."""
    log = ctypes.create_string_buffer(room)
    is_whole = True
    try:
        os.close(attempt(level, room, ctypes.addressof(log)))
    except OSError as error:
        is_whole = error.errno != errno.ENOSPC
    return log.value.decode(errors="replace"), is_whole


_HINTS = {
    "compile": "see that /sys is mounted, and that the checkout is whole and can be read",
    "load": "boot a kernel with CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF and CONFIG_NET_CLS_BPF",
    "attach": "boot a kernel with CONFIG_CGROUP_BPF",
    "pin": "see that bpffs is mounted read-write at /sys/fs/bpf",
}
_FORBIDDEN = {os.strerror(errno.EPERM), os.strerror(errno.EACCES)}
_RIGHTS = (
    "run as root, or with the capabilities that `ci-egress doctor` lists, "
    "where neither seccomp nor a security module forbids bpf(2)"
)


@contextmanager
def failures_told(stage: str, name: str) -> Iterator[None]:
    """Turn an error about `name` into a KernelError: the verifier's reason, a missing right, or a limit."""
    try:
        yield
    except VerifierError as error:
        if error.reason:
            raise KernelError(
                f"cannot load the programs: Linux {platform.release()} refuses {name}: {error.reason}",
                hint="boot another kernel, and report this one with what -v says",
                detail=error.log,
            ) from None
        what = str(error)
    except OSError as error:
        what = error.strerror or str(error)
    else:
        return
    is_forbidden = stage in {"load", "attach"} and what in _FORBIDDEN
    hint = _RIGHTS if is_forbidden else limit_hint(what) or _HINTS[stage]
    raise KernelError(f"cannot {stage} the programs: {name}: {what}", hint=hint)
