"""Descriptors that stay free, however many networks and interfaces of jobs take some."""

from __future__ import annotations

import errno
import os
import resource

KEPT_FREE = 32
"""For what has to be opened for a moment."""


def require_spare(newest: int) -> None:
    """Raise OSError (EMFILE) where too few are free: `newest`, just opened, was the lowest of them."""
    if newest >= _most() - KEPT_FREE:
        raise _too_many()


def require_share(number: int) -> None:
    """Raise OSError (EMFILE) where `number` of them are more than one job may have: others need some."""
    if number > _most() // 2:
        raise _too_many()


def _most() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _too_many() -> OSError:
    return OSError(errno.EMFILE, os.strerror(errno.EMFILE))
