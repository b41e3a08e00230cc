"""Writes to a file that the traced job, or anyone before it, may have prepared with malice.

Standard library only: this text is also run by itself, by the system's Python with another user's rights (see
exporter/handing.py). No symbolic link is followed in the last two components of a path, anything but a
regular file with a single name is refused, and nothing is waited for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
from pathlib import Path

APPEND, REPLACE, PROBE = "append", "replace", "probe"

_MODE = 0o666
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_KEPT = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NAME_KEPT = 50
"""Characters of the name that the temporary file's name has in it; a name has at most 255 bytes."""
_NOT_SO = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
"""Errors of file systems that have no files without a name, or can't give them one."""


def append(path: str, data: bytes, limit_bytes: int) -> None:
    """Append `data` whole or not at all, to a file of at most `limit_bytes`. Raises OSError."""
    directory = _directory_of(path)
    try:
        descriptor = _opened(directory, Path(path).name)
    finally:
        os.close(directory)
    try:
        _append(descriptor, data, limit_bytes)
    finally:
        os.close(descriptor)


def replace(path: str, data: bytes) -> None:
    """Write `data` to the file, in place of what it held. Raises OSError.

    Whoever reads it meanwhile gets the old text or the new one. Where files without a name are possible, a
    killed process leaves no other file behind, except between two system calls.
    """
    directory, name = _directory_of(path), Path(path).name
    try:
        known = _regular(directory, name)
        try:
            _put_nameless(directory, name, data, known)
        except OSError as error:
            if error.errno not in _NOT_SO:
                raise
            _put_named(directory, name, data, known)
    finally:
        os.close(directory)


def probe(path: str) -> None:
    """Raise OSError when neither `append` nor `replace` would work now. Writes nothing."""
    directory, name = _directory_of(path), Path(path).name
    try:
        known = _regular(directory, name)
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True) and not (
            known and os.access(name, os.W_OK, dir_fd=directory, effective_ids=True)
        ):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    finally:
        os.close(directory)


def _directory_of(path: str) -> int:
    folder = Path(path).parent
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:  # Linux says so of a link to one, too
        if folder.is_symlink():
            raise _is_link() from None
        raise


def _opened(directory: int, name: str) -> int:
    try:
        descriptor = os.open(name, _NEW | os.O_APPEND, _MODE, dir_fd=directory)
    except FileExistsError:
        descriptor = _opened_anew(directory, name)
    if not _is_plain(os.fstat(descriptor)):
        os.close(descriptor)
        raise _not_plain()
    return descriptor


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
        temporary = _temporary(name)
        os.link(source, temporary, dst_dir_fd=directory, follow_symlinks=True)
        _rename(directory, temporary, name)


def _put_named(directory: int, name: str, data: bytes, known: os.stat_result | None) -> None:
    temporary = _temporary(name)
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


def _temporary(name: str) -> str:
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
