"""The merge of rings, beside queues in plain Python: by time, each record once, none past one under way."""

from __future__ import annotations

import mmap
import os
import struct
from collections import deque
from functools import cache
from typing import NamedTuple

from exporter.kernel.maps.rings import Ring, drain
from tests.fuzz.draw import Draw

_PAGE = _SIZE = mmap.PAGESIZE
_BUSY, _DISCARDED = 1 << 31, 1 << 30
_POSITION = struct.Struct("=Q")
_HEAD = struct.Struct("=II")
_TIMED = struct.Struct("=IHHQ")
_LATER = 1 << 62
"""A time that never comes while this runs."""


class _Record(NamedTuple):
    at_ns: int
    payload: bytes
    flags: int


@cache
def _memory(index: int) -> tuple[int, mmap.mmap]:
    """A ring's memory, as the kernel lays it out: consumer's page, producer's page, data twice."""
    descriptor = os.memfd_create(f"ring{index}")
    os.ftruncate(descriptor, 2 * _PAGE + 2 * _SIZE)
    return descriptor, mmap.mmap(descriptor, 2 * _PAGE + 2 * _SIZE)


class _Producer:
    """The kernel's side."""

    def __init__(self, index: int, start: int) -> None:
        self.descriptor, self._memory = _memory(index)
        self._start = self._produced = start
        for page in (0, _PAGE):
            _POSITION.pack_into(self._memory, page, start)
        self.waiting: deque[_Record] = deque()

    def submit(self, record: _Record) -> None:
        whole = _TIMED.pack(0, 0, 0, record.at_ns) + record.payload
        data = _HEAD.pack(len(whole) | record.flags, 0) + whole
        room = len(data) + 7 & ~7
        if self._produced + room - self._consumed > _SIZE:
            return  # full
        at = self._produced % _SIZE
        for copy in (at - _SIZE, at, at + _SIZE):
            first, last = max(copy, 0), min(copy + len(data), 2 * _SIZE)
            if first < last:
                place = 2 * _PAGE + first
                self._memory[place : place + last - first] = data[first - copy : last - copy]
        self._produced += room
        _POSITION.pack_into(self._memory, _PAGE, self._produced)
        self.waiting.append(record)

    @property
    def _consumed(self) -> int:
        (position,) = _POSITION.unpack_from(self._memory, 0)
        return int(position)

    def has_freed_all(self) -> bool:
        return self._consumed == self._produced


def check(draw: Draw) -> None:
    """Two or three rings, filled and drained in turns."""
    producers = [_Producer(index, draw.getrandbits(40) & ~7) for index in range(draw.randint(2, 3))]
    rings = [Ring(producer.descriptor, _SIZE) for producer in producers]
    try:
        for _ in range(1 + draw.length(6)):
            for _ in range(draw.length(20)):
                draw.choice(producers).submit(_record(draw))
            _drains_as_the_model(producers, rings, draw.choice((1, 3, 1000)))
    finally:
        for ring in rings:
            ring.close()


def _record(draw: Draw) -> _Record:
    at_ns = draw.choice((draw.getrandbits(4), draw.getrandbits(30), _LATER if draw.chance(0.1) else 5))
    flags = draw.choice((0, 0, 0, 0, 0, _DISCARDED, _BUSY if draw.chance(0.2) else 0))
    return _Record(at_ns, draw.blob(draw.choice((8, 70, 1500))), flags)


def _drains_as_the_model(producers: list[_Producer], rings: list[Ring], limit: int) -> None:
    seen: list[bytes] = []

    def keep(data: memoryview, at: int, length: int) -> None:
        seen.append(bytes(data[at + _TIMED.size : at + length]))

    number, is_all = drain(rings, keep, limit=limit)
    expected = _merged([producer.waiting for producer in producers], limit)
    assert number == len(seen)
    assert is_all or number == limit
    assert seen == [record.payload for record in expected]
    for producer in producers:
        assert bool(producer.waiting) or producer.has_freed_all()


def _merged(queues: list[deque[_Record]], limit: int) -> list[_Record]:
    taken: list[_Record] = []
    while True:
        for queue in queues:
            while queue and queue[0].flags == _DISCARDED:
                queue.popleft()
        heads = [queue[0] for queue in queues if queue]
        if not heads or len(taken) == limit or any(head.flags == _BUSY for head in heads):
            return taken
        first = min(head.at_ns for head in heads)
        if first == _LATER:
            return taken
        taken.append(next(queue for queue in queues if queue and queue[0].at_ns == first).popleft())
