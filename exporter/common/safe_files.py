"""Files and folders that the traced job, or anyone before it, may have prepared with malice.

No symbolic link is followed at a file, nor, where a docstring says so, at its folder. Anything but a regular
file with a single name is refused. Opening a file never waits.

Standard library only: this module is also run by itself, by the system's Python with another user's rights
(see exporter/session/user_files.py).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

APPEND, REPLACE, PROBE = "append", "replace", "probe"

_MODE = 0o666
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_KEPT = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_EMPTIED = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""The flags to open a folder that must not be a link."""
_NAME_KEPT = 50
"""The most characters of a file's name in the name of its temporary file; a name has at most 255 bytes."""
_NOT_SO = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
"""Errors of file systems that have no files without a name, or can't give them one."""


def append(path: str, data: bytes, limit_bytes: int) -> None:
    """Append `data` whole or not at all, to a file of at most `limit_bytes`. Raises OSError."""
    with folder_of(Path(path)) as directory:
        descriptor = open_to_append(directory, Path(path).name)
    try:
        _append(descriptor, data, limit_bytes)
    finally:
        os.close(descriptor)


def replace(path: str, data: bytes) -> None:
    """Write `data` to the file, in place of its contents. Raises OSError.

    Whoever reads it meanwhile gets the old text or the new one. Where the file system has files without a
    name, a killed process leaves no temporary file behind, except between two system calls.
    """
    name = Path(path).name
    with folder_of(Path(path)) as directory:
        known = _regular(directory, name)
        try:
            _put_nameless(directory, name, data, known)
        except OSError as error:
            if error.errno not in _NOT_SO:
                raise
            _put_named(directory, name, data, known)


def probe(path: str) -> None:
    """Raise OSError when neither `append` nor `replace` would work now. Writes nothing."""
    name = Path(path).name
    with folder_of(Path(path)) as directory:
        known = _regular(directory, name)
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True) and not (
            known and os.access(name, os.W_OK, dir_fd=directory, effective_ids=True)
        ):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))


@contextlib.contextmanager
def folder_of(path: Path) -> Iterator[int]:
    """Open the folder that `path` is in, which must not be a link; yield its descriptor. Raises OSError."""
    try:
        directory = os.open(path.parent, FOLDER)
    except NotADirectoryError:  # Linux says so of a link to a folder, too
        if path.parent.is_symlink():
            raise _is_link() from None
        raise
    try:
        yield directory
    finally:
        os.close(directory)


def open_to_append(directory: int, name: str, exact_mode: int | None = None) -> int:
    """Open a file for appending, or make it; return its descriptor. Raises OSError.

    `exact_mode` is the mode of a new file, whatever the umask.
    """
    try:
        descriptor = os.open(name, _NEW | os.O_APPEND, exact_mode or _MODE, dir_fd=directory)
    except FileExistsError:
        descriptor = _opened_anew(directory, name)
    else:
        if exact_mode:
            os.fchmod(descriptor, exact_mode)
    if not _is_plain(os.fstat(descriptor)):
        os.close(descriptor)
        raise _not_plain()
    return descriptor


def open_emptied(path: Path, mode: int) -> int:
    """Open a file to be written from its beginning, or make it; return its descriptor. Raises OSError.

    A character device, such as /dev/stdout or /dev/null, is opened, too.
    """
    descriptor = os.open(path, _EMPTIED, mode)
    status = os.fstat(descriptor)
    if _is_plain(status):
        os.ftruncate(descriptor, 0)
    elif not stat.S_ISCHR(status.st_mode):
        os.close(descriptor)
        raise _not_plain()
    return descriptor


def write_new(path: Path | str, data: bytes, mode: int, directory: int | None = None) -> None:
    """Write a file that doesn't exist yet, in the folder with the descriptor `directory`. Raises OSError."""
    with os.fdopen(os.open(path, _NEW, mode, dir_fd=directory), "wb") as file:
        file.write(data)


def reason_of(error: OSError) -> str:
    """Return why a file could not be opened or written, as a text for people."""
    return "a symbolic link stands there" if error.errno == errno.ELOOP else error.strerror or str(error)


class UnsafeFolderError(Exception):
    """A folder that somebody else may change; the text says why."""


def require_ours_alone(path: Path) -> None:
    """Check that no other user owns `path`, may write to it, or could move it.

    Raises UnsafeFolderError when another user does, may or could; OSError when `path` can't be examined.
    """
    if path.stat().st_uid != os.geteuid():
        raise UnsafeFolderError("it belongs to another user")
    if _is_open(path.stat()):
        raise UnsafeFolderError(f"others may write to {path}")
    for folder in path.resolve().parents:
        status = folder.stat()
        if status.st_uid not in (0, os.geteuid()):
            raise UnsafeFolderError(f"{folder} belongs to another user")
        # Below a sticky folder nobody else can move our files; they could still make files in it.
        if _is_open(status) and not status.st_mode & stat.S_ISVTX:
            raise UnsafeFolderError(f"others may write to {folder}")


def open_ours_alone(path: Path, limit_bytes: int) -> BinaryIO | None:
    """Open a file for reading. Returns at once, whatever is there.

    Returns None unless it is a regular file of at most `limit_bytes` that this user owns and nobody else may
    write to. Raises OSError.
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
    """Whether others can change the file or folder; the user's own group and root's don't count as others."""
    is_foreign_group = status.st_gid not in (0, os.getegid())
    mask = stat.S_IWOTH | (stat.S_IWGRP if is_foreign_group else 0)
    return bool(status.st_mode & mask)


def _opened_anew(directory: int, name: str) -> int:
    try:
        return os.open(name, _KEPT, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EISDIR):  # a FIFO that nobody reads, a socket; a folder
            raise _not_plain() from None
        raise


def _regular(directory: int, name: str) -> os.stat_result | None:
    """Return the status of the regular file at `name`; None when nothing is there. Raises OSError."""
    try:
        known = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(known.st_mode):
        raise _is_link()
    if not _is_plain(known):
        raise _not_plain()
    return known


def _is_plain(known: os.stat_result) -> bool:
    return stat.S_ISREG(known.st_mode) and known.st_nlink == 1


def _is_link() -> OSError:
    return OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _not_plain() -> OSError:
    return OSError(errno.EINVAL, "not a regular file with a single name")


def _append(descriptor: int, data: bytes, limit_bytes: int) -> None:
    before = os.fstat(descriptor).st_size
    if before + len(data) > limit_bytes:
        raise OSError(errno.EFBIG, f"it may have {limit_bytes:,} bytes, and has {before:,}")
    written = 0
    try:
        while written < len(data):
            written += os.write(descriptor, data[written:])
    except OSError:
        if os.fstat(descriptor).st_size == before + written:  # nobody else has appended behind it
            os.ftruncate(descriptor, before)
        raise


def _put_nameless(directory: int, name: str, data: bytes, known: os.stat_result | None) -> None:
    """Replace by way of a file without a name, which is gone when this process is killed."""
    descriptor = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, _MODE, dir_fd=directory)
    with os.fdopen(descriptor, "wb") as file:
        _fill(file.fileno(), data, known)
        source = f"/proc/self/fd/{file.fileno()}"
        if known is None:
            with contextlib.suppress(FileExistsError):  # somebody made one meanwhile
                os.link(source, name, dst_dir_fd=directory, follow_symlinks=True)
                return
        temporary = temporary_name(name)
        os.link(source, temporary, dst_dir_fd=directory, follow_symlinks=True)
        _rename(directory, temporary, name)


def _put_named(directory: int, name: str, data: bytes, known: os.stat_result | None) -> None:
    temporary = temporary_name(name)
    descriptor = os.open(temporary, _NEW, _MODE, dir_fd=directory)
    try:
        _fill(descriptor, data, known)
    except BaseException:
        os.unlink(temporary, dir_fd=directory)
        raise
    finally:
        os.close(descriptor)
    _rename(directory, temporary, name)


def _fill(descriptor: int, data: bytes, known: os.stat_result | None) -> None:
    """Write `data`; the file gets the mode of `known` and, where this user may give files away, its owner."""
    if known is not None:
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, known.st_uid, known.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(known.st_mode) & 0o777)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def temporary_name(name: str) -> str:
    """Return the name of a file that is to replace the file `name`, in the same folder."""
    return f".{name[:_NAME_KEPT]}.{secrets.token_hex(8)}"


def _rename(directory: int, temporary: str, name: str) -> None:
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(temporary, dir_fd=directory)
        raise


def main() -> int:
    """Run `append PATH LIMIT`, `replace PATH` or `probe PATH`, with the data from stdin.

    An error is written to stderr: its errno, and its text.
    """
    how, path, *limit = sys.argv[1:]
    data = sys.stdin.buffer.read()
    try:
        if how == APPEND:
            append(path, data, int(limit[0]))
        elif how == PROBE:
            probe(path)
        else:
            replace(path, data)
    except OSError as error:
        sys.stderr.write(f"{error.errno or 0} {error.strerror or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
