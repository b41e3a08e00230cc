"""Folders that hold what nobody else may change, and files in them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


class UnsafeFolderError(Exception):
    """Why somebody else may have a hand in a folder."""


def require_ours_alone(path: Path) -> None:
    """Raise UnsafeFolderError when another user owns `path`, or could move it or write to it; OSError."""
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
    """Open a file for reading; None unless it is a regular one of at most `limit_bytes`, and ours alone.

    Returns at once, whatever stands there. Raises OSError.
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
    """Others can change what is in it; the user's own group and root's are no others."""
    is_foreign_group = status.st_gid not in (0, os.getegid())
    mask = stat.S_IWOTH | (stat.S_IWGRP if is_foreign_group else 0)
    return bool(status.st_mode & mask)
