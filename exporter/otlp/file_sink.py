"""OTLP JSON lines in a directory that the traced job, or anyone before it, may have prepared with malice."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path

from exporter.common.errors import CiEgressError
from exporter.common.limits import limit_hint
from exporter.common.safe_files import (
    FOLDER,
    UnsafeFolderError,
    folder_of,
    open_to_append,
    reason_of,
    require_ours_alone,
    write_new,
)

from .settings import Rotation
from .sinks import Receipt, SendError, error_type_of

_FILE_MODE = 0o644
_DIRECTORY_MODE = 0o755


class JsonLines:
    """A file that only grows, by a line for each payload.

    It is opened without following a symlink in its last two components, and refused unless it is a regular
    file with one name: a root process must not be made to append to somebody else's file, nor to wait for the
    reader of a FIFO. When somebody deletes or moves the file, it is made anew. But if its folder was moved
    away and another user's folder is there now, lines still go to the moved file: that user could take a new
    one away as well. Whoever moves the file can put one of their own in its place, so `on_moved` is called,
    unless another instance rotated the file, or nobody but root and this process's user could have moved it.

    With `rotation`, a full NAME.jsonl becomes NAME.1.jsonl, that one NAME.2.jsonl, and so on.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_deleted: Callable[[], None],
        on_moved: Callable[[], None],
        rotation: Rotation | None = None,
    ) -> None:
        """Open `path`, making its directory. Raises CiEgressError.

        `on_deleted` is called whenever the file was deleted, so that its lines are lost. `on_moved` is called
        the first time that somebody moved it.
        """
        self._path = path.parent.parent.resolve() / path.parent.name / path.name
        """The path without links: a link that somebody puts above the folder later isn't followed."""
        self._rotation = rotation
        self._lock = threading.Lock()
        self._on_deleted, self._on_moved = on_deleted, on_moved
        self._is_told = False
        try:
            self._descriptor = _open(path)
            self._owner = path.parent.stat().st_uid
            self._is_ours_alone = _is_ours_alone(path.parent)
        except OSError as error:
            reason = reason_of(error)
            raise CiEgressError(
                f"{path} can't be written: {reason}",
                hint=limit_hint(reason) or "choose another directory with --otlp-dir",
            ) from error

    def send(self, payload: bytes, timeout_s: float) -> Receipt:
        """Append `payload` whole or not at all; `timeout_s` has no effect on a disk. Raises SendError."""
        del timeout_s
        try:
            with self._lock:
                self._reopen_if_gone()
                self._rotate_if_full(len(payload))
                self._append(payload)
        except OSError as error:
            reason = reason_of(error)
            raise SendError(
                error_type_of(error),
                reason,
                fix=limit_hint(reason) or "free space there or choose another directory with --otlp-dir",
                retryable=False,
            ) from error
        return Receipt()

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _reopen_if_gone(self) -> None:
        ours = os.fstat(self._descriptor)
        if _is_at(self._path, ours):
            return
        if ours.st_nlink == 0:
            self._reopen()
            self._on_deleted()
            return
        is_anothers = self._is_in_anothers_folder()
        if is_anothers or not (self._is_ours_alone or self._is_rotated(ours)):
            self._tell_moved()
        if not is_anothers:  # whoever moved it has its lines
            self._reopen()

    def _tell_moved(self) -> None:
        if not self._is_told:
            self._is_told = True
            self._on_moved()

    def _is_rotated(self, ours: os.stat_result) -> bool:
        """Whether the open file has a rotated name by now: another instance that writes to it renamed it."""
        names = _rotated_names(self._path, self._rotation.keep) if self._rotation else []
        return any(_is_at(self._path.with_name(name), ours) for name in names)

    def _is_in_anothers_folder(self) -> bool:
        try:
            return self._path.parent.stat().st_uid != self._owner
        except OSError:  # there is none, so it will be made
            return False

    def _reopen(self) -> None:
        replacement = _open_again(self._path)
        os.close(self._descriptor)
        self._descriptor = replacement

    def _rotate_if_full(self, more: int) -> None:
        size = os.fstat(self._descriptor).st_size
        if self._rotation and size and size + more > self._rotation.max_bytes:
            _shift(self._path, self._rotation.keep)
            self._reopen()

    def _append(self, payload: bytes) -> None:
        written = os.write(self._descriptor, payload)
        if written == len(payload):
            return
        self._take_back(written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _take_back(self, written: int) -> None:
        """Remove half a line again, unless another instance has appended something behind it."""
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if os.fstat(self._descriptor).st_size == end:
            os.ftruncate(self._descriptor, end - written)


def keep_from_git(folder: Path) -> None:
    """Make `folder` with a .gitignore, so that `git add -A` doesn't add the command lines in telemetry.

    A folder that exists is left as it is. Errors are ignored: opening the files there reports them.
    """
    with contextlib.suppress(OSError):
        folder.mkdir(mode=_DIRECTORY_MODE)
        path = folder / ".gitignore"
        with folder_of(path) as directory:
            write_new(path.name, b"*\n", _FILE_MODE, directory)


def _is_at(path: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.lstat(), status)
    except OSError:  # opening it shows what is wrong there
        return False


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, f"{path.parent} is a file") from None
    with folder_of(path) as directory:
        return open_to_append(directory, path.name, _FILE_MODE)


def _open_again(path: Path) -> int:
    """Open the file, but follow no link on the way; make its folders if they are gone. Raises OSError."""
    directory = os.open(path.anchor, FOLDER)
    try:
        for name in path.parent.parts[1:]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, _DIRECTORY_MODE, dir_fd=directory)
            below = os.open(name, FOLDER, dir_fd=directory)
            os.close(directory)
            directory = below
        return open_to_append(directory, path.name, _FILE_MODE)
    finally:
        os.close(directory)


def _is_ours_alone(folder: Path) -> bool:
    """Whether no other user but root could move `folder`, or a file in it. Raises OSError."""
    try:
        require_ours_alone(folder)
    except UnsafeFolderError:
        return False
    return True


def _rotated_names(path: Path, keep: int) -> list[str]:
    """Return the names that rotation gives the file, the newest first."""
    return [f"{path.stem}.{age}{path.suffix}" for age in range(1, keep + 1)]


def _shift(path: Path, keep: int) -> None:
    """Give each file the name of the next older one; the last of `keep` loses its name to the one before."""
    names = [path.name, *_rotated_names(path, keep)]
    with folder_of(path) as directory:
        if keep == 0:
            os.unlink(path.name, dir_fd=directory)
        for newer, older in reversed(list(itertools.pairwise(names))):
            with contextlib.suppress(FileNotFoundError):
                os.rename(newer, older, src_dir_fd=directory, dst_dir_fd=directory)
