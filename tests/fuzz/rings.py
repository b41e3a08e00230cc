"""The merge of rings, beside queues in plain Python: by time, each record once, none past one under way."""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import NamedTuple

from exporter.kernel.maps.rings import Ring, drain
from tests.fuzz.draw import Draw
from tests.unit.kernel.maps.ring_memory import BUSY, DISCARDED, SIZE, TIMED_BYTES, Producer, timed

_LATER = 1 << 62
"""A time that never comes while this runs."""


class _Record(NamedTuple):
    at_ns: int
    payload: bytes
    flags: int


@cache
def _producers() -> list[Producer]:
    return [Producer() for _ in range(3)]


class _Modelled:
    """A ring, and beside it what waits there."""

    def __init__(self, index: int, start: int) -> None:
        self.producer = _producers()[index]
        self.producer.start_at(start)
        self.waiting: deque[_Record] = deque()

    def submit(self, record: _Record) -> None:
        whole = timed(record.payload, record.at_ns)
        if self.producer.has_room(whole):
            self.producer.submit_whole(whole, record.flags)
            self.waiting.append(record)

    def has_freed_all(self) -> bool:
        return self.producer.consumed == self.producer.produced


def check(draw: Draw) -> None:
    """Two or three rings, filled and drained in turns."""
    modelled = [_Modelled(index, draw.getrandbits(40) & ~7) for index in range(draw.randint(2, 3))]
    rings = [Ring(each.producer.descriptor, SIZE) for each in modelled]
    try:
        for _ in range(1 + draw.length(6)):
            for _ in range(draw.length(20)):
                draw.choice(modelled).submit(_record(draw))
            _drains_as_the_model(modelled, rings, draw.choice((1, 3, 1000)))
    finally:
        for ring in rings:
            ring.close()


def _record(draw: Draw) -> _Record:
    at_ns = draw.choice((draw.getrandbits(4), draw.getrandbits(30), _LATER if draw.chance(0.1) else 5))
    flags = draw.choice((0, 0, 0, 0, 0, DISCARDED, BUSY if draw.chance(0.2) else 0))
    return _Record(at_ns, draw.blob(draw.choice((8, 70, 1500))), flags)


def _drains_as_the_model(modelled: list[_Modelled], rings: list[Ring], limit: int) -> None:
    seen: list[bytes] = []

    def keep(data: memoryview, at: int, length: int) -> None:
        seen.append(bytes(data[at + TIMED_BYTES : at + length]))

    number, is_all = drain(rings, keep, limit=limit)
    expected = _merged([each.waiting for each in modelled], limit)
    assert number == len(seen)
    assert is_all or number == limit
    assert seen == [record.payload for record in expected]
    for each in modelled:
        assert bool(each.waiting) or each.has_freed_all()


def _merged(queues: list[deque[_Record]], limit: int) -> list[_Record]:
    taken: list[_Record] = []
    while True:
        for queue in queues:
            while queue and queue[0].flags == DISCARDED:
                queue.popleft()
        heads = [queue[0] for queue in queues if queue]
        if not heads or len(taken) == limit or any(head.flags == BUSY for head in heads):
            return taken
        first = min(head.at_ns for head in heads)
        if first == _LATER:
            return taken
        taken.append(next(queue for queue in queues if queue and queue[0].at_ns == first).popleft())
