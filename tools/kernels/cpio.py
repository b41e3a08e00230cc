"""The archive that a kernel reads as its first file system (Documentation/driver-api/early-userspace)."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_MAGIC = b"070701"
_END = "TRAILER!!!"
_ALIGNED_BYTES = 4


class Entry(NamedTuple):
    """A file or folder, which belongs to root."""

    name: str
    mode: int
    data: bytes

    @classmethod
    def folder(cls, name: str) -> Entry:
        """Make an empty folder."""
        return cls(name, stat.S_IFDIR | 0o755, b"")

    @classmethod
    def program(cls, name: str, data: bytes) -> Entry:
        """Make a file that may be executed."""
        return cls(name, stat.S_IFREG | 0o755, data)


def archived(entries: Iterable[Entry]) -> bytes:
    """Archive the entries, uncompressed: unpacking would cost more than the size."""
    return b"".join(part for number, entry in enumerate(_ended(entries)) for part in _parts(number, entry))


def _ended(entries: Iterable[Entry]) -> Iterator[Entry]:
    yield from entries
    yield Entry(_END, 0, b"")


def _parts(number: int, entry: Entry) -> Iterator[bytes]:
    """Yield the header, 13 fields of 8 digits, with the name and its end; then the data."""
    name = entry.name.encode() + b"\0"
    links, owner, group, changed, devices, sum_ = 1, 0, 0, 0, (0, 0, 0, 0), 0
    sizes = len(entry.data), *devices, len(name), sum_
    fields = (number, entry.mode, owner, group, links, changed, *sizes)
    yield _padded(_MAGIC + b"".join(b"%08X" % field for field in fields) + name)
    yield _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNED_BYTES)
