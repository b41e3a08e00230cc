"""BPF ring buffers, read from their shared memory. Layout: kernel/bpf/ringbuf.c and its documentation."""

from __future__ import annotations

import math
import mmap
import os
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
"""The most bytes of a record, with its header."""

_PART = 1 << 18
"""The bytes of a ring that are mapped at a time, and those of a record that begins in them."""

_FREED_EVERY = 64
"""The number of records after which room is freed: a batch may take seconds, and a burst needs the room."""

KEPT_MAX_BYTES = 32 << 20
"""The most bytes kept of records that were handed over before their turn."""

_UNFINISHED_NS, _NOTHING_NS = -1, 1 << 64
"""A time before all others, and one after all others."""

Handler = Callable[[memoryview, int, int], None]
"""Called with the ring's memory, the offset and the length in bytes of a record; must not keep the memory."""


class Ring:
    """The consumer's side: one reader, records in the order in which the kernel reserved them."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        """Map the ring behind `descriptor`; `size_bytes` is a power of two. Raises OSError."""
        self._size, self._part = size_bytes, min(size_bytes, _PART)
        self._consumer = mmap.mmap(descriptor, mmap.PAGESIZE)
        # The position has to be written in one step. `struct` clears the place first: until it goes on, which
        # may take as long as others have the processor, programs find the ring full.
        self._consumer_at = memoryview(self._consumer).cast("Q")
        self._producer = mmap.mmap(descriptor, mmap.PAGESIZE, prot=mmap.PROT_READ, offset=mmap.PAGESIZE)
        self._producer_at = memoryview(self._producer).cast("Q")
        self._consumed = self._produced = self._freed = self._consumer_at[0]
        self._descriptor = os.dup(descriptor)
        self._begins, self._data = 0, memoryview(b"")
        self._next = self._data, 0, 0
        """The memory, the offset in it and the length of the record whose time `next_ns` returned."""
        try:
            self._offset(self._consumed)
        except OSError:
            self.close()
            raise
        self._taken: int | None = None
        """The position of the record that `take` hands over now."""
        self._early: Handler | None = None
        self._kept: deque[tuple[int, bytes]] = deque()
        """The records that were handed over early and not yet in their turn, each with its position."""
        self._kept_bytes = 0

    def close(self) -> None:
        """Unmap."""
        for view in (self._data, self._producer_at, self._consumer_at):
            view.release()
        self._producer.close()
        self._consumer.close()
        os.close(self._descriptor)

    @property
    def produced(self) -> int:
        """The position up to which the kernel has reserved records, in bytes since the ring was made."""
        return self._producer_at[0]

    @property
    def handed(self) -> int:
        """The position up to which `take` has handed over all records."""
        return self._kept[0][0] if self._kept else self._consumed

    def look(self) -> None:
        """Note up to where the kernel has reserved records; later records show at the next look."""
        self._produced = self._producer_at[0]

    def next_ns(self) -> int:
        """`at_ns` of the next record; -1 while the kernel is still writing it, 1 << 64 when there is none."""
        if self._kept:
            at_ns: int = U64.unpack_from(self._kept[0][1], _TIME_AT - _HEADER_SIZE)[0]
            return at_ns
        return self._next_here_ns()

    def _next_here_ns(self) -> int:
        while self._consumed < self._produced:
            try:
                at = self._offset(self._consumed)
            except OSError:  # no memory, or no descriptor, is free: the next look tries again
                return _UNFINISHED_NS
            header = U32.unpack_from(self._data, at)[0]
            if header & _BUSY:
                return _UNFINISHED_NS
            length = header & ~_DISCARDED  # it isn't busy, so this removes all flags
            if not header & _DISCARDED:
                self._next = self._data, at + _HEADER_SIZE, length
                at_ns: int = U64.unpack_from(self._data, at + _TIME_AT)[0]
                return at_ns
            self._advance(length)
        return _NOTHING_NS

    def _offset(self, position: int) -> int:
        """Return where in `_data` the record at `position` is, mapped as a whole. Raises OSError.

        All that is mapped counts as this process's memory, so only a part is, and it moves on. Who still
        reads the part before keeps it mapped.
        """
        at = (position & self._size - 1) - self._begins
        if not (self._data and 0 <= at < self._part):
            # The kernel shows the data twice, one behind the other, so that no record wraps.
            begins = (position & self._size - 1) // mmap.PAGESIZE * mmap.PAGESIZE
            length = min(self._part + _LONGEST, 2 * self._size - begins)
            offset = 2 * mmap.PAGESIZE + begins
            self._data = memoryview(mmap.mmap(self._descriptor, length, prot=mmap.PROT_READ, offset=offset))
            at, self._begins = at + self._begins - begins, begins
        return at

    def waiting(self) -> Iterator[wire.RecordHeader]:
        """Iterate over the headers of the records that wait to be taken, up to an unfinished one.

        Raises OSError where a part of the ring can't be mapped.
        """
        produced, position = self._producer_at[0], self._consumed
        while position < produced:
            at = self._offset(position)
            header = U32.unpack_from(self._data, at)[0]
            if header & _BUSY:
                return
            length = header & ~_DISCARDED
            if not header & _DISCARDED:
                yield wire.RecordHeader._make(wire.RECORD_HEADER.unpack_from(self._data, at + _HEADER_SIZE))
            position += (_HEADER_SIZE + length + 7) & ~7

    def hand_early(self, handle: Handler) -> None:
        """Hand every record to `handle`, too, from now on: in `take_early`, or just before its turn.

        So `handle` gets the records in the ring's order, with none left out.
        """
        self._early = handle

    def take_early(self, *, most_s: float) -> None:
        """Hand over waiting records before their turn, for `most_s`, at least one. See `hand_early`.

        They are copied, which frees their room at once, and `take` hands them over once more in their turn.
        """
        if self._early is None:
            return
        deadline_s = time.monotonic() + most_s
        is_first = True
        while self._kept_bytes < KEPT_MAX_BYTES and (is_first or time.monotonic() < deadline_s):
            is_first = False
            self.look()
            if not _UNFINISHED_NS < self._next_here_ns() < _NOTHING_NS:
                break
            position = self._consumed
            data, at, length = self._next
            record = bytes(data[at : at + length])
            self._advance(length)
            self.free()
            self._kept.append((position, record))
            self._kept_bytes += len(record)
            self._early(memoryview(record), 0, len(record))

    def take(self, handle: Handler) -> None:
        """Hand over the record whose time `next_ns` returned."""
        if self._kept:
            _, record = self._kept.popleft()
            self._kept_bytes -= len(record)
            handle(memoryview(record), 0, len(record))
            return
        data, at, length = self._next
        self._taken = self._consumed
        self._advance(length)  # first: `handle` may call `take_early`
        try:
            if self._early is not None:  # the record came after the last `take_early`
                self._early(data, at, length)
            handle(data, at, length)
        finally:
            self._taken = None

    def free(self) -> None:
        """Give the room of taken records back to the kernel, except that of the record being handled."""
        until = self._consumed if self._taken is None else self._taken
        if until != self._freed:
            self._freed = self._consumer_at[0] = until

    def _advance(self, length: int) -> None:
        self._consumed += (_HEADER_SIZE + length + 7) & ~7


class Drained(NamedTuple):
    """The result of `drain`."""

    number: int
    """The number of records that were handed over."""
    is_all: bool
    """Whether no record is left that was there, and finished, when `drain` began."""


def drain(rings: Sequence[Ring], handle: Handler, *, limit: int, most_s: float = math.inf) -> Drained:
    """Hand over finished records in the order of their times, for `most_s`: at least one, at most `limit`.

    A record on one ring may follow from a record on another. Those on later `rings` follow from those on
    earlier ones, so the earlier rings are looked at last. Some follow the other way round, so records younger
    than the first look have to wait. Each record's time was taken before its room was reserved: therefore
    the order holds although the times on one ring needn't rise. An unfinished record holds up all the rings,
    for as long as a program in the kernel takes to write it.
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
