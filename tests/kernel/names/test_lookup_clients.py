"""What a job's own resolver library asks gives its addresses their names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.common.clock import boot_ns
from exporter.common.net.dns_messages import parse_question
from exporter.events.facts import Answered, Asked
from exporter.pipeline.names import Names
from tests.kernel.lab import Lab, Network
from tests.kernel.lookups import Lookups, packed
from tests.kernel.resolver import answering_for, lab_with_resolver, resolving_with

pytestmark = pytest.mark.kernel

ADDRESSES = ["192.0.2.70", "192.0.2.71", "2001:db8::70"]
MANY = [f"192.0.2.{number}" for number in range(1, 121)]
RECORDS = [
    "www.registry.example CNAME edge.cdn.example",
    "edge.cdn.example CNAME e7.cdn.example",
    *(f"e7.cdn.example {'AAAA' if ':' in address else 'A'} {address}" for address in ADDRESSES),
    *(f"many.example A {address}" for address in MANY),
]


@pytest.fixture
def configured(network: Network, tmp_path: Path) -> Iterator[Lab]:
    """A lab whose build side has the peer for its resolver."""
    with lab_with_resolver(network.peer, RECORDS, tmp_path) as lab:
        yield lab


def resolve(lab: Lab, name: str, options: str) -> list[str]:
    """The addresses that the C library gives a program for `name`."""
    program = "import socket, sys; print(*sorted({i[4][0] for i in socket.getaddrinfo(sys.argv[1], 443)}))"
    done = lab.build.call(
        subprocess.run,
        [sys.executable, "-c", program, name],
        capture_output=True,
        text=True,
        env={"RES_OPTIONS": options},
        check=True,
    ).result()
    return sorted(done.stdout.split())


def take_in(events: list[Asked | Answered]) -> Names:
    names = Names()
    for event in events:
        if isinstance(event, Asked):
            assert names.asked(event)
        else:
            names.answered(event)
    return names


@pytest.mark.parametrize("options", ["", "edns0", "use-vc", "single-request", "rotate"])
def test_every_address_has_the_name_that_was_asked_for(
    lookups: Lookups, configured: Lab, network: Network, options: str
) -> None:
    assert resolve(configured, "WWW.Registry.example", options) == ADDRESSES
    events = lookups.drain()
    asked = [event for event in events if isinstance(event, Asked)]
    assert [parse_question(event.message).name for event in asked] == ["www.registry.example"] * 2
    assert {event.protocol for event in asked} == {6 if options == "use-vc" else 17}
    assert {event.resolver for event in asked} == {packed(network.peer)}
    names = take_in(events)
    assert {names.name_of(packed(address), boot_ns()) for address in ADDRESSES} == {"www.registry.example"}
    assert names.name_of(packed(network.peer), boot_ns()) is None


@pytest.mark.parametrize("options", ["", "use-vc", "single-request"])
def test_a_resolver_behind_nat_is_known_by_the_address_that_is_asked(
    lookups: Lookups, configured: Lab, network: Network, options: str, tmp_path: Path
) -> None:
    answering_for(configured, network.evil, network.peer)
    resolving_with(configured, network.evil, tmp_path)
    assert resolve(configured, "www.registry.example", options) == ADDRESSES
    events = lookups.drain()
    assert {event.resolver for event in events} == {packed(network.evil)}
    names = take_in(events)
    assert {names.name_of(packed(address), boot_ns()) for address in ADDRESSES} == {"www.registry.example"}


def test_an_answer_too_large_for_udp_is_read_over_tcp(lookups: Lookups, configured: Lab) -> None:
    assert resolve(configured, "many.example", "") == sorted(MANY)
    events = lookups.drain()
    assert {event.protocol for event in events} == {6, 17}
    names = take_in(events)
    assert {names.name_of(packed(address), boot_ns()) for address in MANY} == {"many.example"}
