"""Folders that hold what nobody else may change."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class UnsafeFolderError(Exception):
    """Why somebody else may have a hand in a folder."""


def require_ours_alone(path: Path) -> None:
    """Raise UnsafeFolderError when another user owns `path`, or could move it or write to it; OSError."""
    if path.stat().st_uid != os.geteuid():
        raise UnsafeFolderError("it belongs to another user")
    for folder in (path, *path.resolve().parents):
        status = folder.stat()
        if status.st_uid not in (0, os.geteuid()):
            raise UnsafeFolderError(f"{folder} belongs to another user")
        if _is_open(status) and not status.st_mode & stat.S_ISVTX:
            raise UnsafeFolderError(f"others may write to {folder}")


def _is_open(status: os.stat_result) -> bool:
    """Others can change names in the folder; the user's own group and root's are no others."""
    is_foreign_group = status.st_gid not in (0, os.getegid())
    mask = stat.S_IWOTH | (stat.S_IWGRP if is_foreign_group else 0)
    return bool(status.st_mode & mask)
