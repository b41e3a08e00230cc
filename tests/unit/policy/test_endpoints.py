"""Destinations as people write them."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from exporter.common.documents.problems import InvalidTextError
from exporter.policy.endpoints import NAME_MAX, WrittenDestination, parse_endpoint, parse_protocol
from exporter.policy.model import Name, Protocol, SocketName

_LONG = "a." * 125


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("a.example", WrittenDestination(Name("a.example"), None, None)),
        ("A.Example.:8080", WrittenDestination(Name("a.example"), None, (8080,))),
        ("registry", WrittenDestination(Name("registry"), None, None)),
        ("a.example:*", WrittenDestination(Name("a.example"), None, ())),
        ("*.a.example", WrittenDestination(Name("a.example", is_wildcard=True), None, None)),
        ("_dns.a.example", WrittenDestination(Name("_dns.a.example"), None, None)),
        ("UDP://a.example:53", WrittenDestination(Name("a.example"), Protocol.UDP, (53,))),
        ("any://a.example", WrittenDestination(Name("a.example"), Protocol.ANY, None)),
        ("any://a.example:*", WrittenDestination(Name("a.example"), Protocol.ANY, ())),
        ("192.0.2.1", WrittenDestination(ip_network("192.0.2.1"), None, None)),
        ("192.0.2.0/24:22", WrittenDestination(ip_network("192.0.2.0/24"), None, (22,))),
        ("icmp://[2001:db8::/32]", WrittenDestination(ip_network("2001:db8::/32"), Protocol.ICMP, None)),
        ("udp:443", WrittenDestination(Name("udp"), None, (443,))),
        ("[2001:DB8::1]:443", WrittenDestination(ip_network("2001:db8::1"), None, (443,))),
        ("0.0.0.0/0:*", WrittenDestination(ip_network("0.0.0.0/0"), None, ())),
        ("*.internal", WrittenDestination(Name("internal", is_wildcard=True), None, None)),
        ("*.github.io", WrittenDestination(Name("github.io", is_wildcard=True), None, None)),
        (_LONG + "b", WrittenDestination(Name(_LONG + "b"), None, None)),
        ("unix:///run/a,b c.sock", WrittenDestination(SocketName("/run/a,b c.sock"), Protocol.UNIX, None)),
        ("UNIX://@bus:443", WrittenDestination(SocketName("@bus:443"), Protocol.UNIX, None)),
        ("unix://*", WrittenDestination(SocketName("*"), Protocol.UNIX, None)),
    ],
)
def test_a_destination_is_read(text: str, endpoint: WrittenDestination) -> None:
    assert parse_endpoint(text) == endpoint


WRONG = [
    ("", "no host"),
    (":443", "no host"),
    ("tcp://", "no host"),
    ("a.example:", "port `` is not a port"),
    ("a.example:0", "port `0` is out of range"),
    ("a.example:65536", "port `65536` is out of range"),
    ("a.example:-1", "port `-1` is out of range"),
    ("a.example:٤٤٣", "port `٤٤٣` is out of range"),
    ("a.example:http", "port `http` is not a port"),
    ("a.example:80:80", "`a.example:80:80` has more than one port"),
    ("192.0.2.1:80:443:*", "`192.0.2.1:80:443:*` has more than one port"),
    ("cafe:80:443", "`cafe:80:443` is ambiguous"),
    ("a.example:80:x", "`a.example:80:x` is ambiguous"),
    ("a.example 443", "`a.example 443` has a blank before the port"),
    ("udp://[2001:db8::1]  53", "`[2001:db8::1]  53` has a blank before the port"),
    ("user@a.example", "`user@a.example` has a user in front of the host"),
    ("git@a.example:x/y", "`git@a.example:x/y` has a user in front of the host"),
    ("tcp://user@192.0.2.1:22", "`user@192.0.2.1:22` has a user in front of the host"),
    ("a.example/x@1", "`a.example/x@1` has a path"),
    ("2001:db8::1", "`2001:db8::1` is ambiguous"),
    ("a.example:443,b.example:443", "`a.example:443,b.example:443` has a comma"),
    ("a.example,", "`a.example,` has a comma"),
    ("tcp:a.example", "`tcp:a.example` lacks slashes"),
    ("UDP:192.0.2.53:53", "`UDP:192.0.2.53:53` lacks slashes"),
    ("[2001:db8::1", "`[2001:db8::1` has brackets in disorder"),
    ("[2001:db8::1]443", "`[2001:db8::1]443` has brackets in disorder"),
    ("https://a.example/x", "`https://a.example/x` is a URL"),
    ("tcpp://a.example", "unknown protocol `tcpp`"),
    ("a.example/x", "`a.example/x` has a path"),
    ("icmp://a.example:80", "a port for icmp"),
    ("any://a.example:80", "a port for any"),
    ("*", "`*` is no name"),
    ("a.*.example", "`a.*.example` is no name"),
    ("*a.example", "`*a.example` is no name"),
    ("*.*.example", "`*.*.example` is no name"),
    ("*.", "`*.` is not a host's name"),
    ("a..example", "`a..example` is not a host's name"),
    (".a.example", "`.a.example` is not a host's name"),
    ("a b", "`a b` is not a host's name"),
    ("a\0.example", "`a\\x00.example` is not a host's name"),
    ("a" * 64, f"`{'a' * 59}…` is not a host's name"),
    ("bücher.example", "`bücher.example` is not ASCII"),
    ("1.2.3", "`1.2.3` is no address"),
    ("256.1.1.1", "`256.1.1.1` is no address"),
    ("192.0.2.01", "`192.0.2.01` is no address"),
    ("192.0.2.1.", "`192.0.2.1.` is no address"),
    ("0x7f.1", "`0x7f.1` is no address"),
    ("a.0x7f", "`a.0x7f` is no address"),
    ("[fe80::1%eth0]", "`fe80::1%eth0` is no address"),
    ("[a.example]:b", "port `b` is not a port"),
    ("192.0.2.1/24", "`192.0.2.1/24` has host bits set"),
    ("[2001:db8::1/32]:443", "`2001:db8::1/32` has host bits set"),
    ("192.0.2.0/33", "`192.0.2.0/33` is a bad CIDR"),
    ("192.0.2.0/", "`192.0.2.0/` is a bad CIDR"),
    ("192.0.2.0/255.255.255.0", "`192.0.2.0/255.255.255.0` is a bad CIDR"),
    ("[::ffff:192.0.2.0/120]", "`::ffff:192.0.2.0/120` is IPv4 in IPv6"),
    ("*.com", "`*.com`: com is a public suffix"),
    ("*.CO.UK:443", "`*.CO.UK`: co.uk is a public suffix"),
    ("*.kawasaki.jp", "`*.kawasaki.jp`: kawasaki.jp is a public suffix"),
    ("*.newly-delegated", "`*.newly-delegated`: newly-delegated is a public suffix"),
    (_LONG + "bc", f"`{_LONG[:59]}…` is not a host's name"),
    ("unix://", "`unix://` names no Unix socket"),
    ("unix://@", "`unix://@` names no Unix socket"),
    ("unix://run/docker.sock", "`unix://run/docker.sock` names no Unix socket"),
    ("unix:///run/../docker.sock", "`unix:///run/../docker.sock` is no plain path"),
    ("unix:///run/", "`unix:///run/` is no plain path"),
    ("unix:///run/*.sock", "`unix:///run/*.sock` has a wildcard within a path"),
    ("unix:///" + "a" * 108, f"`unix:///{'a' * 51}…` is too long"),
    ("unix:/run/docker.sock", "`unix:/run/docker.sock` lacks slashes"),
]


@pytest.mark.parametrize(("text", "what"), WRONG)
def test_what_is_no_destination_is_told(text: str, what: str) -> None:
    with pytest.raises(InvalidTextError) as caught:
        parse_endpoint(text)
    assert what in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("bücher.example", "write it as DNS has it: xn--bcher-kva.example"),
        ("192.0.2.1/24", "write 192.0.2.0/24, or 192.0.2.1/32 for the one address"),
        ("[::ffff:192.0.2.0/120]", "write 192.0.2.0/24: it means both forms"),
        ("[2001:db8::1/32]", "write 2001:db8::/32, or 2001:db8::1/128 for the one address"),
        ("tcpp://a.example", "did you mean tcp?"),
        ("udp:a.example:53", "write `udp://a.example:53`"),
        ("a.example\t443", "put `:` before the port, as in `a.example:443`"),
        ("user@a.example:22", "leave out `user@`"),
        (
            "unix://run/docker.sock",
            "write a path as in unix:///run/docker.sock, @ and an abstract name, or unix://*",
        ),
        ("unix:///run//docker.sock/", "write unix:///run/docker.sock"),
        ("unix:/run/docker.sock", "write `unix:///run/docker.sock`"),
        ("sctp://a.example", "known are any, icmp, tcp, udp, unix"),
    ],
)
def test_how_to_mend_it_is_what_to_write(text: str, fix: str) -> None:
    with pytest.raises(InvalidTextError) as caught:
        parse_endpoint(text)
    assert caught.value.fix == fix


def test_the_longest_name_fits_a_key_of_the_kernel() -> None:
    scope_bytes, end_bytes = 4, 1
    assert scope_bytes + NAME_MAX + end_bytes == 256


@pytest.mark.parametrize("name", ["http", "ssh"])
def test_a_protocol_above_tcp_is_unknown_where_a_protocol_stands_alone(name: str) -> None:
    with pytest.raises(InvalidTextError, match=f"unknown protocol `{name}`"):
        parse_protocol(name, name)
