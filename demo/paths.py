"""Paths as one would type them where the demo was started, also for what runs somewhere else."""

from __future__ import annotations

import os
from pathlib import Path


def shown(path: Path) -> str:
    """As one would type it here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def made_reachable(path: Path, directory: Path) -> str:
    """As one would type it here, and leading to the same place from `directory`, by a link if need be."""
    typed = shown(path)
    first, *below = Path(typed).parts
    if Path(first).is_absolute():
        return typed
    if not below:  # a link in its place wouldn't be followed
        return str(path)
    Path(first).mkdir(exist_ok=True)
    link = directory / first
    if not link.is_symlink():
        link.symlink_to(Path(first).absolute())
    return typed
