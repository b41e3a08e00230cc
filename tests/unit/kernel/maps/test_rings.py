"""The consumer's side of a ring, over shared memory laid out as the kernel does."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.common.clock import boot_ns
from exporter.events import wire
from exporter.kernel.maps.rings import Handler, Ring
from exporter.kernel.maps.rings import drain as drain_rings
from tests.unit.kernel.maps.ring_memory import BUSY, DISCARDED, PAGE, SIZE, TIMED_BYTES, Producer


@pytest.fixture
def producer() -> Iterator[Producer]:
    with closing(Producer()) as made:
        yield made


@pytest.fixture
def ring(producer: Producer) -> Iterator[Ring]:
    made = Ring(producer.descriptor, SIZE)
    yield made
    made.close()


def drain(*rings: Ring, limit: int = 1000) -> list[bytes]:
    """The payloads."""
    seen: list[bytes] = []
    drain_rings(rings, _kept_in(seen), limit=limit)
    return seen


def _kept_in(seen: list[bytes]) -> Handler:
    return lambda data, at, length: seen.append(bytes(data[at + TIMED_BYTES : at + length]))


def test_records_come_in_order_and_their_room_is_free_again(producer: Producer, ring: Ring) -> None:
    payloads = [b"", b"a", b"12345678", b"x" * 100]
    for payload in payloads:
        producer.submit(payload)
    assert drain(ring) == payloads
    assert producer.consumed == producer.produced
    assert drain(ring) == []


def test_an_empty_ring_has_nothing_and_is_not_written(producer: Producer) -> None:
    producer.start_at(SIZE * 3 + 8)
    with closing(Ring(producer.descriptor, SIZE)) as ring:
        assert drain_rings([ring], lambda *_: pytest.fail("there is no record"), limit=10) == (0, True)
    assert producer.consumed == SIZE * 3 + 8


def test_what_was_taken_early_comes_again_in_its_turn_and_its_room_is_free(
    producer: Producer, ring: Ring, second: tuple[Producer, Ring]
) -> None:
    seen: list[bytes] = []
    ring.hand_early(_kept_in(seen))
    producer.submit(b"first", at_ns=1)
    second[0].submit(b"between", at_ns=2)
    busy = producer.submit(b"later", BUSY, at_ns=3)
    ring.take_early(most_s=60)
    ring.take_early(most_s=60)
    assert (seen, producer.consumed) == ([b"first"], busy)
    producer.commit(busy, b"later")
    ring.take_early(most_s=60)
    assert seen == [b"first", b"later"]
    producer.submit(b"last", at_ns=4)  # which nothing takes early
    assert ring.handed == 0, "what was taken early is still to come"
    assert drain(ring, second[1]) == [b"first", b"between", b"later", b"last"]
    assert ring.handed == ring.produced == producer.consumed
    ring.take_early(most_s=60)
    assert seen == [b"first", b"later", b"last"], "each came once"


def test_while_a_record_is_handed_over_those_behind_it_can_be_taken_early(
    producer: Producer, ring: Ring
) -> None:
    """Each comes once, and the room of the one that is being read isn't free yet."""
    payloads = [b"a" * 16, b"b" * 300, b"c"]
    for payload in payloads:
        producer.submit(payload)
    seen: list[bytes] = []
    early: list[bytes] = []
    ring.hand_early(_kept_in(early))

    def handle(data: memoryview, at: int, length: int) -> None:
        if not seen:
            ring.take_early(most_s=1)
            assert producer.consumed == 0
        _kept_in(seen)(data, at, length)

    assert drain_rings([ring], handle, limit=10).number == len(payloads)
    assert (seen, early) == (payloads, payloads)
    assert producer.consumed == producer.produced


def test_what_comes_without_end_is_taken_early_for_a_while_alone(producer: Producer, ring: Ring) -> None:
    """One each time in any case."""
    seen: list[bytes] = []
    ring.hand_early(_kept_in(seen))
    for number, most_s in enumerate((0.0, -1.0, 0.0), 1):
        producer.submit(b"one")
        producer.submit(b"more")
        ring.take_early(most_s=most_s)
        assert len(seen) == number


def test_a_busy_record_holds_up_what_stands_behind_it(producer: Producer, ring: Ring) -> None:
    producer.submit(b"first")
    at = producer.submit(b"second", flags=BUSY)
    producer.submit(b"third")
    assert drain(ring) == [b"first"]
    assert producer.consumed == at
    assert drain(ring) == []
    producer.commit(at, b"second")
    assert drain(ring) == [b"second", b"third"]


def test_a_discarded_record_is_skipped_and_its_room_free_again(producer: Producer, ring: Ring) -> None:
    producer.submit(b"kept")
    producer.submit(b"thrown away", flags=DISCARDED)
    producer.submit(b"kept too")
    assert drain(ring) == [b"kept", b"kept too"]
    assert producer.consumed == producer.produced


def test_a_record_across_the_end_comes_in_one_piece(producer: Producer) -> None:
    producer.start_at(SIZE * 5 - 16)
    payload = bytes(range(200))
    producer.submit(payload)
    producer.submit(b"next")
    with closing(Ring(producer.descriptor, SIZE)) as ring:
        assert drain(ring) == [payload, b"next"]
    assert producer.consumed == producer.produced


@pytest.fixture
def large() -> Iterator[tuple[Producer, Ring]]:
    """A ring of several parts."""
    size = 1 << 20
    with closing(Producer(size)) as producer:
        producer.start_at(size * 3 - 8)
        with closing(Ring(producer.descriptor, size)) as ring:
            yield producer, ring


def test_little_of_a_large_ring_is_mapped_at_a_time_and_all_of_it_is_read(
    large: tuple[Producer, Ring],
) -> None:
    producer, ring = large
    for lap in range(3):
        payloads = [bytes([lap * 20 + number]) * 50_000 for number in range(20)]
        for payload in payloads:
            producer.submit(payload)
        assert drain(ring) == payloads
        assert _mapped_bytes(producer.descriptor) < producer.size / 2


def _mapped_bytes(descriptor: int) -> int:
    """Of the file behind `descriptor`, read only: what this process writes to is the producer's."""
    inode = str(os.fstat(descriptor).st_ino)
    mapped = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        places, rights, _, _, of = line.split()[:5]
        if of == inode and "w" not in rights:
            begin, end = places.split("-")
            mapped += int(end, 16) - int(begin, 16)
    return mapped


def test_while_nothing_more_can_be_mapped_records_wait(large: tuple[Producer, Ring]) -> None:
    producer, ring = large
    payloads = [bytes([number]) * 50_000 for number in range(20)]
    for payload in payloads:
        producer.submit(payload)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # so there is no descriptor for another part
    try:
        seen = drain(ring)
        assert drain(ring) == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 0 < len(seen) < len(payloads)
    assert seen + drain(ring) == payloads


def test_what_waits_is_looked_at_in_other_parts_than_the_one_that_is_taken_from(
    large: tuple[Producer, Ring],
) -> None:
    producer, ring = large
    payloads = [bytes([number]) * 50_000 for number in range(20)]
    for payload in payloads:
        producer.submit(payload)
    seen: list[bytes] = []
    ring.look()
    for _ in payloads:
        assert ring.next_ns() == 0
        assert sum(1 for _ in ring.waiting()) == len(payloads) - len(seen)
        ring.take(_kept_in(seen))
    assert seen == payloads


def test_a_limit_leaves_the_rest_for_the_next_time(producer: Producer, ring: Ring) -> None:
    for number in range(5):
        producer.submit(bytes([number]))
    assert drain(ring, limit=2) == [b"\0", b"\1"]
    assert drain(ring, limit=0) == []
    assert drain(ring, limit=3) == [b"\2", b"\3", b"\4"]


def test_what_takes_long_leaves_the_rest_for_the_next_time_and_says_so(
    producer: Producer, ring: Ring
) -> None:
    for number in range(3):
        producer.submit(bytes([number]))
    seen: list[bytes] = []
    keep = _kept_in(seen)

    def keep_slowly(data: memoryview, at: int, length: int) -> None:
        time.sleep(0.02)
        keep(data, at, length)

    assert drain_rings([ring], keep_slowly, limit=10, most_s=0.01) == (1, False)
    assert drain_rings([ring], keep, limit=1) == (1, False)
    assert drain_rings([ring], keep_slowly, limit=10, most_s=0.01) == (1, True)
    assert seen == [b"\0", b"\1", b"\2"]


def test_the_number_of_records_is_returned_discarded_ones_left_out(producer: Producer, ring: Ring) -> None:
    producer.submit(b"a")
    producer.submit(b"b", flags=DISCARDED)
    assert drain_rings([ring], lambda *_: None, limit=10) == (1, True)


@pytest.fixture
def second() -> Iterator[tuple[Producer, Ring]]:
    producer = Producer()
    ring = Ring(producer.descriptor, SIZE)
    yield producer, ring
    ring.close()
    producer.close()


def test_rings_are_merged_by_time(producer: Producer, ring: Ring, second: tuple[Producer, Ring]) -> None:
    other, other_ring = second
    for at_ns in (1, 4, 5):
        producer.submit(b"%d" % at_ns, at_ns=at_ns)
    for at_ns in (2, 3, 6):
        other.submit(b"%d" % at_ns, at_ns=at_ns)
    assert drain(ring, other_ring, limit=4) == [b"1", b"2", b"3", b"4"]
    assert drain(ring, other_ring) == [b"5", b"6"]


def test_a_record_behind_an_older_one_goes_first_when_it_is_the_cause(
    producer: Producer, ring: Ring, second: tuple[Producer, Ring]
) -> None:
    """A hook that was interrupted between its time and its reservation: times on a ring needn't rise."""
    other, other_ring = second
    producer.submit(b"fork", at_ns=20)
    producer.submit(b"interrupted fork", at_ns=10)
    other.submit(b"act of that process", at_ns=21)
    assert drain(ring, other_ring) == [b"fork", b"interrupted fork", b"act of that process"]


def test_what_is_younger_than_the_look_waits(
    producer: Producer, ring: Ring, second: tuple[Producer, Ring]
) -> None:
    """Else the exit of a process would come before what it did while the rings were being looked at."""
    other, other_ring = second
    producer.submit(b"exit", at_ns=boot_ns() + 3_600_000_000_000)
    other.submit(b"act", at_ns=1)
    assert drain(ring, other_ring) == [b"act"]
    assert drain(ring, other_ring) == []


def test_a_busy_record_on_one_ring_holds_up_the_others(
    producer: Producer, ring: Ring, second: tuple[Producer, Ring]
) -> None:
    other, other_ring = second
    at = producer.submit(b"fork", flags=BUSY, at_ns=1)
    other.submit(b"act", at_ns=2)
    assert drain(ring, other_ring) == []
    producer.commit(at, b"fork")
    assert drain(ring, other_ring) == [b"fork", b"act"]


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
    while batch := drain_rings([ring], _kept_in(seen), limit=limit).number:
        assert batch <= limit
    ring.close()
    producer.close()
    assert seen == [payload for payload, is_discarded in records if not is_discarded]


def test_what_waits_is_seen_and_goes_on_waiting(producer: Producer) -> None:
    """Up to what the kernel is still writing."""
    headers = [wire.RecordHeader(wire.LAYOUT, wire.KIND_ACT, number, 5, 6, number) for number in range(3)]
    packed = [wire.RECORD_HEADER.pack(*header) for header in headers]
    producer.start_at(SIZE - 24)
    with closing(Ring(producer.descriptor, SIZE)) as ring:
        for number, whole in enumerate(packed):
            producer.submit_whole(whole)
            if number == 0:
                producer.submit_whole(whole, DISCARDED)
        producer.submit_whole(packed[0], BUSY)
        assert list(ring.waiting()) == headers
        assert list(ring.waiting()) == headers
        assert producer.consumed == SIZE - 24


WATCHER = """
import mmap, sys
position = memoryview(mmap.mmap(int(sys.argv[1]), mmap.PAGESIZE)).cast("Q")
last = position[0]
print("ready", flush=True)
while last < int(sys.argv[2]):
    seen = position[0]
    assert seen >= last, f"{seen} after {last}"
    last = seen
"""


def test_who_looks_at_any_moment_sees_no_room_taken_back(producer: Producer, ring: Ring) -> None:
    """The kernel is one who does: it would take the ring for a full one."""
    while producer.produced < SIZE:
        producer.submit(b"of 32 B.")  # as wide as divides the ring, so that each lap finds the same there
    laps = 500
    command = [sys.executable, "-c", WATCHER, str(producer.descriptor), str(laps * SIZE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[producer.descriptor]) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == b"ready\n"
        for lap in range(1, laps + 1):
            os.pwrite(producer.descriptor, struct.pack("=Q", lap * SIZE), PAGE)
            while drain_rings([ring], lambda *_: None, limit=1).number:
                pass
    assert watcher.returncode == 0
