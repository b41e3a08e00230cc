"""What reached the far side of the lab, in exact counts."""

from __future__ import annotations

import socket
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

ICMP, TCP, UDP, ICMPV6, UDPLITE, MPTCP = 1, 6, 17, 58, 136, 262


class Endpoint(NamedTuple):
    """Where something is sent to."""

    address: str
    port: int
    """0 where the protocol has none."""


class Packet(NamedTuple):
    """An IP packet."""

    protocol: int
    """IANA number."""
    to: Endpoint


_IPV4_BYTES, _IPV6_BYTES = 20, 40
"""The fixed parts of the headers."""
_WITH_PORTS = frozenset({TCP, UDP, UDPLITE})
_NEIGHBOUR_DISCOVERY = frozenset(bytes([kind]) for kind in range(133, 138))
_MULTICAST_REPORTS = Endpoint("ff02::16", 0)


@dataclass(frozen=True)
class Arrivals:
    """Counts by where it was sent to; a `Counter` each, so that `==` with a plain dict works."""

    accepted: Counter[Endpoint] = field(default_factory=Counter)
    """TCP connections, MPTCP included."""
    stream_bytes: Counter[Endpoint] = field(default_factory=Counter)
    datagrams: Counter[Endpoint] = field(default_factory=Counter)
    """UDP and UDP-Lite."""
    datagram_bytes: Counter[Endpoint] = field(default_factory=Counter)
    packets: Counter[Packet] = field(default_factory=Counter)
    """Whatever came in at the interface, but for what the kernel sends on its own timers: neighbour
    discovery and multicast listener reports."""
    kernel: Counter[str] = field(default_factory=Counter)
    """The namespace's own counters: `TcpExtTCPFastOpenPassive`, `MPTcpExtMPCapableACKRX` and so on."""

    def since(self, before: Arrivals) -> Arrivals:
        """Tell what was added after `before`."""
        return Arrivals(
            accepted=self.accepted - before.accepted,
            stream_bytes=self.stream_bytes - before.stream_bytes,
            datagrams=self.datagrams - before.datagrams,
            datagram_bytes=self.datagram_bytes - before.datagram_bytes,
            packets=self.packets - before.packets,
            kernel=self.kernel - before.kernel,
        )

    def with_kernel(self, netstat: str) -> Arrivals:
        """Copy the counts, with the kernel's from the text of /proc/net/netstat."""
        return Arrivals(
            accepted=self.accepted.copy(),
            stream_bytes=self.stream_bytes.copy(),
            datagrams=self.datagrams.copy(),
            datagram_bytes=self.datagram_bytes.copy(),
            packets=self.packets.copy(),
            kernel=parse_netstat(netstat),
        )

    def packets_to(self, address: str) -> int:
        """Packets of every protocol to this address."""
        return sum(n for packet, n in self.packets.items() if packet.to.address == address)


def parse_netstat(text: str) -> Counter[str]:
    """Counters of /proc/net/netstat: pairs of lines, names and values, named as nstat(8) does."""
    lines = [line.split() for line in text.splitlines()]
    counts: Counter[str] = Counter()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        group = names[0].rstrip(":")
        counts.update({group + name: int(value) for name, value in zip(names[1:], values[1:], strict=True)})
    return counts


def parse_packet(data: bytes) -> Packet | None:
    """Read the start of an IP packet; None for what isn't IP, is cut off, or is sent by the kernel itself."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= _IPV4_BYTES:
        return _packet(data[9], socket.AF_INET, data[16:20], data[(data[0] & 15) * 4 :])
    if version == 6 and len(data) >= _IPV6_BYTES:
        return _packet(data[6], socket.AF_INET6, data[24:40], data[_IPV6_BYTES:])
    return None


def _packet(protocol: int, family: int, destination: bytes, body: bytes) -> Packet | None:
    if protocol == ICMPV6 and body[:1] in _NEIGHBOUR_DISCOVERY:
        return None
    port = int.from_bytes(body[2:4]) if protocol in _WITH_PORTS else 0
    to = Endpoint(socket.inet_ntop(family, destination), port)
    return None if to == _MULTICAST_REPORTS else Packet(protocol, to)
