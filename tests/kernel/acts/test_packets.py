"""What goes through sockets without an address hook: each act is told once, with where its packet goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from exporter.common.net.addresses import address
from exporter.events import wire
from exporter.events.facts import Act, Acted
from tests.kernel.arrivals import ICMP, ICMPV6, TCP, UDP, UDPLITE, Endpoint, Packet
from tests.kernel.kernel_side import KernelSide, attempts, kernel_side
from tests.kernel.lab import CLOSED_PORT, NETWORKS, PORT, V4, Lab, Network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel
SCTP, NOBODYS, ROUTING_HEADER = 132, 253, 43
ECHO = -1
"""ICMP's number, which differs by IP version."""
FLOOD = 100_000


class Case(NamedTuple):
    """A verb of `act`, and what it is told as."""

    verb: str
    protocol: int
    to: tuple[str, ...]
    """Addresses of `Network` that acts are told with, in order."""
    port: int = 0
    """That they are told with."""
    times: int = 1
    """The program's COUNT."""
    peers: tuple[str, ...] = ("peer",)
    """Addresses that the program is given."""
    act: Act = Act.SEND
    """Of the first one told."""
    arrives_as: int | None = None
    """The protocol in the IPv6 header, where it isn't `protocol`."""


CASES = [
    Case("raw-echo", ECHO, ("peer",) * 3, times=3),
    Case("raw-echo-connected", ECHO, ("peer",) * 3, times=3),
    Case("raw-echo-sqpoll", ECHO, ("peer",)),
    Case("ping", ECHO, ("peer",) * 3, times=3),
    Case("ping-connected", ECHO, ("peer",) * 3, times=3),
    Case("raw-sctp", SCTP, ("peer",), port=PORT),
    Case("raw-253", NOBODYS, ("peer",)),
    Case("raw-header", UDP, ("peer",), port=PORT),
    Case("raw-header", UDP, ("evil",), port=PORT, peers=("evil", "peer")),
    Case("udplite-sendto", UDPLITE, ("peer",), port=PORT),
    Case("udplite-connected", UDPLITE, ("peer",) * 3, port=PORT, times=3),
    Case("udplite-connected-sendto", UDPLITE, ("peer", "evil"), port=PORT, peers=("peer", "evil")),
    Case("udplite-mapped-connected", UDPLITE, ("peer",) * 3, port=PORT, times=3),
]
ROUTED = [
    Case("routed-raw", ECHO, ("evil", "peer"), peers=("peer", "evil"), arrives_as=ROUTING_HEADER),
    Case("routed-udp", UDP, ("peer", "evil"), PORT, peers=("peer", "evil"), arrives_as=ROUTING_HEADER),
    Case(
        "routed-udp-connected",
        UDP,
        ("peer", "evil"),
        PORT,
        peers=("peer", "evil"),
        act=Act.CONNECT,
        arrives_as=ROUTING_HEADER,
    ),
    Case(
        "routed-tcp",
        TCP,
        ("peer", "evil"),
        PORT,
        peers=("peer", "evil"),
        act=Act.CONNECT,
        arrives_as=ROUTING_HEADER,
    ),
]


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelSide]:
    """The programs, attached while the module's tests run."""
    with kernel_side() as side:
        yield side


def label(case: Case) -> str:
    """For the test's name."""
    return "-".join([case.verb, *case.peers])


def argv(programs: Programs, case: Case, network: Network) -> list[str]:
    """The case's command line."""
    endpoints = [part for peer in case.peers for part in (getattr(network, peer), PORT)]
    return programs.act(case.verb, *endpoints, *([case.times] if case.times > 1 else []))


def protocol_of(case: Case, network: Network) -> int:
    """IANA's number."""
    if case.protocol == ECHO:
        return ICMP if network is V4 else ICMPV6
    return case.protocol


def told(acts: list[Acted]) -> list[tuple[Act, int, str, int]]:
    """What matters of them here."""
    return [(act.act, act.protocol, address(act.peer).text, act.peer_port) for act in acts]


def expected(case: Case, network: Network) -> list[tuple[Act, int, str, int]]:
    """The acts that the case is."""
    protocol = protocol_of(case, network)
    first, *rest = [(protocol, getattr(network, name), case.port) for name in case.to]
    return [(case.act, *first), *((Act.SEND, *other) for other in rest)]


@NETWORKS
@pytest.mark.parametrize("case", CASES, ids=label)
def test_each_packet_is_one_act(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network, case: Case
) -> None:
    with lab.watch() as watch:
        seen = kernel.run(lab, argv(programs, case, network))
    assert seen.stdout == "ok\n"
    assert told(seen.acts) == expected(case, network)
    port = case.port if case.protocol in {UDP, UDPLITE} else 0
    for name in case.to:
        arrived = Packet(protocol_of(case, network), Endpoint(getattr(network, name), port))
        assert watch.arrivals.packets[arrived] == case.to.count(name)


@NETWORKS
@pytest.mark.parametrize("case", ROUTED, ids=label)
def test_a_source_route_is_an_act_to_its_first_hop_and_one_to_its_end(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network, case: Case
) -> None:
    with lab.watch() as watch:
        seen = kernel.run(lab, argv(programs, case, network))
    assert seen.stdout == "ok\n"
    assert told(seen.acts) == expected(case, network)
    most = 2 if case.protocol == TCP else 1  # a SYN is sent again when its process takes a second to end
    assert 1 <= watch.arrivals.packets_to(network.evil) <= most
    assert watch.arrivals.packets_to(network.peer) == 0


@NETWORKS
@pytest.mark.parametrize("verb", ["raw-echo", "ping", "udplite-connected"])
def test_a_socket_shows_no_local_port_that_is_none(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network, verb: str
) -> None:
    (act,) = kernel.run(lab, programs.act(verb, network.peer, PORT)).acts
    assert bool(act.local_port) == (verb == "udplite-connected")
    assert act.uid == 0
    assert act.thread_id == act.process.pid
    assert act.cookie > 0


@NETWORKS
@pytest.mark.parametrize(
    ("verb", "act"),
    [
        ("connect", Act.CONNECT),
        ("udp-sendto", Act.SEND),
        ("udp-connect-send", Act.CONNECT),
        ("mapped-udp-connected", Act.CONNECT),
        ("tfo-connect", Act.CONNECT),
    ],
)
def test_the_packets_of_ordinary_sockets_are_no_further_acts(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network, verb: str, act: Act
) -> None:
    seen = kernel.run(lab, programs.act(verb, network.peer, PORT))
    protocol = UDP if "udp" in verb else TCP
    assert told(seen.acts) == [(act, protocol, network.peer, PORT)]


@NETWORKS
@pytest.mark.parametrize("verb", ["udp-sendto", "connect", "raw-echo"])
def test_a_process_is_not_blamed_for_what_the_kernel_answers_while_it_runs(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network, verb: str
) -> None:
    """Over veth the peer's kernel answers in the sender's own context: ICMP errors, resets, echo replies."""
    with kernel.beginning(lab, programs.act(verb, network.peer, CLOSED_PORT, 20)) as (child, process):
        child.communicate("\n")
    acts = [event for event in kernel.drain() if isinstance(event, Acted) and event.process == process]
    assert {address(act.peer).text for act in acts} == {network.peer}
    assert len(acts) == (1 if verb == "connect" else 20)


@pytest.mark.alone  # who begins to enforce a policy meanwhile drops what a timer sends by a source route
@NETWORKS
def test_a_busy_process_is_not_blamed_for_what_a_timer_sends(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network
) -> None:
    endpoints = (network.peer, PORT, network.evil, PORT)
    with lab.watch() as watch:
        seen = kernel.run(lab, programs.act("routed-tcp-busy", *endpoints))
    assert watch.arrivals.packets_to(network.evil) == 2, "the SYN was not sent again"
    assert [address(act.peer).text for act in seen.acts] == [network.peer, network.evil]


@NETWORKS
def test_what_another_process_sends_is_no_act_of_the_job(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network
) -> None:
    with kernel.beginning(lab, ["true"]) as (child, _):
        done = lab.run(programs.act("raw-echo", network.peer, PORT, 10))
        child.communicate("\n")
    assert done.stdout == "ok\n"
    assert [event for event in kernel.drain() if isinstance(event, Acted)] == []


@pytest.mark.parametrize("verb", ["raw-echo", "ping", "udplite-connected"])
def test_a_flood_adds_up_exactly(lab: Lab, programs: Programs, verb: str) -> None:
    with kernel_side() as side:
        told_meanwhile = side.run(lab, programs.act(verb, V4.peer, PORT, FLOOD))
        found = attempts(told_meanwhile.events) + attempts(side.finish())
        assert side.seen(wire.KIND_ACT) == FLOOD
        assert found["told"] + found["aggregated"] + side.lost(wire.KIND_ACT) == FLOOD
        assert found["told"] < FLOOD // 100
        assert side.lost(wire.KIND_ACT) == 0
