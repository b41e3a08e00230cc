"""Keep some descriptors free, however many the networks and interfaces of jobs need."""

from __future__ import annotations

import errno
import os
import resource

KEPT_FREE = 32
"""The descriptors kept free for files that have to be opened for a moment."""


def require_spare(newest: int) -> None:
    """Raise OSError (EMFILE) if too few descriptors are free; `newest`, just opened, was the lowest free."""
    if newest >= _most() - KEPT_FREE:
        raise _too_many()


def require_share(number: int) -> None:
    """Raise OSError (EMFILE) if `number` descriptors are too many for one job: others need some."""
    if number > _most() // 2:
        raise _too_many()


def _most() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _too_many() -> OSError:
    return OSError(errno.EMFILE, os.strerror(errno.EMFILE))
