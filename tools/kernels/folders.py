"""Where what is made is kept: under a name of what made it, whole or not at all."""

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
"""May be deleted at any time."""
RESULTS = CHECKOUT / "build/kernels"


class UnavailableError(Exception):
    """What another machine has can't be had now."""


def digest(*made_of: object) -> str:
    """Of values, and of the contents of files."""
    sha = hashlib.sha256()
    for part in made_of:
        sha.update(part.read_bytes() if isinstance(part, Path) else repr(part).encode())
        sha.update(b"\0")
    return sha.hexdigest()[:12]


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """During the block nobody else makes `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def made_once(target: Path) -> Iterator[Path | None]:
    """A folder to fill, `target` at the end of a block that raises nothing; None where that is there."""
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
