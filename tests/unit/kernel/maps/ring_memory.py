"""The kernel's side of a ring, in memory that is laid out as the kernel does."""

from __future__ import annotations

import mmap
import os
import struct

PAGE = SIZE = mmap.PAGESIZE
BUSY, DISCARDED = 1 << 31, 1 << 30
_POSITION = struct.Struct("=Q")
_LENGTH, _HEAD = struct.Struct("=I"), struct.Struct("=II")
_TIMED = struct.Struct("=IHHQ")
TIMED_BYTES = _TIMED.size
"""Of what stands before a payload."""


def timed(payload: bytes, at_ns: int = 0) -> bytes:
    """As all records begin: layout, kind, and the time."""
    return _TIMED.pack(0, 0, 0, at_ns) + payload


class Producer:
    """Writes into a memory file: the consumer's page, the producer's page, and the data twice."""

    def __init__(self, size: int = SIZE) -> None:
        self.descriptor, self.size = os.memfd_create("ring"), size
        os.ftruncate(self.descriptor, 2 * PAGE + 2 * size)
        self._memory = mmap.mmap(self.descriptor, 2 * PAGE + 2 * size)
        self.produced = 0

    def close(self) -> None:
        self._memory.close()
        os.close(self.descriptor)

    def submit(self, payload: bytes, flags: int = 0, *, at_ns: int = 0) -> int:
        """One record; returns where its header stands. Busy or discarded by `flags`."""
        return self.submit_whole(timed(payload, at_ns), flags)

    def submit_whole(self, whole: bytes, flags: int = 0) -> int:
        """The same, of a record with its header."""
        at = self.produced
        self._write(at, _HEAD.pack(len(whole) | flags, 0) + whole)
        self.produced += _room(whole)
        _POSITION.pack_into(self._memory, PAGE, self.produced)
        return at

    def has_room(self, whole: bytes) -> bool:
        """Whether the kernel would write it, or call the ring full."""
        return self.produced + _room(whole) - self.consumed <= self.size

    def commit(self, at: int, payload: bytes) -> None:
        self._write(at, _LENGTH.pack(len(timed(payload))))

    def start_at(self, position: int) -> None:
        self.produced = position
        for page in (0, PAGE):
            _POSITION.pack_into(self._memory, page, position)

    @property
    def consumed(self) -> int:
        (position,) = _POSITION.unpack_from(self._memory, 0)
        return int(position)

    def _write(self, at: int, data: bytes) -> None:
        """As through the kernel's double mapping: what runs over the end stands at the beginning, too."""
        size = self.size
        for copy in (at % size - size, at % size, at % size + size):
            first, last = max(copy, 0), min(copy + len(data), 2 * size)
            if first < last:
                place = 2 * PAGE + first
                self._memory[place : place + last - first] = data[first - copy : last - copy]


def _room(whole: bytes) -> int:
    return _HEAD.size + len(whole) + 7 & ~7
