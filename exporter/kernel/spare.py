"""Descriptors that stay free, however many networks and interfaces of jobs take some."""

from __future__ import annotations

import errno
import os
import resource

KEPT_FREE = 32
"""For what has to be opened for a moment."""


def require_spare(newest: int) -> None:
    """Raise OSError (EMFILE) where too few are free: `newest`, just opened, was the lowest of them."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if newest >= most - KEPT_FREE:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
