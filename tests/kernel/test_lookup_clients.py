"""What a job's own resolver library asks gives its addresses their names."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest

from exporter.clock import boot_ns
from exporter.dns_messages import question_name
from exporter.events import Answered, Asked
from exporter.names import Names

from .attached import nothing_left
from .lab import V4, V6, Lab, Network
from .lookups import Lookups, packed, reading_lookups

pytestmark = pytest.mark.kernel

CHAIN = ["www.registry.example. CNAME edge.cdn.example.", "edge.cdn.example. CNAME e7.cdn.example."]
ADDRESSES = ["192.0.2.70", "192.0.2.71", "2001:db8::70"]
MANY = [f"192.0.2.{number}" for number in range(1, 121)]


class Resolver(threading.Thread):
    """Answers like a real one: with a chain of CNAMEs, over UDP only as much as the asker takes."""

    def __init__(self, lab: Lab, address: str) -> None:
        super().__init__(daemon=True)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.datagrams = lab.peer.call(socket.socket, family, socket.SOCK_DGRAM).result()
        self._listener = lab.peer.call(socket.socket, family, socket.SOCK_STREAM).result()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for one in (self.datagrams, self._listener):
            one.bind((address, 53))
            one.settimeout(0.05)
        self._listener.listen()
        self._has_ended = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        self.join()
        self.datagrams.close()
        self._listener.close()

    def run(self) -> None:
        while not self._has_ended.is_set():
            with suppress(TimeoutError):
                question, peer = self.datagrams.recvfrom(4096)
                self.datagrams.sendto(reply_to(question, over_tcp=False), peer)
            with suppress(TimeoutError):
                connection, _ = self._listener.accept()
                with connection:
                    self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        """What came at once is answered at once."""
        connection.settimeout(0.3)
        with suppress(TimeoutError):
            while taken := connection.recv(65536):
                replies = [reply_to(question, over_tcp=True) for question in unframed(taken)]
                connection.sendall(b"".join(struct.pack("!H", len(reply)) + reply for reply in replies))


def unframed(taken: bytes) -> Iterator[bytes]:
    while taken:
        (size,) = struct.unpack("!H", taken[:2])
        yield taken[2 : 2 + size]
        taken = taken[2 + size :]


def reply_to(wire: bytes, *, over_tcp: bool) -> bytes:
    question = dns.message.from_wire(wire)
    reply = dns.message.make_response(question, recursion_available=True)
    asked = question.question[0]
    records = list(CHAIN) if asked.name == dns.name.from_text("www.registry.example") else []
    owner = "e7.cdn.example." if records else asked.name.to_text()
    addresses = MANY if asked.name == dns.name.from_text("many.example") else ADDRESSES
    for address in addresses:
        kind = "AAAA" if ":" in address else "A"
        if dns.rdatatype.to_text(asked.rdtype) == kind:
            records.append(f"{owner} {kind} {address}")
    for record in records:
        name, kind, data = record.split()
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", kind, data))
    if over_tcp:
        return reply.to_wire(max_size=65535)
    try:
        return reply.to_wire(max_size=max(512, question.payload))
    except dns.exception.TooBig:
        reply.answer.clear()
        reply.flags |= dns.flags.TC
        return reply.to_wire()


@pytest.fixture(scope="module")
def lookups() -> Iterator[Lookups]:
    with nothing_left(), reading_lookups() as lookups:
        yield lookups


@pytest.fixture(params=[V4, V6], ids=["v4", "v6"])
def network(request: pytest.FixtureRequest) -> Network:
    chosen: Network = request.param
    return chosen


@pytest.fixture
def configured(network: Network, tmp_path: Path) -> Iterator[Lab]:
    """A lab whose build side has the peer for its resolver."""
    resolv, nsswitch = tmp_path / "resolv.conf", tmp_path / "nsswitch.conf"
    resolv.write_text(f"nameserver {network.peer}\n")
    nsswitch.write_text("hosts: dns\n")
    shown = {Path("/etc/resolv.conf"): resolv}
    if Path("/etc/nsswitch.conf").exists():
        shown[Path("/etc/nsswitch.conf")] = nsswitch
    with Lab() as lab, Resolver(lab, network.peer):
        lab.build.replace_files(shown)
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
            names.asked(event)
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
    assert [question_name(event.message) for event in asked] == ["www.registry.example"] * 2
    assert {event.protocol for event in asked} == {6 if options == "use-vc" else 17}
    assert {event.resolver for event in asked} == {packed(network.peer)}
    names = take_in(events)
    assert {names.name_of(packed(address), boot_ns()) for address in ADDRESSES} == {"www.registry.example"}
    assert names.name_of(packed(network.peer), boot_ns()) is None
    assert (names.counts.unparsed, names.counts.unasked) == (0, 0)


def test_an_answer_too_large_for_udp_is_read_over_tcp(lookups: Lookups, configured: Lab) -> None:
    assert resolve(configured, "many.example", "") == sorted(MANY)
    events = lookups.drain()
    assert {event.protocol for event in events} == {6, 17}
    names = take_in(events)
    assert {names.name_of(packed(address), boot_ns()) for address in MANY} == {"many.example"}
    assert names.counts.unasked == 0
