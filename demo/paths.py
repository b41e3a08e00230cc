"""Paths as one would type them where the demo was started, also for programs in another directory."""

from __future__ import annotations

import os
from pathlib import Path


def shown(path: Path) -> str:
    """Return `path` as one would type it in the current directory."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def made_reachable(path: Path, directory: Path) -> str:
    """Return `shown(path)`; a link in `directory` makes it lead to the same place from there, if needed."""
    typed = shown(path)
    first, *below = Path(typed).parts
    if Path(first).is_absolute():
        return typed
    if not below:  # ci-egress wouldn't follow a link in its place
        return str(path)
    Path(first).mkdir(exist_ok=True)
    link = directory / first
    if not link.is_symlink():
        link.symlink_to(Path(first).absolute())
    return typed
