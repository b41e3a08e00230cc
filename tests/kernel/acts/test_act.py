"""Each verb of `act` is what its name says, seen from the peer and with strace."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.kernel.arrivals import TCP, UDP, UDPLITE, Endpoint, Packet
from tests.kernel.lab import CLOSED_PORT, MPTCP_PORT, NETWORKS, PORT, V4, V6, Lab, Network
from tests.kernel.observation import observe, strace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Programs

PAYLOAD_BYTES = len("payload")


class Outcome(NamedTuple):
    """How a connect ends."""

    verb: str
    destination: str
    """An address of `Network`."""
    errors: set[str]


class Calls(NamedTuple):
    """What strace sees of a verb."""

    verb: str
    names: list[str]
    evidence: str
    """Text that shows the arguments to be right."""


STREAM_VERBS = [
    "connect",
    "connect-nonblock",
    "thread-connect",
    "mapped-tcp",
    "uring-connect",
    "uring-connect-sqpoll",
]
DATAGRAM_VERBS = [
    "udp-connect-send",
    "connect-udp-twice",
    "udp-sendto",
    "udp-sendmsg",
    "udp-sendmmsg",
    "mapped-udp-sendto",
    "mapped-udp-connected",
    "v6sock-v4addr",
    "uring-sendmsg",
]
OUTCOMES = [
    Outcome("connect", "peer", {"ECONNREFUSED"}),
    Outcome("connect", "blackhole", {"ETIMEDOUT"}),
    Outcome("connect", "unreachable", {"EHOSTUNREACH", "ENETUNREACH"}),
    Outcome("connect", "no_route", {"ENETUNREACH"}),
    Outcome("connect-nonblock", "peer", {"ECONNREFUSED"}),
    Outcome("connect-nonblock", "no_route", {"ENETUNREACH"}),
    Outcome("uring-connect", "peer", {"ECONNREFUSED"}),
    Outcome("uring-connect-sqpoll", "peer", {"ECONNREFUSED"}),
    Outcome("tfo-connect", "peer", {"ECONNREFUSED"}),
]
TRACED = "connect,sendto,sendmsg,sendmmsg,write,io_uring_setup"
CALLS = [
    Calls("connect", ["connect"], "AF_INET, sin_port"),
    Calls("connect-nonblock", ["connect"], "EINPROGRESS"),
    Calls("thread-connect", ["connect"], "AF_INET, sin_port"),
    Calls("tfo-sendto", ["sendto"], "MSG_FASTOPEN"),
    Calls("tfo-connect", ["connect", "write"], '"payload", 7'),
    Calls("mapped-tcp", ["connect"], '"::ffff:192.0.2.2"'),
    Calls("mapped-udp-sendto", ["sendto"], '"::ffff:192.0.2.2"'),
    Calls("mapped-udp-connected", ["connect", "sendto"], '"::ffff:192.0.2.2"'),
    Calls("udp-connect-send", ["connect", "sendto"], "NULL, 0"),
    Calls("udp-sendto", ["sendto"], "AF_INET"),
    Calls("udp-sendmsg", ["sendmsg"], "AF_INET"),
    Calls("udp-sendmmsg", ["sendmmsg"], "AF_INET"),
    Calls("sendto-unspec", ["sendto"], "AF_UNSPEC"),
    Calls("v6sock-v4addr", ["sendto"], "AF_INET, sin_port"),
    Calls("uring-connect", ["io_uring_setup"], "flags=0"),
    Calls("uring-connect-sqpoll", ["io_uring_setup"], "flags=IORING_SETUP_SQPOLL"),
    Calls("uring-sendmsg", ["io_uring_setup"], "flags=0"),
]


@NETWORKS
@pytest.mark.parametrize("verb", STREAM_VERBS)
def test_a_stream_verb_makes_one_connection(
    lab: Lab, programs: Programs, network: Network, verb: str
) -> None:
    to = Endpoint(network.peer, PORT)
    seen = observe(lab, programs.act(verb, *to))
    assert seen.accepted == {to: 1}
    assert seen.stream_bytes == seen.datagrams == {}
    assert set(seen.packets) == {Packet(TCP, to)}


@NETWORKS
@pytest.mark.parametrize("verb", DATAGRAM_VERBS)
def test_a_datagram_verb_sends_one_datagram(
    lab: Lab, programs: Programs, network: Network, verb: str
) -> None:
    to = Endpoint(network.peer, PORT)
    seen = observe(lab, programs.act(verb, *to))
    assert seen.datagrams == {to: 1}
    assert seen.datagram_bytes == {to: PAYLOAD_BYTES}
    assert seen.accepted == {}
    assert seen.packets == {Packet(UDP, to): 1}


@NETWORKS
def test_udplite_is_sent_as_udplite(lab: Lab, programs: Programs, network: Network) -> None:
    to = Endpoint(network.peer, PORT)
    seen = observe(lab, programs.act("udplite-sendto", *to))
    assert seen.datagrams == {to: 1}
    assert seen.packets == {Packet(UDPLITE, to): 1}


@NETWORKS
@pytest.mark.parametrize("verb", ["tfo-sendto", "tfo-connect"])
def test_fast_open_carries_the_payload_in_the_first_packet(
    lab: Lab, programs: Programs, network: Network, verb: str
) -> None:
    to = Endpoint(network.peer, PORT)
    seen = observe(lab, programs.act(verb, *to))
    assert seen.kernel["TcpExtTCPFastOpenPassive"] == 1
    assert seen.accepted == {to: 1}
    assert seen.stream_bytes == {to: PAYLOAD_BYTES}


@NETWORKS
def test_mptcp_is_negotiated_and_not_fallen_back_from(lab: Lab, programs: Programs, network: Network) -> None:
    to = Endpoint(network.peer, MPTCP_PORT)
    seen = observe(lab, programs.act("mptcp-connect", *to))
    assert seen.kernel["MPTcpExtMPCapableACKRX"] == 1
    assert seen.accepted == {to: 1}


@pytest.mark.parametrize("calls", CALLS, ids=lambda calls: calls.verb)
def test_a_verb_makes_the_system_calls_of_its_name(
    lab: Lab, programs: Programs, tmp_path: Path, calls: Calls
) -> None:
    log = strace(lab, TRACED, programs.act(calls.verb, V4.peer, PORT), tmp_path / "strace")
    acts = [line for line in log.splitlines() if "write(1," not in line]
    assert [line.split()[1].partition("(")[0] for line in acts] == calls.names
    assert calls.evidence in "\n".join(acts)


def test_a_thread_that_is_not_the_leader_connects(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    log = strace(lab, "connect,execve", programs.act("thread-connect", V4.peer, PORT), tmp_path / "strace")
    execed, connected = (line.split()[0] for line in log.splitlines())
    assert execed != connected


@NETWORKS
@pytest.mark.parametrize("verb", ["connect-udp-twice", "udp-sendmmsg"])
def test_one_socket_sends_to_two_peers(lab: Lab, programs: Programs, network: Network, verb: str) -> None:
    first, second = Endpoint(network.peer, PORT), Endpoint(network.evil, PORT)
    assert observe(lab, programs.act(verb, *first, *second)).datagrams == {first: 1, second: 1}


@NETWORKS
def test_a_corked_datagram_takes_in_what_is_sent_elsewhere(
    lab: Lab, programs: Programs, network: Network
) -> None:
    first = Endpoint(network.peer, PORT)
    seen = observe(lab, programs.act("udp-corked", *first, network.evil, PORT))
    assert seen.datagram_bytes == {first: 2 * PAYLOAD_BYTES}
    assert seen.packets == {Packet(UDP, first): 1}


def test_an_ipv4_socket_takes_an_address_without_family(lab: Lab, programs: Programs) -> None:
    to = Endpoint(V4.peer, PORT)
    assert observe(lab, programs.act("sendto-unspec", *to)).datagrams == {to: 1}


def test_an_ipv6_socket_ignores_an_address_without_family(lab: Lab, programs: Programs) -> None:
    with lab.watch() as watch:
        done = lab.run(programs.act("sendto-unspec", V6.peer, PORT))
    assert (done.stdout, done.returncode) == ("EDESTADDRREQ\n", errno.EDESTADDRREQ)
    assert watch.arrivals.packets_to(V6.peer) == 0


@NETWORKS
@pytest.mark.parametrize("verb", ["udp-connect-send", "udp-sendto", "mapped-udp-connected"])
def test_a_count_repeats_the_datagram(lab: Lab, programs: Programs, network: Network, verb: str) -> None:
    to = Endpoint(network.peer, PORT)
    assert observe(lab, programs.act(verb, *to, 5)).datagrams == {to: 5}


def test_a_count_repeats_the_connect(lab: Lab, programs: Programs) -> None:
    to = Endpoint(V4.peer, PORT)
    assert observe(lab, programs.act("connect", *to, 3000)).accepted == {to: 3000}


@NETWORKS
@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: f"{outcome.verb}-{outcome.destination}")
def test_a_connect_fails_as_the_destination_says(
    lab: Lab, programs: Programs, network: Network, outcome: Outcome
) -> None:
    with lab.watch() as watch:
        done = lab.run(programs.act(outcome.verb, getattr(network, outcome.destination), CLOSED_PORT))
    assert done.stdout.strip() in outcome.errors
    assert done.returncode == getattr(errno, done.stdout.strip())
    assert watch.arrivals.accepted == {}


@NETWORKS
def test_nothing_leaves_without_a_route(lab: Lab, programs: Programs, network: Network) -> None:
    with lab.watch() as watch:
        lab.run(programs.act("connect", network.no_route, PORT))
    assert watch.arrivals.packets == {}


def test_arguments_behind_two_dashes_are_ignored(lab: Lab, programs: Programs) -> None:
    to = Endpoint(V4.peer, PORT)
    command = programs.lineage("argv", 100_000, *programs.act("connect", *to, "--"))
    assert observe(lab, command).accepted == {to: 1}
