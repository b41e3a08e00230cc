"""The questions of a job's processes and the answers to them are read, and no other message is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from exporter.events import Answered, Asked
from tests.unit.dns_samples import answer, query

from .attached import nothing_left
from .lab import V4, V6, Lab, Network
from .lookups import SCOPE, Lookups, cookie_of, packed, reading_lookups

pytestmark = pytest.mark.kernel

NETWORKS = pytest.mark.parametrize("network", [V4, V6], ids=["v4", "v6"])
QUESTION = query("registry.example")
REPLY = answer(QUESTION, "registry.example A 192.0.2.7")


@pytest.fixture(scope="module")
def lookups() -> Iterator[Lookups]:
    with nothing_left(), reading_lookups() as lookups:
        yield lookups


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Pair(NamedTuple):
    """A socket that asks, on the build side, and its resolver's, at the peer."""

    client: socket.socket
    server: socket.socket

    def ask(self, message: bytes, *, connected: bool = False) -> tuple[bytes, object]:
        """Send; what the resolver got, and from whom."""
        if connected:
            self.client.send(message)
        else:
            self.client.sendto(message, self.server.getsockname())
        return self.server.recvfrom(65535)


def udp(lab_side: object, address: str, port: int) -> socket.socket:
    made = lab_side.call(socket.socket, family(address), socket.SOCK_DGRAM).result()  # type: ignore[attr-defined]
    made.settimeout(5)
    made.bind((address, port))
    return made


@pytest.fixture
def pair(lab: Lab, network: Network) -> Iterator[Pair]:
    with udp(lab.build, network.build, 0) as client, udp(lab.peer, network.peer, 53) as server:
        yield Pair(client, server)


def expected(lookups: Lookups, pair: Pair, network: Network, message: bytes, *, protocol: int = 17) -> Asked:
    """The question's record, but for its time."""
    return Asked(
        at_ns=0,
        process=lookups.process,
        exec_id=0,
        scope=SCOPE,
        cookie=cookie_of(pair.client),
        protocol=protocol,
        resolver=packed(network.peer),
        resolver_port=53,
        message=message,
        is_cut=False,
    )


def timeless(events: list[Asked | Answered]) -> list[Asked | Answered]:
    times = [event.at_ns for event in events]
    assert times == sorted(times)
    return [event._replace(at_ns=0) for event in events]


@NETWORKS
@pytest.mark.parametrize("connected", [False, True], ids=["sendto", "connected"])
def test_a_question_and_its_answer_are_told(
    lookups: Lookups, pair: Pair, network: Network, connected: bool
) -> None:
    if connected:
        pair.client.connect(pair.server.getsockname())
    with lookups.counting(seen=2):
        _, peer = pair.ask(QUESTION, connected=connected)
        pair.server.sendto(REPLY, peer)
        assert pair.client.recv(4096) == REPLY
    asked = expected(lookups, pair, network, QUESTION)
    assert timeless(lookups.drain()) == [asked, Answered(*asked._replace(message=REPLY))]
