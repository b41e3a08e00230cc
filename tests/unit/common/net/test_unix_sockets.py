"""Names of Unix sockets, as text and as digests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.common.net.addresses import UNIX, is_loopback, plain_protocol, transport, unix_address
from exporter.common.net.unix_sockets import (
    NAME_MAX,
    bound_names,
    digest,
    is_socket_name,
    name_of,
    named_by,
    shown,
)
from exporter.events import wire


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"/run/docker.sock", "/run/docker.sock"),
        (b"docker.sock", "./docker.sock"),
        (b"\0bus", "@bus"),
        (b"\0a\0b", "@a@b"),
        (b"/run/\xff", "/run/\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_a_name_is_no_host_s(name: bytes, text: str) -> None:
    assert shown(name) == text
    assert is_socket_name(text)
    assert is_loopback(text)
    assert unix_address(text) == (text, None, True)


@pytest.mark.parametrize("text", ["/run/docker.sock", "@bus", "/run/\udcff"])
def test_a_rule_means_the_name_that_is_shown(text: str) -> None:
    assert name_of(text) in {b"/run/docker.sock", b"\0bus", b"/run/\xff"}


def test_it_has_a_protocol_of_its_own() -> None:
    assert UNIX == wire.PROTOCOL_UNIX
    assert plain_protocol(UNIX) == wire.POLICY_UNIX
    assert plain_protocol(wire.POLICY_UNIX) != wire.POLICY_UNIX, "a packet's protocol means no Unix socket"
    assert transport(UNIX) == "unix"
    assert wire.SOCKET_NAME_ROOM == NAME_MAX


@given(st.binary(min_size=1, max_size=NAME_MAX), st.binary(min_size=1, max_size=NAME_MAX))
def test_two_names_have_two_digests(one: bytes, other: bytes) -> None:
    assert (digest(one) == digest(other)) == (one == other)
    assert len(digest(one)) == 16


def test_a_socket_below_run_has_two_names_and_goes_by_that_of_its_digest() -> None:
    short, long = "/run/docker.sock", "/var/run/docker.sock"
    assert bound_names(short) == {short, long}
    assert bound_names(long) == {short, long}
    assert bound_names("/tmp/x") == {"/tmp/x"}  # noqa: S108
    assert named_by(digest(b"/run/docker.sock"), long) == short
    assert named_by(digest(b"/var/run/docker.sock"), long) == long
    assert named_by(digest(b"/run/docker.sock"), "./docker.sock") == "./docker.sock"


def test_zeros_at_the_end_of_an_abstract_name_count() -> None:
    assert len({digest(b"\0bus" + bytes(count)) for count in range(9)}) == 9
