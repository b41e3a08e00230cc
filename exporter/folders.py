"""Checks that nobody else may change a folder's contents or a file."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


class UnsafeFolderError(Exception):
    """A folder that somebody else may change; the text says why."""


def require_ours_alone(path: Path) -> None:
    """Check that no other user owns `path`, may write to it, or could move it.

    Raises UnsafeFolderError when one does, may or could, and OSError.
    """
    if path.stat().st_uid != os.geteuid():
        raise UnsafeFolderError("it belongs to another user")
    if _is_open(path.stat()):
        raise UnsafeFolderError(f"others may write to {path}")
    for folder in path.resolve().parents:
        status = folder.stat()
        if status.st_uid not in (0, os.geteuid()):
            raise UnsafeFolderError(f"{folder} belongs to another user")
        # Below a sticky folder nobody else can move what is ours; they could still make files in it.
        if _is_open(status) and not status.st_mode & stat.S_ISVTX:
            raise UnsafeFolderError(f"others may write to {folder}")


def open_ours_alone(path: Path, limit_bytes: int) -> BinaryIO | None:
    """Open a file for reading. Returns at once, whatever is there.

    Returns None unless it is a regular file of at most `limit_bytes` that is ours alone. Raises OSError.
    """
    # Without O_NONBLOCK a FIFO would be waited for.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    status = os.fstat(file.fileno())
    is_ours = status.st_uid == os.geteuid() and not _is_open(status)
    if stat.S_ISREG(status.st_mode) and is_ours and status.st_size <= limit_bytes:
        return file
    file.close()
    return None


def _is_open(status: os.stat_result) -> bool:
    """Whether others can change its contents; the user's own group and root's don't count as others."""
    is_foreign_group = status.st_gid not in (0, os.getegid())
    mask = stat.S_IWOTH | (stat.S_IWGRP if is_foreign_group else 0)
    return bool(status.st_mode & mask)
