"""A flood of lookups stays within its bounds, and hides no other process's."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest

from exporter.common.clock import boot_ns
from exporter.events.facts import Answered
from exporter.kernel.maps.queries import PATIENCE_NS, Queries
from tests.kernel.lab import V4, Lab
from tests.kernel.lookups import SCOPE, WAIT_S, Lookups, reading_lookups
from tests.kernel.running_exporter import nothing_left
from tests.unit.dns_samples import answer, query

pytestmark = pytest.mark.kernel

TOLD_IN_A_SECOND = 984
"""Questions with records of 200 bytes, in a share of 192 KiB."""
LARGE_TOLD_IN_A_SECOND = 93
"""With records of 2,120 bytes."""
UNTOLD_WAITING = 2048
COMMON, WAITING_KEPT = 16384, 64
"""Questions that wait, before each job has only its own room; and how much that is."""
FLOOD = 5_000
"""More than is told in a second and waits untold, and over before the ring is full: that has room for two."""
SECOND_NS = 1 << 30
ALL_SCOPES = (1 << 32) - 1

_FLOODER = """
import os, socket, sys, time
os.nice(-20)  # else others could make it last until the ring is full
target, number = (sys.argv[1], 53), int(sys.argv[2])
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
message = bytearray.fromhex(sys.argv[3])
began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
for n in range(number):
    message[0:2] = (n & 0xffff).to_bytes(2, "big")
    asking.sendto(message, target)
print(began, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
"""


@pytest.fixture
def lookups() -> Iterator[Lookups]:
    with nothing_left(), reading_lookups() as lookups:
        yield lookups


@pytest.fixture
def server(lab: Lab) -> Iterator[socket.socket]:
    with lab.peer.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM).result() as server:
        server.settimeout(WAIT_S)
        server.bind((V4.peer, 53))
        yield server


@pytest.fixture
def client(lab: Lab) -> Iterator[socket.socket]:
    with lab.build.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM).result() as client:
        client.settimeout(WAIT_S)
        yield client


def flood(lab: Lab, *, padding: int = 0, number: int = FLOOD) -> tuple[int, int]:
    """Ask and ask, in a process of its own; returns the seconds in which it began and ended."""
    question = query("flood.example") + bytes(padding)
    command = [sys.executable, "-c", _FLOODER, V4.peer, str(number), question.hex()]
    done = subprocess.run(lab.command(command), capture_output=True, text=True, check=True)
    began, ended = (int(number) // SECOND_NS for number in done.stdout.split())
    return began, ended


@pytest.mark.parametrize(
    ("padding", "share"), [(0, TOLD_IN_A_SECOND), (4000, LARGE_TOLD_IN_A_SECOND)], ids=["small", "large"]
)
def test_a_flood_of_one_process_hides_no_lookup_of_another(
    lookups: Lookups, lab: Lab, server: socket.socket, client: socket.socket, padding: int, share: int
) -> None:
    before = lookups.counts()
    began, ended = flood(lab, padding=padding)
    drop(server)
    replies = []
    for number in range(100):
        question = query(f"n{number}.example", txid=number)
        client.sendto(question, (V4.peer, 53))
        _, peer = server.recvfrom(4096)
        server.sendto(answer(question, f"n{number}.example A 192.0.2.{number}"), peer)
        replies.append(client.recv(4096))
    events = lookups.drain()  # nobody did, until now
    by_process = Counter(event.process for event in events)
    assert by_process.pop(lookups.process) == 200
    assert [event.message for event in events if isinstance(event, Answered)] == replies
    ((_, told),) = by_process.items()
    assert share <= told <= share * (ended - began + 1)
    counts = [now - then for now, then in zip(lookups.counts(), before, strict=True)]
    assert counts == [FLOOD + 200, 0, FLOOD - told, 0, 0, 0]


def test_questions_beyond_a_scopes_room_are_counted_and_expire(lookups: Lookups, lab: Lab) -> None:
    flood(lab)
    queries = Queries(lookups.maps)
    waiting = len(list(lookups.maps["queries"]))
    told = len(lookups.drain())
    assert UNTOLD_WAITING <= waiting <= UNTOLD_WAITING + told
    assert queries.expire(boot_ns()) == 0
    assert queries.expire(boot_ns() + PATIENCE_NS) == waiting
    assert list(lookups.maps["queries"]) == []
    flood(lab)
    assert len(list(lookups.maps["queries"])) >= UNTOLD_WAITING


def test_of_a_scope_that_is_over_nothing_is_kept(lookups: Lookups, lab: Lab) -> None:
    flood(lab)
    counts = [lookups.maps[name] for name in ("queries_noted", "queries_expired")]
    own, all_scopes = (struct.pack("=I", scope) for scope in (SCOPE, ALL_SCOPES))
    queries = Queries(lookups.maps)
    queries.forget(SCOPE + 1)
    queries.expire(boot_ns() + PATIENCE_NS)
    flood(lab)
    assert all(count.lookup(own) for count in counts)
    queries.forget(SCOPE)
    assert not any(count.lookup(own) for count in counts)
    assert list(lookups.maps["queries"]) == []
    noted, expired = (count.lookup(all_scopes) or b"" for count in counts)
    assert struct.unpack("=QQ", noted) == (*struct.unpack("=Q", expired), 0)


def test_floods_of_many_jobs_cost_another_one_no_answer(
    lookups: Lookups, lab: Lab, server: socket.socket, client: socket.socket
) -> None:
    flooded = 0
    while len(list(lookups.maps["queries"])) < COMMON:
        with lookups.being(SCOPE + 1 + flooded):
            flood(lab, number=UNTOLD_WAITING * 2)
        flooded += 1
        lookups.drain()
        assert flooded < 2 * COMMON // UNTOLD_WAITING
    with lookups.being(SCOPE + 1):
        flood(lab, number=UNTOLD_WAITING)
    assert len(list(lookups.maps["queries"])) <= COMMON + WAITING_KEPT * (flooded + 1)
    drop(server)
    for number in range(WAITING_KEPT):
        question = query(f"n{number}.example", txid=number)
        with lookups.counting(seen=2):
            client.sendto(question, (V4.peer, 53))
            _, peer = server.recvfrom(4096)
            server.sendto(answer(question, f"n{number}.example A 192.0.2.{number}"), peer)
            client.recv(4096)
        lookups.drain()


def drop(server: socket.socket) -> None:
    """Make room in its buffer."""
    server.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            server.recv(4096)
    server.settimeout(WAIT_S)


def test_what_is_answered_makes_room_at_once(
    lookups: Lookups, server: socket.socket, client: socket.socket
) -> None:
    question = bytearray(query("a.example"))
    reply = bytearray(answer(bytes(question), "a.example A 192.0.2.7"))
    client.connect((V4.peer, 53))
    number = UNTOLD_WAITING * 3
    for txid in range(number):
        question[:2] = reply[:2] = txid.to_bytes(2, "big")
        client.send(question)
        _, peer = server.recvfrom(4096)
        server.sendto(reply, peer)
        client.recv(4096)
        if not txid % 100:
            lookups.drain()
    counts = lookups.counts()
    assert (counts.seen, counts.unasked) == (2 * number, 0)  # each answer found its question
    assert list(lookups.maps["queries"]) == []
