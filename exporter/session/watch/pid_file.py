"""A file by which scripts know that a daemon is ready, which process it is, and when it has ended."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from exporter.common.errors import UsageError
from exporter.common.safe_files import open_ours_alone, write_new

_MODE = 0o644


@contextmanager
def pid_file(path: Path | None) -> Iterator[Callable[[], None]]:
    """Yield a function that makes the file `path`, with the pid of this process in it; None: no file.

    At the end of the block the file is removed. It appears as a whole: whoever sees it can read the pid.
    An older file of that name is removed at once; links aren't followed. Raises UsageError, at the start, if
    the file can't be made.
    """
    if path is None:
        yield lambda: None
        return
    own, temporary = f"{os.getpid()}\n".encode(), path.with_name(f".{secrets.token_hex(16)}")
    with _reasoned(path):
        path.unlink(missing_ok=True)
        write_new(temporary, own, _MODE)
        temporary.unlink()  # so the file can be made; a process that is killed before `be_ready` leaves none

    def be_ready() -> None:
        with _reasoned(path):
            write_new(temporary, own, _MODE)
            temporary.rename(path)

    try:
        yield be_ready
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
            if _holds(path, own):
                path.unlink()


def _holds(path: Path, data: bytes) -> bool:
    """Whether `path` still holds `data`: a script that has the folder, too, may have put anything there."""
    file = open_ours_alone(path, len(data))
    if file is None:
        return False
    with file:
        return file.read() == data


@contextmanager
def _reasoned(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "name a file in a folder that this user can write to, and nobody else"
        raise UsageError(f"cannot write {path}: {error.strerror}", hint=hint) from None
