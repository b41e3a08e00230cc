"""Write files that a command makes for a person: whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from exporter.common.errors import UsageError
from exporter.common.safe_files import temporary_name
from exporter.common.text import clean

_NEW_MODE = 0o666


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write `lines` to the file `path`, in place of its contents. Raises UsageError.

    Whoever reads it meanwhile gets the old text or the new one. Links are followed. An existing file keeps
    its mode and, where this user may give files away, its owner; something other than a file, such as
    /dev/stdout, is written to.
    """
    text = "".join(f"{line}\n" for line in lines)
    try:
        _write(path.resolve(), clean(text).encode())
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError
        reason = error.strerror if isinstance(error, OSError) else "a loop of links"
        what = f"cannot write {path}: {reason}"
        raise UsageError(what, hint="name a file in a folder that this user can write to") from None


def _write(path: Path, data: bytes) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        status = None
    if status is not None and not stat.S_ISREG(status.st_mode):
        path.write_bytes(data)
        return
    temporary = path.with_name(temporary_name(path.name))
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _NEW_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if status is not None:
                _make_alike(file.fileno(), status)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _make_alike(descriptor: int, status: os.stat_result) -> None:
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
