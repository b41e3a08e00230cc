"""Find out which limit of the machine or the user an error comes from."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import KernelError

_MORE_PROCESSES = "raise the limit of processes and threads (ulimit -u, or the container's)"
_HINTS = {
    os.strerror(errno.EAGAIN): _MORE_PROCESSES,
    "can't start new thread": _MORE_PROCESSES,  # Python's text for EAGAIN when it starts one
    os.strerror(errno.EMFILE): "raise the limit of open files (ulimit -n)",
    os.strerror(errno.ENFILE): "raise the machine's limit of open files (sysctl fs.file-max)",
    os.strerror(errno.ENOMEM): "free memory, or raise its limit (ulimit -v, or the container's)",
}
"""Hints by the words of an error, not by errno: words are all that the dynamic linker and BCC give."""


def limit_hint(said: str) -> str | None:
    """Return a hint to raise a limit after an error with the text `said`; None when no limit was reached."""
    return next((hint for words, hint in _HINTS.items() if words in said), None)


@contextmanager
def limits_told() -> Iterator[None]:
    """Turn an error that Python raises at a limit into a KernelError that names the limit."""
    try:
        yield
    except (OSError, RuntimeError, ImportError) as error:
        hint = limit_hint(str(error))
        if hint is None:
            raise
        what = error.strerror if isinstance(error, OSError) else error
        raise KernelError(f"cannot start: {what}", hint=hint) from None
