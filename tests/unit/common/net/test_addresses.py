"""Addresses and protocols as the field writes them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.common.net.addresses import address, endpoint, has_ports, is_known, transport

ANY_IPV4 = str(ipaddress.IPv4Address(0))


def packed(text: str) -> bytes:
    parsed = ipaddress.ip_address(text)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


@pytest.mark.parametrize(
    ("text", "network_type", "is_loopback"),
    [
        ("192.0.2.1", "ipv4", False),
        ("127.0.0.1", "ipv4", True),
        ("127.255.0.9", "ipv4", True),
        (ANY_IPV4, "ipv4", True),
        ("255.255.255.255", "ipv4", False),
        ("2001:db8::1", "ipv6", False),
        ("::1", "ipv6", True),
        ("::", "ipv6", True),
        ("fe80::1", "ipv6", False),
    ],
)
def test_an_address_as_text_with_what_it_is(text: str, network_type: str, is_loopback: bool) -> None:
    assert address(packed(text)) == (text, network_type, is_loopback)


def test_an_ipv4_mapped_address_is_ipv4() -> None:
    mapped = ipaddress.IPv6Address("::ffff:192.0.2.1").packed
    assert address(mapped) == ("192.0.2.1", "ipv4", False)


@given(st.binary(min_size=16, max_size=16))
def test_any_16_bytes_are_an_address_that_reads_back(data: bytes) -> None:
    assert packed(address(data).text) == data


def test_an_unbound_socket_has_no_local_address() -> None:
    assert not is_known(bytes(16))
    assert not is_known(packed(ANY_IPV4))
    assert is_known(packed("127.0.0.1"))


@pytest.mark.parametrize(
    ("protocol", "keyword"),
    [
        (1, "icmp"),
        (6, "tcp"),
        (17, "udp"),
        (58, "ipv6-icmp"),
        (132, "sctp"),
        (136, "udplite"),
        (262, "tcp"),
        (253, "253"),
        (0, None),
    ],
)
def test_protocols_have_their_iana_keyword_or_number_and_mptcp_is_tcp(
    protocol: int, keyword: str | None
) -> None:
    assert transport(protocol) == keyword


@pytest.mark.parametrize("protocol", [6, 17, 33, 132, 136, 262])
def test_some_protocols_have_ports(protocol: int) -> None:
    assert has_ports(protocol)


@pytest.mark.parametrize("protocol", [0, 1, 47, 50, 58, 253, 255])
def test_other_protocols_have_none(protocol: int) -> None:
    assert not has_ports(protocol)


@pytest.mark.parametrize(
    ("host", "shown"),
    [("192.0.2.1", "192.0.2.1:443"), ("registry.example", "registry.example:443"), ("::1", "[::1]:443")],
)
def test_an_ipv6_host_stands_in_brackets(host: str, shown: str) -> None:
    assert endpoint(host, 443) == shown
