"""The consumer's side of a ring, over shared memory laid out as the kernel does."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.kernel.rings import Ring

PAGE = mmap.PAGESIZE
SIZE = PAGE
BUSY, DISCARDED = 1 << 31, 1 << 30


class Producer:
    """Writes into a memory file: the consumer's page, the producer's page, and the data twice."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("ring")
        os.ftruncate(self.descriptor, 2 * PAGE + 2 * SIZE)
        self.produced = 0

    def submit(self, payload: bytes, flags: int = 0) -> int:
        """One record; returns where its header stands. Busy or discarded by `flags`."""
        at = self.produced
        self.write(at, struct.pack("=II", len(payload) | flags, 0) + payload)
        self.produced += (8 + len(payload) + 7) & ~7
        os.pwrite(self.descriptor, struct.pack("=Q", self.produced), PAGE)
        return at

    def commit(self, at: int, length: int) -> None:
        self.write(at, struct.pack("=I", length))

    def write(self, at: int, data: bytes) -> None:
        """As through the kernel's double mapping: what runs over the end stands at the beginning too."""
        for number, byte in enumerate(data):
            place = (at + number) % SIZE
            for copy in (place, SIZE + place):
                os.pwrite(self.descriptor, bytes([byte]), 2 * PAGE + copy)

    def start_at(self, position: int) -> None:
        self.produced = position
        for page in (0, PAGE):
            os.pwrite(self.descriptor, struct.pack("=Q", position), page)

    @property
    def consumed(self) -> int:
        (position,) = struct.unpack("=Q", os.pread(self.descriptor, 8, 0))
        return int(position)


@pytest.fixture
def producer() -> Iterator[Producer]:
    made = Producer()
    yield made
    os.close(made.descriptor)


@pytest.fixture
def ring(producer: Producer) -> Iterator[Ring]:
    made = Ring(producer.descriptor, SIZE)
    yield made
    made.close()


def drain(ring: Ring, *, limit: int = 1000) -> list[bytes]:
    seen: list[bytes] = []
    ring.drain(lambda data, at, length: seen.append(bytes(data[at : at + length])), limit=limit)
    return seen


def test_records_come_in_order_and_their_room_is_free_again(producer: Producer, ring: Ring) -> None:
    payloads = [b"", b"a", b"12345678", b"x" * 100]
    for payload in payloads:
        producer.submit(payload)
    assert drain(ring) == payloads
    assert producer.consumed == producer.produced
    assert drain(ring) == []


def test_an_empty_ring_has_nothing_and_is_not_written(producer: Producer, ring: Ring) -> None:
    producer.start_at(SIZE * 3 + 8)
    assert ring.drain(lambda *_: pytest.fail("there is no record"), limit=10) == 0
    assert producer.consumed == SIZE * 3 + 8


def test_a_busy_record_holds_up_what_stands_behind_it(producer: Producer, ring: Ring) -> None:
    producer.submit(b"first")
    at = producer.submit(b"second", flags=BUSY)
    producer.submit(b"third")
    assert drain(ring) == [b"first"]
    assert producer.consumed == at
    assert drain(ring) == []
    producer.commit(at, len(b"second"))
    assert drain(ring) == [b"second", b"third"]


def test_a_discarded_record_is_skipped_and_its_room_free_again(producer: Producer, ring: Ring) -> None:
    producer.submit(b"kept")
    producer.submit(b"thrown away", flags=DISCARDED)
    producer.submit(b"kept too")
    assert drain(ring) == [b"kept", b"kept too"]
    assert producer.consumed == producer.produced


def test_a_record_across_the_end_comes_in_one_piece(producer: Producer, ring: Ring) -> None:
    producer.start_at(SIZE * 5 - 16)
    payload = bytes(range(200))
    producer.submit(payload)
    producer.submit(b"next")
    assert drain(ring) == [payload, b"next"]
    assert producer.consumed == producer.produced


def test_a_limit_leaves_the_rest_for_the_next_time(producer: Producer, ring: Ring) -> None:
    for number in range(5):
        producer.submit(bytes([number]))
    assert drain(ring, limit=2) == [b"\0", b"\1"]
    assert drain(ring, limit=0) == []
    assert drain(ring, limit=3) == [b"\2", b"\3", b"\4"]


def test_the_number_of_records_is_returned_discarded_ones_included(producer: Producer, ring: Ring) -> None:
    producer.submit(b"a")
    producer.submit(b"b", flags=DISCARDED)
    assert ring.drain(lambda *_: None, limit=10) == 2


@given(
    st.integers(0, 1 << 40).map(lambda number: number & ~7),
    st.lists(st.tuples(st.binary(max_size=70), st.booleans()), max_size=20),
    st.integers(1, 7),
)
def test_every_record_comes_once_wherever_the_ring_stands(
    start: int, records: list[tuple[bytes, bool]], limit: int
) -> None:
    producer = Producer()
    producer.start_at(start)
    ring = Ring(producer.descriptor, SIZE)
    for payload, is_discarded in records:
        producer.submit(payload, flags=DISCARDED if is_discarded else 0)
    seen: list[bytes] = []
    while batch := ring.drain(
        lambda data, at, length: seen.append(bytes(data[at : at + length])), limit=limit
    ):
        assert batch <= limit
    ring.close()
    os.close(producer.descriptor)
    assert seen == [payload for payload, is_discarded in records if not is_discarded]
