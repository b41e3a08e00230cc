"""BPF ring buffers, read from their shared memory. Layout: kernel/bpf/ringbuf.c and its documentation."""

from __future__ import annotations

import math
import mmap
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from exporter.common.clock import boot_ns
from exporter.events import wire
from exporter.kernel.bpf import U32, U64

_HEADER_SIZE = 8
_BUSY = 1 << 31
_DISCARDED = 1 << 30
_TIME_AT = _HEADER_SIZE + 8  # at_ns in struct record_header

_LONGEST = 1 << 16
"""Bytes of a record, its header included, at most."""

_FREED_EVERY = 64
"""Records after which room is freed: a batch may take seconds, and a burst meanwhile needs the room."""

KEPT_MAX_BYTES = 32 << 20
"""The most bytes kept of records that were handed over before it was their turn."""

_UNFINISHED_NS, _NOTHING_NS = -1, 1 << 64
"""A time before all others, and one after all others."""

Handler = Callable[[memoryview, int, int], None]
"""Called with the ring's memory, the offset and the length in bytes of a record; must not keep the memory."""


class Ring:
    """The consumer's side: one reader, records in the order in which the kernel reserved them."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        """Map the ring behind `descriptor` (a power of two of `size_bytes`). Raises OSError."""
        page = mmap.PAGESIZE
        self._size = size_bytes
        self._consumer = mmap.mmap(descriptor, page)
        # Written at once: `struct` clears the place first, and to programs that run before it goes on, which
        # may take as long as others have the processor, the ring is full.
        self._consumer_at = memoryview(self._consumer).cast("Q")
        # Behind the data they stand once more, so that no record wraps. A beginning of that is enough, and
        # all that is mapped counts as this process's memory.
        length = page + size_bytes + min(size_bytes, _LONGEST)
        self._shared = mmap.mmap(descriptor, length, prot=mmap.PROT_READ, offset=page)
        self._producer_at = memoryview(self._shared)[:page].cast("Q")
        self._data = memoryview(self._shared)[page:]
        self._consumed = self._produced = self._freed = self._consumer_at[0]
        self._length = 0
        self._taken: int | None = None
        """The position of the record that `take` hands over now."""
        self._kept: deque[tuple[int, bytes]] = deque()
        """The records that were handed over early, each with its position."""
        self._kept_bytes = 0

    def close(self) -> None:
        """Unmap."""
        for view in (self._data, self._producer_at, self._consumer_at):
            view.release()
        self._shared.close()
        self._consumer.close()

    @property
    def produced(self) -> int:
        """How far the kernel got by now: a position, in bytes since the ring was made."""
        return self._producer_at[0]

    @property
    def handed(self) -> int:
        """How far the records are handed over for good: a position, too."""
        return self._kept[0][0] if self._kept else self._consumed

    def look(self) -> None:
        """See how far the kernel got: records that it reserves from now on show at the next look."""
        self._produced = self._producer_at[0]

    def next_ns(self) -> int:
        """`at_ns` of the next record; -1 while the kernel is still writing it, 1 << 64 when there is none."""
        if self._kept:
            at_ns: int = U64.unpack_from(self._kept[0][1], _TIME_AT - _HEADER_SIZE)[0]
            return at_ns
        return self._next_here_ns()

    def _next_here_ns(self) -> int:
        while self._consumed < self._produced:
            at = self._consumed & self._size - 1
            header = U32.unpack_from(self._data, at)[0]
            if header & _BUSY:
                return _UNFINISHED_NS
            self._length = header & ~_DISCARDED  # not busy, so these are all its flags
            if not header & _DISCARDED:
                at_ns: int = U64.unpack_from(self._data, at + _TIME_AT)[0]
                return at_ns
            self._advance()
        return _NOTHING_NS

    def waiting(self) -> Iterator[wire.RecordHeader]:
        """Iterate over the headers of the records that wait to be taken, as of now; they go on waiting."""
        produced, position = self._producer_at[0], self._consumed
        while position < produced:
            at = position & self._size - 1
            header = U32.unpack_from(self._data, at)[0]
            if header & _BUSY:
                return
            length = header & ~_DISCARDED
            if not header & _DISCARDED:
                yield wire.RecordHeader._make(wire.RECORD_HEADER.unpack_from(self._data, at + _HEADER_SIZE))
            position += (_HEADER_SIZE + length + 7) & ~7

    def take_early(self, handle: Handler, *, most_s: float) -> None:
        """Hand over waiting records for `most_s`, at least one, and keep them, for `take` in their turn.

        Their room is free at once.
        """
        deadline_s = time.monotonic() + most_s
        is_first = True
        while self._kept_bytes < KEPT_MAX_BYTES and (is_first or time.monotonic() < deadline_s):
            is_first = False
            self.look()
            if not _UNFINISHED_NS < self._next_here_ns() < _NOTHING_NS:
                break
            position = self._consumed
            at = (position & self._size - 1) + _HEADER_SIZE
            record = bytes(self._data[at : at + self._length])
            self._advance()
            self.free()
            self._kept.append((position, record))
            self._kept_bytes += len(record)
            handle(memoryview(record), 0, len(record))

    def take(self, handle: Handler) -> None:
        """Hand over the record whose time `next_ns` returned."""
        if self._kept:
            _, record = self._kept.popleft()
            self._kept_bytes -= len(record)
            handle(memoryview(record), 0, len(record))
            return
        self._taken, length = self._consumed, self._length
        self._advance()  # first: meanwhile `handle` may take others early
        try:
            handle(self._data, (self._taken & self._size - 1) + _HEADER_SIZE, length)
        finally:
            self._taken = None

    def free(self) -> None:
        """Give the room of taken records back to the kernel, except that of the record being handled."""
        until = self._consumed if self._taken is None else self._taken
        if until != self._freed:
            self._freed = self._consumer_at[0] = until

    def _advance(self) -> None:
        self._consumed += (_HEADER_SIZE + self._length + 7) & ~7


class Drained(NamedTuple):
    """The result of `drain`."""

    number: int
    """Records that were handed over."""
    is_all: bool
    """Whether no record is left that was there and finished when it began."""


def drain(rings: Sequence[Ring], handle: Handler, *, limit: int, most_s: float = math.inf) -> Drained:
    """Hand over finished records in the order of their times, for `most_s`: at least one, at most `limit`.

    Records on one ring may follow from records on another: those on a later one of `rings` from those on an
    earlier one, so the earlier ones are looked at last; and the other way round, so records younger than the
    first look wait. Each record's time was taken before its room was reserved, which is why the order holds
    although the times on one ring needn't rise. An unfinished record holds up all the rings, for as long as
    a program in the kernel takes to write it.
    """
    until_ns, deadline_s = boot_ns(), time.monotonic() + most_s
    for ring in reversed(rings):
        ring.look()
    times = [ring.next_ns() for ring in rings]
    number = 0
    while is_there := _UNFINISHED_NS < (earliest := min(times)) <= until_ns:
        if number == limit or (number and time.monotonic() >= deadline_s):
            break
        index = times.index(earliest)
        rings[index].take(handle)
        times[index] = rings[index].next_ns()
        number += 1
        if number % _FREED_EVERY == 0:
            _free(rings)
    _free(rings)
    return Drained(number, not is_there)


def _free(rings: Sequence[Ring]) -> None:
    for ring in rings:
        ring.free()
