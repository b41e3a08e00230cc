"""Addresses and protocols as text, in the usual notation."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import NamedTuple

from .unix_sockets import is_socket_name

MAPPED = bytes(10) + b"\xff\xff"
"""The beginning of an IPv4 address that is written in 16 bytes."""
_UNSPECIFIED = (bytes(16), MAPPED + bytes(4))
_TEXT_MAX = 64
"""The most characters that are parsed; no address is as long, scope included."""

UNIX = 0x1000
"""The programs' own number for Unix sockets, whose peers have a digest of their name for an address."""
POLICY_UNIX = 255
"""The number of Unix sockets in policies."""

# IANA keywords, in lower case; 262 is the kernel's own number for MPTCP, which is tcp to the peer.
_TRANSPORTS = {
    1: "icmp",
    2: "igmp",
    4: "ipv4",
    6: "tcp",
    17: "udp",
    33: "dccp",
    41: "ipv6",
    46: "rsvp",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "ipv6-icmp",
    89: "ospfigp",
    103: "pim",
    112: "vrrp",
    115: "l2tp",
    132: "sctp",
    136: "udplite",
    262: "tcp",
    UNIX: "unix",
}
_PLAIN = {58: 1, 262: 6, UNIX: POLICY_UNIX, POLICY_UNIX: 59}
"""The protocols that policies treat as another one, with the other one's number."""
_WITH_PORTS = frozenset({6, 17, 33, 132, 136, 262})
_TRANSPORTS_WITH_PORTS = frozenset(_TRANSPORTS[number] for number in _WITH_PORTS)
_NUMBERS = {keyword: number for number, keyword in reversed(_TRANSPORTS.items())}
_DIGITS_MAX = 3
"""The most digits of a protocol's number."""


class Address(NamedTuple):
    """An address as text, with its properties."""

    text: str
    network_type: str | None
    """`ipv4` or `ipv6`; an IPv4-mapped address is IPv4. None for a Unix socket's name."""
    is_loopback: bool
    """Whether its traffic stays on this machine: connecting to 0.0.0.0 or :: means the loopback, too."""


@lru_cache(maxsize=4096)
def address(packed: bytes) -> Address:
    """Describe an address of 16 bytes in network order, IPv4 as ::ffff:a.b.c.d."""
    if packed.startswith(MAPPED):
        ipv4 = ipaddress.IPv4Address(packed[12:])
        return Address(str(ipv4), "ipv4", ipv4.is_loopback or ipv4.is_unspecified)
    ipv6 = ipaddress.IPv6Address(packed)
    return Address(str(ipv6), "ipv6", ipv6.is_loopback or ipv6.is_unspecified)


def unix_address(name: str) -> Address:
    """Describe the name of a Unix socket."""
    return Address(name, None, is_loopback=True)


def is_loopback(text: str) -> bool:
    """Whether `text`, which may be anything, is an address that stays on this machine."""
    return is_socket_name(text) or (len(text) <= _TEXT_MAX and _is_loopback(text))


@lru_cache(maxsize=4096)
def _is_loopback(text: str) -> bool:
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return False
    return parsed.is_loopback or parsed.is_unspecified


def is_known(packed: bytes) -> bool:
    """Whether a local address is specific: a socket bound to none in particular has 0.0.0.0 or ::."""
    return packed not in _UNSPECIFIED


def transport(protocol: int) -> str | None:
    """Return the IANA keyword of a protocol number, or the number where it has none; None for 0, unknown."""
    return _TRANSPORTS.get(protocol, str(protocol) if protocol else None)


def plain_protocol(protocol: int) -> int:
    """Return the number that policies have for a protocol: icmp for ipv6-icmp, tcp for MPTCP."""
    return _PLAIN.get(protocol, protocol)


def has_ports(protocol: int) -> bool:
    """Whether a peer of this protocol number has a port."""
    return protocol in _WITH_PORTS


def protocol_of(text: str) -> int | None:
    """Return the number of the protocol for which `transport` gives `text`; None when there is none."""
    if text.isdecimal() and text.isascii() and len(text) <= _DIGITS_MAX:
        number = int(text)
        return number if transport(number) == text else None
    return _NUMBERS.get(text)


def is_transport(text: str) -> bool:
    """Whether `transport` gives `text` for some protocol."""
    return protocol_of(text) is not None


def transport_has_ports(text: str) -> bool:
    """Whether peers have ports with the protocol that `transport` calls `text`."""
    return text in _TRANSPORTS_WITH_PORTS


def endpoint(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
