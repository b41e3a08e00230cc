"""Headers that a job writes itself: whatever stands in them, each packet is told, with what can be known."""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING, NamedTuple

import pytest

from exporter.common.net.addresses import address
from tests.kernel.arrivals import TCP, UDP
from tests.kernel.kernel_side import KernelSide, kernel_side
from tests.kernel.lab import V4, V6, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS, NOBODYS = 0, 43, 44, 51, 60, 253
PORT = 4321
PORTS = struct.pack("!HHHH", 1, PORT, 8, 0)

SEND = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
s.sendto(bytes.fromhex(sys.argv[2]), (sys.argv[1], 0))
"""


def ipv4(protocol: int, options: bytes = b"", body: bytes = PORTS, *, fragment: int = 0) -> bytes:
    """A packet to `evil`; the kernel fills in its own address, the size and the checksum."""
    first = 0x40 | 5 + len(options) // 4
    to = ipaddress.IPv4Address(V4.evil).packed
    return struct.pack("!BBHHHBBH4x4s", first, 0, 0, 7, fragment, 64, protocol, 0, to) + options + body


def ipv6(next_header: int, body: bytes = PORTS) -> bytes:
    """A packet to `evil`."""
    own, to = (ipaddress.IPv6Address(name).packed for name in (V6.build, V6.evil))
    return struct.pack("!IHBB16s16s", 6 << 28, len(body), next_header, 64, own, to) + body


def source_route(kind: int, *hops: str, pointer: int = 4, before: bytes = b"") -> bytes:
    """An IPv4 option, made up to whole words."""
    addresses = b"".join(ipaddress.IPv4Address(hop).packed for hop in hops)
    option = before + bytes([kind, 3 + len(addresses), pointer]) + addresses
    return option + bytes(-len(option) % 4)


def routing(kind: int, *hops: str, left: int = 1, next_header: int = UDP) -> bytes:
    """An IPv6 routing header."""
    addresses = b"".join(ipaddress.IPv6Address(hop).packed for hop in hops)
    return bytes([next_header, len(addresses) // 8, kind, left]) + bytes(4) + addresses


class Case(NamedTuple):
    """A packet, and the acts that it is: protocol, address and port of each."""

    title: str
    packet: bytes
    acts: list[tuple[int, str, int]]


A, B = "203.0.113.7", "203.0.113.8"
A6, B6 = "2001:db8:f::7", "2001:db8:f::8"
OPTIONS = bytes([NOBODYS, 0, 1, 4, 0, 0, 0, 0])
CASES = [
    Case("plain", ipv4(UDP), [(UDP, V4.evil, PORT)]),
    Case("nothing behind the header", ipv4(UDP, body=b""), [(UDP, V4.evil, 0)]),
    Case("a port cut off", ipv4(TCP, body=b"\0\1\2"), [(TCP, V4.evil, 0)]),
    Case("the second fragment", ipv4(UDP, fragment=100), [(UDP, V4.evil, 0)]),
    Case("the first fragment", ipv4(UDP, fragment=0x2000), [(UDP, V4.evil, PORT)]),
    Case("no ports", ipv4(NOBODYS), [(NOBODYS, V4.evil, 0)]),
    Case("a loose route", ipv4(UDP, source_route(131, A, B)), [(UDP, V4.evil, PORT), (UDP, B, PORT)]),
    Case("a strict route", ipv4(UDP, source_route(137, A)), [(UDP, V4.evil, PORT), (UDP, A, PORT)]),
    Case(
        "a route behind other options",
        ipv4(UDP, source_route(131, A, before=b"\1\1" + bytes([148, 4, 0, 0]))),
        [(UDP, V4.evil, PORT), (UDP, A, PORT)],
    ),
    Case("a route that is over", ipv4(UDP, source_route(131, A, pointer=8)), [(UDP, V4.evil, PORT)]),
    Case("a route behind the end", ipv4(UDP, source_route(131, A, before=b"\0")), [(UDP, V4.evil, PORT)]),
    Case("an option of no size", ipv4(UDP, bytes([7, 0, 131, 7])), [(UDP, V4.evil, PORT)]),
    Case("an option longer than all", ipv4(UDP, bytes([7, 255, 131, 7])), [(UDP, V4.evil, PORT)]),
    Case("v6 plain", ipv6(UDP), [(UDP, V6.evil, PORT)]),
    Case("v6 without a body", ipv6(UDP, b""), [(UDP, V6.evil, 0)]),
    Case("v6 with a cut header", ipv6(ROUTING, b"\x11"), [(ROUTING, V6.evil, 0)]),
    Case(
        "v6 segments",
        ipv6(ROUTING, routing(4, A6, B6) + PORTS),
        [(UDP, V6.evil, PORT), (UDP, A6, PORT)],
    ),
    Case("v6 mobile", ipv6(ROUTING, routing(2, A6) + PORTS), [(UDP, V6.evil, PORT), (UDP, A6, PORT)]),
    Case("v6 old route", ipv6(ROUTING, routing(0, A6, B6) + PORTS), [(UDP, V6.evil, PORT), (UDP, B6, PORT)]),
    Case("v6 route that is over", ipv6(ROUTING, routing(4, A6, left=0) + PORTS), [(UDP, V6.evil, PORT)]),
    Case("v6 unknown route", ipv6(ROUTING, routing(99, A6) + PORTS), [(UDP, V6.evil, PORT)]),
    Case(
        "v6 behind every kind of header",
        ipv6(
            HOP_BY_HOP,
            bytes([DESTINATION_OPTIONS])
            + OPTIONS[1:]
            + bytes([ROUTING])
            + OPTIONS[1:]
            + routing(4, A6, next_header=AUTHENTICATION)
            + bytes([FRAGMENT, 4])
            + bytes(22)
            + bytes([UDP, 0, 0, 1, 0, 0, 0, 1])
            + PORTS,
        ),
        [(UDP, V6.evil, PORT), (UDP, A6, PORT)],
    ),
    Case(
        "v6 second fragment",
        ipv6(FRAGMENT, bytes([UDP, 0, 0, 16, 0, 0, 0, 1]) + PORTS),
        [(UDP, V6.evil, 0)],
    ),
    Case(
        "v6 more headers than are walked",
        ipv6(HOP_BY_HOP, (bytes([DESTINATION_OPTIONS]) + OPTIONS[1:]) * 20),
        [(DESTINATION_OPTIONS, V6.evil, 0)],
    ),
]


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelSide]:
    """The programs, attached while the module's tests run."""
    with kernel_side() as side:
        yield side


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_a_packet_is_told_whatever_its_header_says(lab: Lab, kernel: KernelSide, case: Case) -> None:
    to = V4.evil if case.packet[0] >> 4 == 4 else V6.evil
    with lab.watch() as watch:
        seen = kernel.run(lab, ["/usr/bin/python3", "-c", SEND, to, case.packet.hex()])
    assert [(act.protocol, address(act.peer).text, act.peer_port) for act in seen.acts] == case.acts
    assert watch.arrivals.packets_to(to) == 1
