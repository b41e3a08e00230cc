"""Write documents for the user who called, with that user's rights: a job may have changed the folder."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from exporter.common import safe_files
from exporter.common.safe_files import UnsafeFolderError, reason_of, require_ours_alone
from exporter.kernel.compilation.compiling import SYSTEM_PYTHON

from .survival import as_others
from .users import CommandUser

_TIMEOUT_S = 20.0


class HandingError(Exception):
    """A document can't be written; the text is the reason."""


def append(path: Path, data: bytes, limit_bytes: int, user: CommandUser | None) -> None:
    """Append `data`, whole or not at all; the file then has `limit_bytes` at most. Raises HandingError."""
    _hand(path, data, [safe_files.APPEND, str(path), str(limit_bytes)], user)


def replace(path: Path, data: bytes, user: CommandUser | None) -> None:
    """Replace the contents of `path` by `data`. Raises HandingError."""
    _hand(path, data, [safe_files.REPLACE, str(path)], user)


def probe(path: Path, user: CommandUser | None) -> None:
    """Raise HandingError where `path` couldn't be written now."""
    _hand(path, b"", [safe_files.PROBE, str(path)], user)


def _hand(path: Path, data: bytes, arguments: list[str], user: CommandUser | None) -> None:
    """Write as `user`; without one, write as this process. Raises HandingError.

    If the user may not write there, this process writes instead, provided that the folder is ours alone.
    """
    try:
        if user is None:
            _place(data, arguments)
            return
        try:
            _place_as(user, data, arguments)
        except PermissionError:
            if not _is_ours_alone(path.parent):
                raise
            _place(data, arguments)
    except OSError as error:
        raise HandingError(reason_of(error)) from None


def _place(data: bytes, arguments: list[str]) -> None:
    how, path, *limit = arguments
    if how == safe_files.APPEND:
        safe_files.append(path, data, int(limit[0]))
    elif how == safe_files.PROBE:
        safe_files.probe(path)
    else:
        safe_files.replace(path, data)


@cache
def _source() -> str:
    """Return the source of `safe_files`. The first write (`probe`) reads it, before a job can replace it."""
    return Path(safe_files.__file__).read_text(encoding="utf-8")


def _place_as(user: CommandUser, data: bytes, arguments: list[str]) -> None:
    """Write in a process of `user`. Raises the OSError that the process met."""
    # With the source on its command line: `user` can't read files in root's folders.
    pipe = subprocess.PIPE
    with as_others():
        writer = subprocess.Popen(  # noqa: S603
            [_python(), "-I", "-S", "-c", _source(), *arguments],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            user=user.uid,
            group=user.gid,
            extra_groups=user.groups,
            env={},
        )
    with writer:
        try:
            _, told = writer.communicate(data, _TIMEOUT_S)
        except subprocess.TimeoutExpired:
            writer.kill()
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
    if writer.returncode != 0:
        number, _, reason = told.decode(errors="replace").strip().partition(" ")
        raise OSError(int(number) if number.isdecimal() else errno.EIO, reason or "its writer was killed")


def _python() -> str:
    """Return a Python that no job can replace, because nobody traces what it does here. Raises OSError.

    It is the system's. Where there is none, as beside the single file, it is this process's own.
    """
    if Path(SYSTEM_PYTHON).exists():
        return SYSTEM_PYTHON
    own = Path(sys.executable).resolve()
    if not _is_ours_alone(own):
        raise FileNotFoundError(errno.ENOENT, f"there is no {SYSTEM_PYTHON} to write it as its user")
    return str(own)


def _is_ours_alone(path: Path) -> bool:
    """Whether nobody but this user and root can change `path`, or the way that leads to it.

    The owner of a link, or of a folder, on that way can let it lead elsewhere.
    """
    way = path.absolute()
    try:
        require_ours_alone(path)
        return all(each.lstat().st_uid in (0, os.geteuid()) for each in (way, *way.parents))
    except (UnsafeFolderError, OSError):
        return False
