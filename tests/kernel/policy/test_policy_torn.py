"""A datagram socket with several peers: the kernel may send to the address of one and the port of another."""

from __future__ import annotations

import re
import socket
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.common.net.addresses import address
from exporter.events.facts import Act, Acted, Event, Verdict, attempts_of
from exporter.policy.compile import Compiled, compile_policy
from tests.kernel.agents import COMMAND, Agent, acts, agent
from tests.kernel.arrivals import UDP, Arrivals, Endpoint, Packet
from tests.kernel.kernel_side import KernelSide
from tests.kernel.lab import NETWORKS, V4, V6, Lab, Network
from tests.kernel.policy_runs import bracketed
from tests.kernel.running_exporter import running, wait_for
from tests.kernel.tracing import copy_of_the_program
from tests.unit.policy.files import rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

ONE, OTHER = 7105, 7106
"""The port of `peer`, and that of `evil`."""
LISTENER = 7100
FOR_MS = 1000
WAYS = pytest.mark.parametrize("way", ["udp-torn", "udp-torn-corked", "udp-torn-control"])
ENFORCED, AUDITED = "mode: enforce\n", "mode: audit\n"
SOME = 20
SEND = "s.send(b'x')"
DISCONNECT = "ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16)"


def both(network: Network, mode: str = ENFORCED) -> Compiled:
    """UDP to one port of either."""
    allow = (f"'udp://{bracketed(host)}:{port}'" for host, port in named(network))
    return compile_policy(rules(allow="\n".join(allow), more=mode))


def named(network: Network) -> list[Endpoint]:
    return [Endpoint(network.peer, ONE), Endpoint(network.evil, OTHER)]


def torn(network: Network) -> list[Endpoint]:
    return [Endpoint(network.peer, OTHER), Endpoint(network.evil, ONE)]


def arrived(arrivals: Arrivals, ends: list[Endpoint]) -> int:
    return sum(arrivals.packets[Packet(UDP, end)] for end in ends)


def sends(events: list[Event]) -> Counter[tuple[Endpoint, Verdict]]:
    """How often it was told that something was sent, and what was said to that."""
    found: Counter[tuple[Endpoint, Verdict]] = Counter()
    for event in events:
        if isinstance(event, Acted) and event.act is Act.SEND:
            end = Endpoint(address(event.peer).text, event.peer_port)
            found[end, event.verdict] += attempts_of(event)
    return found


def told(kernel: KernelSide, job: Agent) -> list[tuple[Act, Verdict]]:
    seen = [event for event in acts(kernel.drain(), job.process) if isinstance(event, Acted)]
    return [(event.act, event.verdict) for event in seen]


@pytest.fixture(autouse=True)
def clients(lab: Lab) -> Iterator[dict[Endpoint, socket.socket]]:
    """Sockets of the far side at all of the ends: a port that is closed would be told to who sends."""
    with ExitStack() as stack:
        yield {
            end: stack.enter_context(lab.peer.call(_at, end).result())
            for network in (V4, V6)
            for end in (*named(network), *torn(network))
        }


def _at(end: Endpoint) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in end.address else socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(end)
    return opened


def made(network: Network) -> str:
    return f"s = socket.socket(socket.AF_INET{'6' if network is V6 else ''}, socket.SOCK_DGRAM)"


def connect(end: Endpoint) -> str:
    return f"s.connect({tuple(end)})"


@NETWORKS
@WAYS
def test_nothing_goes_where_no_rule_lets_it(
    lab: Lab, kernel: KernelSide, programs: Programs, network: Network, way: str
) -> None:
    ends = [part for end in named(network) for part in end]
    with lab.watch() as watch:
        did = kernel.run(lab, programs.act(way, *ends, FOR_MS), both(network))
    assert did.stdout == "ok\n"
    assert arrived(watch.arrivals, named(network)) > SOME
    assert arrived(watch.arrivals, torn(network)) == 0


def test_who_is_disconnected_meanwhile_sends_nothing_to_this_machine(
    lab: Lab, kernel: KernelSide, programs: Programs
) -> None:
    """The kernel may read the port, and then no address any more: that is 0.0.0.0."""
    one, _ = named(V4)
    here = lab.build.call(_at, Endpoint("0.0.0.0", ONE)).result()  # noqa: S104 - whatever it may leave by
    with here, lab.watch() as watch:
        did = kernel.run(lab, programs.act("udp-torn-disconnected", *one, FOR_MS), both(V4))
        here.setblocking(False)
        with pytest.raises(BlockingIOError):
            here.recv(1)
    assert did.stdout == "ok\n"
    assert arrived(watch.arrivals, [one]) > SOME


@NETWORKS
def test_in_audit_mode_it_goes_and_is_told(
    lab: Lab, kernel: KernelSide, programs: Programs, network: Network
) -> None:
    ends = [part for end in named(network) for part in end]
    with lab.watch() as watch:
        did = kernel.run(lab, programs.act("udp-torn", *ends, FOR_MS), both(network, AUDITED))
    assert arrived(watch.arrivals, named(network)) > SOME
    went = {end for end in torn(network) if arrived(watch.arrivals, [end])}
    assert {end for end, verdict in sends(did.events) if verdict is Verdict.AUDIT} == went
    assert {end for end, verdict in sends(did.events) if verdict is Verdict.ALLOW} == set(named(network))


@NETWORKS
def test_without_a_policy_no_packet_is_an_act(
    lab: Lab, kernel: KernelSide, programs: Programs, network: Network
) -> None:
    ends = [part for end in named(network) for part in end]
    did = kernel.run(lab, programs.act("udp-torn", *ends, FOR_MS))
    assert sends(did.events) == {}


@NETWORKS
def test_who_has_one_peer_is_decided_once(lab: Lab, kernel: KernelSide, network: Network) -> None:
    one, _ = named(network)
    with agent(kernel, lab, both(network)) as job:
        assert job.do(made(network), connect(one), *[SEND] * 3, connect(one), SEND) == "ok"
        assert job.do(f"s.sendto(b'x', {tuple(one)})", SEND) == "ok"
        assert told(kernel, job) == [(act, Verdict.ALLOW) for act in (Act.CONNECT, Act.CONNECT, Act.SEND)]


@NETWORKS
def test_who_only_sends_is_told_by_its_calls(lab: Lab, kernel: KernelSide, network: Network) -> None:
    one, other = named(network)
    with agent(kernel, lab, both(network)) as job:
        to_both = [f"s.sendto(b'x', {tuple(end)})" for end in (one, other)]
        assert job.do(made(network), *to_both, f"s.sendto(b'x', {tuple(torn(network)[0])})") == "EPERM"
        assert told(kernel, job) == [
            (Act.SEND, verdict) for verdict in (Verdict.ALLOW, Verdict.ALLOW, Verdict.DENY)
        ]


@NETWORKS
@pytest.mark.parametrize(
    "before",
    [
        pytest.param([connect], id="connected"),
        pytest.param([connect, lambda _end: DISCONNECT], id="connected-and-no-more"),
        pytest.param([lambda end: f"s.sendto(b'x', {tuple(end)})"], id="sent"),
    ],
)
def test_from_its_second_peer_on_each_packet_is_decided(
    lab: Lab, kernel: KernelSide, network: Network, before: Sequence[Callable[[Endpoint], str]]
) -> None:
    one, other = named(network)
    with agent(kernel, lab, both(network)) as job:
        assert job.do(made(network), *(line(one) for line in before), connect(other)) == "ok"
        told(kernel, job)
        assert job.do(SEND) == "ok"
        assert told(kernel, job) == [(Act.SEND, Verdict.ALLOW)]
        kernel.hold(kernel.scope, compile_policy(rules(allow="198.51.100.77", more=ENFORCED)))
        assert job.do(SEND) == "EPERM"


@pytest.mark.parametrize("again", ["connected", "connected-and-no-more"])
def test_to_the_same_peer_again_it_is_the_same_if_it_was_disconnected(
    lab: Lab, kernel: KernelSide, again: str
) -> None:
    """In between a send may take the port alone, and that of 0.0.0.0 is this machine's."""
    one, _ = named(V4)
    with agent(kernel, lab, both(V4)) as job:
        lines = [DISCONNECT] if again == "connected-and-no-more" else []
        assert job.do(made(V4), connect(one), *lines, connect(one), SEND) == "ok"
        assert ((Act.SEND, Verdict.ALLOW) in told(kernel, job)) == (again == "connected-and-no-more")


@NETWORKS
@pytest.mark.parametrize("mode", [ENFORCED, AUDITED], ids=["enforce", "audit"])
def test_without_room_to_note_its_peer_it_is_denied(
    lab: Lab, kernel: KernelSide, network: Network, mode: str
) -> None:
    one, _ = named(network)
    expected = "EPERM" if mode == ENFORCED else "ok"
    limit = Path("/proc/sys/net/core/optmem_max")
    with agent(kernel, lab, both(network, mode)) as job:
        assert job.do(made(network)) == "ok"
        before = lab.build.call(limit.read_text).result()
        lab.build.call(limit.write_text, "0").result()
        try:
            assert job.do(connect(one)) == expected
            assert job.do(f"s.sendto(b'x', {tuple(one)})") == expected
        finally:
            lab.build.call(limit.write_text, before).result()
        assert job.do(connect(one), SEND) == "ok"


def test_a_server_that_connects_to_each_of_its_clients_answers_as_long_as_they_ask(
    lab: Lab, clients: dict[Endpoint, socket.socket], tmp_path: Path
) -> None:
    env = copy_of_the_program(tmp_path / "copy")
    source = tmp_path / "copy/bpf/listener.bpf.c"
    text, times = re.subn(r"(#define ANSWERED_NS) \d+", r"\1 200000000", source.read_text())
    assert times == 1
    source.write_text(text)
    options = ("--enforce", "--allowed-endpoints", "198.51.100.77")
    with running(lab.command(COMMAND), tmp_path / "otlp", *options, env=env, cwd=tmp_path) as run:

        def do(line: str) -> str:
            run.tell(line)
            return run.next_line()

        def ask(host: str) -> int:
            return clients[Endpoint(host, ONE)].sendto(b"?", (V4.build, LISTENER))

        def answers_to(host: str) -> bool:
            """Asked only just now, it may still be too late, on a machine that is busy."""
            ask(host)
            return do(connect(Endpoint(host, ONE))) == "ok" and do(SEND) == "ok"

        for line in (made(V4), f"s.bind(('{V4.build}', {LISTENER}))"):
            assert do(line) == "ok"
        wait_for(lambda: answers_to(V4.peer))
        assert do(DISCONNECT) == "ok"
        wait_for(lambda: answers_to(V4.evil))
        wait_for(lambda: do(SEND) == "EPERM")
        wait_for(lambda: ask(V4.evil) == 1 and do(SEND) == "ok")
