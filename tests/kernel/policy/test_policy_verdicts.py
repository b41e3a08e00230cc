"""What a policy says to addresses, done by the kernel: EPERM at once, or told and let through."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from exporter.common.net.addresses import address
from exporter.events.facts import Act, Acted, Aggregated, Event, Execed, Outcome, ProcessKey, Verdict
from exporter.policy.compile import Compiled, compile_policy
from exporter.policy.model import Mode
from tests.kernel.agents import acts, agent
from tests.kernel.arrivals import UDP, Endpoint, Packet
from tests.kernel.flood_accounts import EACH_MAX
from tests.kernel.kernel_side import KernelSide, attempts, kernel_side
from tests.kernel.lab import MPTCP_PORT, NETWORKS, PORT, RUN_LIMIT_S, V4, V6, Lab, Network
from tests.kernel.routes import message_by_way_of_evil, set_route
from tests.kernel.servers import has_udplite
from tests.unit.policy.files import rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

ENFORCED = "mode: enforce\n"
DEFAULT = 0
"""Number of no rule."""
ALL = f"any://{V4.peer}\nany://[{V6.peer}]"
"""Allowed; `evil` isn't."""
ACTS = {
    "connect": PORT,
    "connect-nonblock": PORT,
    "thread-connect": PORT,
    "mptcp-connect": MPTCP_PORT,
    "mapped-tcp": PORT,
    "tfo-sendto": PORT,
    "tfo-connect": PORT,
    "udp-connect-send": PORT,
    "udp-sendto": PORT,
    "udp-sendmsg": PORT,
    "udp-sendmmsg": PORT,
    "mapped-udp-sendto": PORT,
    "mapped-udp-connected": PORT,
    "v6sock-v4addr": PORT,
    "udplite-sendto": PORT,
    "udplite-connected": PORT,
    "uring-connect": PORT,
    "uring-connect-sqpoll": PORT,
    "uring-sendmsg": PORT,
    "raw-echo": PORT,
    "raw-echo-connected": PORT,
    "raw-header": PORT,
    "raw-sctp": PORT,
    "ping": PORT,
}
VERBS = [verb for verb in ACTS if has_udplite() or not verb.startswith("udplite")]
ACT = pytest.mark.parametrize("verb", VERBS)
WITHOUT_HEADERS = [verb for verb in VERBS if verb != "raw-header"]


def allowing(text: str, *, more: str = ENFORCED, deny: str = "") -> Compiled:
    return compile_policy(rules(allow=text, deny=deny, more=more))


def rulings(events: Sequence[Event]) -> set[tuple[Verdict, int]]:
    return {(event.verdict, event.rule) for event in events if isinstance(event, Acted | Aggregated)}


@pytest.mark.everywhere(feature="denial")
@NETWORKS
def test_what_is_denied_fails_at_once_and_sends_nothing(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network
) -> None:
    """Each act by a process of one job; what is told of them is told apart by what it was executed for."""
    acts = {verb: programs.act(verb, network.evil, ACTS[verb]) for verb in VERBS}
    command = ["sh", "-c", "; ".join(map(shlex.join, acts.values()))]
    with lab.watch() as watch, kernel.beginning(lab, command, allowing(ALL)) as (child, _):
        stdout, stderr = child.communicate("\n", timeout=RUN_LIMIT_S)
    events = kernel.drain()
    verbs = {event.process: event.arguments[1] for event in events if isinstance(event, Execed)}
    told = {verb: set[tuple[Verdict, int]]() for verb in VERBS}
    for event in events:
        if isinstance(event, Acted | Aggregated) and event.scope == kernel.scope:
            told[verbs[event.process]].add((event.verdict, event.rule))
    assert watch.arrivals.packets_to(network.evil) == 0
    assert watch.arrivals.packets_to(network.peer) == 0
    assert told == {verb: {(Verdict.DENY, DEFAULT)} for verb in VERBS}
    said = dict(zip(VERBS, stdout.splitlines(), strict=True))
    wrong = {"ping": "ok"} if network is V6 else {}  # by the kernel: the packet is dropped all the same
    assert (said, stderr) == (dict.fromkeys(VERBS, "EPERM") | wrong, "")


@NETWORKS
@pytest.mark.parametrize("verb", WITHOUT_HEADERS)
def test_what_is_allowed_works(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network, verb: str
) -> None:
    with lab.watch() as watch:
        told = kernel.run(lab, programs.act(verb, network.peer, ACTS[verb]), allowing(ALL))
    assert told.stdout == "ok\n"
    assert watch.arrivals.packets_to(network.peer) > 0
    assert rulings(told.events) == {(Verdict.ALLOW, 1 if network is V4 else 2)}


@NETWORKS
@ACT
def test_audit_lets_through_and_tells_what_would_be_denied(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network, verb: str
) -> None:
    with lab.watch() as watch:
        told = kernel.run(lab, programs.act(verb, network.evil, ACTS[verb]), allowing(ALL, more=""))
    assert told.stdout == "ok\n"
    assert watch.arrivals.packets_to(network.evil) > 0
    assert rulings(told.events) == {(Verdict.AUDIT, DEFAULT)}


def test_a_job_without_a_policy_is_untouched_by_anothers(
    lab: Lab, programs: Programs, kernel: KernelSide
) -> None:
    act = programs.act("connect", V4.evil, PORT)
    assert kernel.run(lab, act, allowing(ALL)).stdout == "EPERM\n"
    told = kernel.run(lab, act)
    assert told.stdout == "ok\n"
    assert rulings(told.events) == {(Verdict.NONE, 0)}


def test_a_deny_is_told_with_its_rule(lab: Lab, programs: Programs, kernel: KernelSide) -> None:
    policy = allowing("0.0.0.0/0:*", deny=V4.evil)
    told = kernel.run(lab, programs.act("connect", V4.evil, PORT), policy)
    assert rulings(told.events) == {(Verdict.DENY, 2)}
    assert policy.rules[1].text == V4.evil


@pytest.mark.parametrize(("port", "expected"), [(PORT, "ok\n"), (PORT + 1, "EPERM\n")])
def test_a_port_is_allowed_alone(
    lab: Lab, programs: Programs, kernel: KernelSide, port: int, expected: str
) -> None:
    told = kernel.run(lab, programs.act("udp-sendto", V6.peer, port), allowing(f"'udp://[{V6.peer}]:{PORT}'"))
    assert told.stdout == expected


def test_the_mode_of_a_job_can_change_while_it_runs(lab: Lab, programs: Programs, kernel: KernelSide) -> None:
    policy = allowing(ALL, more="")
    twice = ["sh", "-c", '"$@"; read -r _; "$@"', "sh", *programs.act("udp-sendto", V4.evil, PORT)]
    with kernel.beginning(lab, twice, policy) as (child, _):
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "ok\n"
        kernel.change_mode(policy, Mode.ENFORCE)
        assert child.communicate("\n", timeout=RUN_LIMIT_S)[0] == "EPERM\n"


CONNECTS = """
import socket, sys
for _ in range(int(sys.argv[1])):
    with socket.socket() as connecting:
        assert connecting.connect_ex((sys.argv[2], int(sys.argv[3]))) == 1
"""


@pytest.mark.parametrize("act", [Act.SEND, Act.CONNECT])
def test_denied_acts_are_counted_to_the_last_one(lab: Lab, programs: Programs, act: Act) -> None:
    number = 20_000
    connects = [sys.executable, "-c", CONNECTS, str(number), V4.evil, str(PORT)]
    flood = connects if act is Act.CONNECT else programs.flood("sends", number, V4.evil, PORT)
    with kernel_side() as kernel:
        with lab.watch() as watch:
            told = kernel.run(lab, flood, allowing(ALL))
        events = [*told.events, *(event for event in kernel.finish() if of(event, told.process))]
    counted = attempts([event for event in events if isinstance(event, Acted | Aggregated)])
    assert watch.arrivals.packets_to(V4.evil) == 0
    assert counted.total() == number
    assert EACH_MAX <= counted["told"] < number / 10
    assert rulings(events) == {(Verdict.DENY, DEFAULT)}
    assert {event.outcome for event in events if isinstance(event, Aggregated)} == {Outcome.DENIED}


def of(event: Event, process: ProcessKey) -> bool:
    return isinstance(event, Acted | Aggregated) and event.process == process


def test_a_policy_of_ten_thousand_rules_decides_by_the_right_one(
    lab: Lab, programs: Programs, kernel: KernelSide
) -> None:
    networks = [f"10.{a}.{b}.0/24" for a in range(40) for b in range(250)]
    policy = allowing("\n".join(f"any://{network}" for network in (*networks, f"{V4.peer}/32")))
    assert rulings(kernel.run(lab, programs.act("udp-sendto", V4.peer, PORT), policy).events) == {
        (Verdict.ALLOW, len(networks) + 1)
    }
    assert rulings(kernel.run(lab, programs.act("udp-sendto", V4.evil, PORT), policy).events) == {
        (Verdict.DENY, DEFAULT)
    }


SENT_AGAIN = "exec('while s.getsockopt(6, socket.TCP_INFO, 3)[2] == 0: pass')"
"""Running when the kernel's timer sends again what a connection sent."""


class Routed(NamedTuple):
    """How something is sent by way of another peer."""

    kind: str
    """Of the socket."""
    before: str
    """What is done while the policy isn't enforced yet."""
    act: str
    done: str
    """What becomes of it."""


ROUTED = {
    "udp": Routed("SOCK_DGRAM", "pass", "s.sendto(b'secret', {peer})", "EPERM"),
    "udp-connected": Routed("SOCK_DGRAM", "s.connect({peer})", "s.send(b'secret')", "EPERM"),
    # The first packet of a connection is dropped behind its connect, and all that its timer sends again.
    "tcp": Routed("SOCK_STREAM", "s.setblocking(False)", "s.connect({peer})", "EINPROGRESS"),
    "raw": Routed("SOCK_RAW, {icmp}", "pass", "s.sendto(bytes([{echo}]) + bytes(7), {peer})", "EPERM"),
}


@NETWORKS
@pytest.mark.parametrize("kind", ROUTED)
def test_a_source_route_through_a_denied_peer_is_denied(
    lab: Lab, kernel: KernelSide, network: Network, kind: str
) -> None:
    """Of a socket that had it before: where the policy is enforced, it can't be set."""
    how, policy, is_v4 = ROUTED[kind], allowing(ALL, more=""), network is V4
    family, icmp, echo = ("AF_INET", 1, 8) if is_v4 else ("AF_INET6", 58, 128)
    make, before, act = (
        text.format(peer=(network.peer, 0 if kind == "raw" else PORT), icmp=icmp, echo=echo)
        for text in (how.kind, how.before, how.act)
    )
    with lab.watch() as watch, agent(kernel, lab, policy) as job:
        made = f"s = socket.socket(socket.{family}, {make.replace('SOCK', 'socket.SOCK')})"
        assert job.do(made, set_route("s", network, network.peer), before) == "ok"
        kernel.drain()
        kernel.change_mode(policy, Mode.ENFORCE)
        assert job.do(act) == how.done
        assert job.do(SENT_AGAIN if kind == "tcp" else "pass") == "ok"
        told = acts(kernel.drain(), job.process)
    assert watch.arrivals.packets_to(network.evil) == 0
    assert (Verdict.DENY, DEFAULT) in rulings(told)


def test_so_is_one_that_a_single_datagram_has(lab: Lab, kernel: KernelSide) -> None:
    """Which no option sets."""
    send = f"s.sendmsg([b'secret'], [{message_by_way_of_evil()}], 0, {(V4.peer, PORT)})"
    with lab.watch() as watch, agent(kernel, lab, allowing(ALL)) as job:
        assert job.do("s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", send) == "EPERM"
        told = acts(kernel.drain(), job.process)
    assert watch.arrivals.packets_to(V4.evil) == 0
    assert (Verdict.DENY, DEFAULT) in rulings(told)


@NETWORKS
def test_packets_with_headers_of_their_senders_own_are_for_audit_alone(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network
) -> None:
    """They go where the call says, whatever their header does."""
    act = programs.act("raw-header", network.peer, PORT)
    with lab.watch() as watch:
        told = kernel.run(lab, act, allowing(ALL))
    assert (told.stdout, rulings(told.events)) == ("EPERM\n", {(Verdict.DENY, DEFAULT)})
    assert watch.arrivals.packets == {}
    with lab.watch() as watch:
        told = kernel.run(lab, act, allowing(ALL, more=""))
    assert (told.stdout, rulings(told.events)) == ("ok\n", {(Verdict.ALLOW, 1 if network is V4 else 2)})
    assert watch.arrivals.packets == {Packet(UDP, Endpoint(network.peer, PORT)): 1}


@NETWORKS
@pytest.mark.parametrize("policy", [None, ALL], ids=["without", "enforced"])
def test_what_a_connected_socket_sends_with_a_control_message_goes_where_it_is_connected(
    lab: Lab, kernel: KernelSide, network: Network, policy: str | None
) -> None:
    """As QUIC does, with a type of service; for the kernel's hook such a send has no address."""
    family, level, option = ("AF_INET", 0, 1) if network is V4 else ("AF_INET6", 41, 67)
    service = f"[({level}, {option}, struct.pack('i', 16))]"
    with (
        lab.watch() as watch,
        agent(kernel, lab, None if policy is None else allowing(policy)) as job,
    ):
        assert job.do(f"s = socket.socket(socket.{family}, socket.SOCK_DGRAM)") == "ok"
        assert job.do(f"s.connect({(network.peer, PORT)})") == "ok"
        assert [job.do(f"s.sendmsg([b'quic'], {service})") for _ in range(3)] == ["ok"] * 3
        told = acts(kernel.drain(), job.process)
    assert watch.arrivals.packets == {Packet(UDP, Endpoint(network.peer, PORT)): 3}
    assert [(event.act, address(event.peer).text, event.peer_port) for event in told] == [
        (Act.CONNECT, network.peer, PORT)
    ]


@NETWORKS
def test_the_denied_half_of_several_messages_is_not_sent(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network
) -> None:
    to = (network.peer, PORT, network.evil, PORT)
    with lab.watch() as watch:
        told = kernel.run(lab, programs.act("udp-sendmmsg", *to), allowing(ALL))
    assert watch.arrivals.packets_to(network.peer) == 1
    assert watch.arrivals.packets_to(network.evil) == 0
    assert told.stdout == "ECANCELED\n", "the second wasn't sent"


def test_an_address_without_family_does_not_help(lab: Lab, programs: Programs, kernel: KernelSide) -> None:
    with lab.watch() as watch:
        told = kernel.run(lab, programs.act("sendto-unspec", V4.evil, PORT), allowing(ALL))
    assert watch.arrivals.packets_to(V4.evil) == 0
    assert told.stdout == "EPERM\n"
