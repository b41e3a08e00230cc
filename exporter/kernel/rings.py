"""A BPF ring buffer, read from its shared memory. Layout: kernel/bpf/ringbuf.c and its documentation."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable

_POSITION = struct.Struct("=Q")
_HEADER = struct.Struct("=I")
_HEADER_SIZE = 8
_BUSY = 1 << 31
_DISCARDED = 1 << 30

Handler = Callable[[memoryview, int, int], None]
"""Called with the ring's memory, the offset and the length in bytes of a record; must not keep the memory."""


class Ring:
    """The consumer's side: one reader, records in the order in which the kernel reserved them."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        """Map the ring behind `descriptor` (a power of two of `size_bytes`). Raises OSError."""
        page = mmap.PAGESIZE
        self._size = size_bytes
        self._consumer = mmap.mmap(descriptor, page)
        # The data stand there twice, one behind the other, so that no record wraps.
        self._shared = mmap.mmap(descriptor, page + 2 * size_bytes, prot=mmap.PROT_READ, offset=page)
        self._data = memoryview(self._shared)[page:]

    def close(self) -> None:
        """Unmap."""
        self._data.release()
        self._shared.close()
        self._consumer.close()

    def drain(self, handle: Handler, *, limit: int) -> int:
        """Hand over at most `limit` finished records and free their room at once; returns how many."""
        consumed = _POSITION.unpack_from(self._consumer)[0]
        produced = _POSITION.unpack_from(self._shared)[0]
        data, mask, done = self._data, self._size - 1, 0
        while consumed < produced and done < limit:
            at = consumed & mask
            header = _HEADER.unpack_from(data, at)[0]
            if header & _BUSY:
                break
            length = header & ~_DISCARDED  # not busy, so these are all its flags
            if not header & _DISCARDED:
                handle(data, at + _HEADER_SIZE, length)
            consumed += (_HEADER_SIZE + length + 7) & ~7
            done += 1
        if done:
            _POSITION.pack_into(self._consumer, 0, consumed)
        return done
