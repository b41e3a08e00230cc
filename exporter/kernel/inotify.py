"""The names that appear in a directory, reported as they appear, however many are there already."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from .libc import LIBC, checked

_EVENT = struct.Struct("=iIII")
_MOVED_TO, _CREATE, _OVERFLOW = 0x80, 0x100, 0x4000  # include/uapi/linux/inotify.h
_ROOM = 65536


class NewNames:
    """An inotify descriptor that reports the names that appear in one directory."""

    def __init__(self, directory: int) -> None:
        """Watch `directory` (a descriptor) from now on, whatever becomes of its path. Raises OSError."""
        self._descriptor = checked(LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        path = f"/proc/self/fd/{directory}".encode()
        try:
            checked(LIBC.inotify_add_watch(self._descriptor, path, _CREATE | _MOVED_TO))
        except OSError:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)

    def take(self) -> list[bytes | None]:
        """Return some of the names that appeared, an empty list when there are no more.

        None in the list means that names were lost.
        """
        try:
            data = os.read(self._descriptor, _ROOM)
        except BlockingIOError:
            return []
        return list(_names(data))


def _names(data: bytes) -> Iterator[bytes | None]:
    at = 0
    while at < len(data):
        _, mask, _, length = _EVENT.unpack_from(data, at)
        at += _EVENT.size + length
        yield None if mask & _OVERFLOW else data[at - length : at].rstrip(b"\0")
