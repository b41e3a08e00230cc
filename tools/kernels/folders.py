"""Folders of files that are made once: named after what they are made of, and there whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "ci-egress/kernels")
"""The folder that holds them; it may be deleted at any time."""
RESULTS = CHECKOUT / "build/kernels"


class UnavailableError(Exception):
    """Something that another machine has can't be fetched now."""


def digest(*made_of: object) -> str:
    """Return a digest of values, and of the contents of files."""
    sha = hashlib.sha256()
    for part in made_of:
        sha.update(part.read_bytes() if isinstance(part, Path) else repr(part).encode())
        sha.update(b"\0")
    return sha.hexdigest()[:12]


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Keep others from making `target` during the block."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def made_once(target: Path) -> Iterator[Path | None]:
    """Yield a folder to fill, which becomes `target` if the block raises nothing; None if `target` exists."""
    with locked(target):
        if target.exists():
            os.utime(target)
            yield None
            return
        unfinished = target.with_name(f"{target.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            yield unfinished
            unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
