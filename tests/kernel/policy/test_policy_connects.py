"""A datagram socket that connects where TCP may go is let through, and each packet of it decided."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from exporter.events.facts import RULE_OF_NOTHING_SENT, Act, Acted, Verdict
from exporter.kernel.maps.windows import Coverage
from exporter.policy.compile import Compiled, compile_policy
from tests.kernel.agents import Agent, acts, agent
from tests.kernel.arrivals import UDP, Endpoint, Packet
from tests.kernel.kernel_side import KernelSide, kernel_side
from tests.kernel.lab import NETWORKS, PORT, V4, V6, Lab, Network
from tests.kernel.policy_runs import bracketed
from tests.unit.policy.files import rules

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

OTHER = 7105
STRANGER = """
import ctypes, errno, os, socket, sys

GETFD = 438  # of every machine
taken = ctypes.CDLL(None).syscall(GETFD, os.pidfd_open(int(sys.argv[1])), int(sys.argv[2]), 0)
try:
    socket.socket(fileno=taken).send(b"x")
    print("ok")
except OSError as error:
    print(errno.errorcode[error.errno])
"""
"""Sends with a socket of the process that is named by its arguments."""
LET_THROUGH = (Act.CONNECT, Verdict.ALLOW, RULE_OF_NOTHING_SENT)
SENDS = {
    "send": "s.send(b'x')",
    "write": "os.write(s.fileno(), b'x')",
    "sendmsg": "s.sendmsg([b'x'])",
    "sendto": "s.sendto(b'x', s.getpeername())",
    "corked": "s.send(b'x', socket.MSG_MORE); s.send(b'x')",
}


@pytest.fixture(autouse=True)
def denied_no_longer(kernel: KernelSide) -> Iterator[None]:
    """End the policy with its test, as tests of a job of this very process do."""
    yield
    kernel.judge_nothing()


def policy(network: Network, *more: str, mode: str = "enforce") -> Compiled:
    """TCP to one port of `peer`, and UDP to another."""
    peer = bracketed(network.peer)
    allow = [f"'{peer}:{PORT}'", f"'udp://{peer}:{OTHER}'", *more]
    return compile_policy(rules(allow="\n".join(allow), more=f"mode: {mode}\n"))


def made(network: Network) -> str:
    return f"s = socket.socket(socket.AF_INET{'6' if network is V6 else ''}, socket.SOCK_DGRAM)"


def to(network: Network, port: int, host: str = "peer") -> str:
    return f"s.connect(('{getattr(network, host)}', {port}))"


def told(kernel: KernelSide, job: Agent) -> list[tuple[Act, Verdict, int]]:
    seen = [event for event in acts(kernel.drain(), job.process) if isinstance(event, Acted)]
    return [(event.act, event.verdict, event.rule) for event in seen]


@NETWORKS
@pytest.mark.parametrize("way", SENDS)
def test_it_connects_and_sends_nothing(lab: Lab, kernel: KernelSide, network: Network, way: str) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy(network)) as job:
        assert job.do(made(network), to(network, PORT)) == "ok"
        assert job.value("s.getsockname()[0]") == network.build, "which is what the C library wants to know"
        assert job.do(SENDS[way]) == "EPERM"
        assert told(kernel, job) == [LET_THROUGH, (Act.SEND, Verdict.DENY, 0)]
    assert watch.arrivals.packets == {}


@NETWORKS
def test_in_audit_mode_what_it_sends_is_told_once(lab: Lab, kernel: KernelSide, network: Network) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy(network, mode="audit")) as job:
        assert job.do(made(network), to(network, PORT), *SENDS.values()) == "ok"
        assert told(kernel, job) == [LET_THROUGH, *[(Act.SEND, Verdict.AUDIT, 0)] * len(SENDS)]
    assert watch.arrivals.packets == {Packet(UDP, Endpoint(network.peer, PORT)): len(SENDS)}


@NETWORKS
def test_where_tcp_may_not_go_it_does_not_connect(lab: Lab, kernel: KernelSide, network: Network) -> None:
    with agent(kernel, lab, policy(network)) as job:
        assert job.do(made(network), to(network, PORT, "evil")) == "EPERM"
        assert job.do(to(network, PORT + 1)) == "EPERM"
        assert told(kernel, job) == [(Act.CONNECT, Verdict.DENY, 0)] * 2


@NETWORKS
@pytest.mark.parametrize("port", [0, 9, 53, 1025, 65535], ids=["glibc", "go", "later-go", "ping", "musl"])
def test_at_ports_that_mean_none_it_connects_anywhere(
    lab: Lab, kernel: KernelSide, network: Network, port: int
) -> None:
    """As who only puts the addresses of a name in order, or asks for an address of its own."""
    with lab.watch() as watch, agent(kernel, lab, policy(network)) as job:
        assert job.do(made(network), to(network, port, "evil")) == "ok"
        assert job.do(SENDS["send"]) == "EPERM"
        assert told(kernel, job) == [LET_THROUGH, (Act.SEND, Verdict.DENY, 0)]
    assert watch.arrivals.packets == {}


@NETWORKS
def test_what_it_sends_elsewhere_is_decided_too_and_told_once(
    lab: Lab, kernel: KernelSide, network: Network
) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy(network)) as job:
        assert job.do(made(network), to(network, PORT)) == "ok"
        assert job.do(f"s.sendto(b'x', ('{network.evil}', {PORT}))") == "EPERM"
        assert job.do(f"s.sendto(b'x', ('{network.peer}', {OTHER}))") == "ok"
        assert told(kernel, job)[1:] == [(Act.SEND, Verdict.DENY, 0), (Act.SEND, Verdict.ALLOW, 2)]
    assert watch.arrivals.packets_to(network.evil) == 0
    assert watch.arrivals.packets[Packet(UDP, Endpoint(network.peer, OTHER))] == 1


@NETWORKS
def test_its_packets_are_decided_for_good_since_another_thread_may_connect_it_elsewhere(
    lab: Lab, kernel: KernelSide, network: Network
) -> None:
    with agent(kernel, lab, policy(network)) as job:
        assert job.do(made(network), to(network, PORT), to(network, OTHER), SENDS["send"]) == "ok"
        assert told(kernel, job)[1:] == [(Act.CONNECT, Verdict.ALLOW, 2), (Act.SEND, Verdict.ALLOW, 2)]


def test_through_a_mapped_address_it_is_the_same(lab: Lab, kernel: KernelSide) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy(V4)) as job:
        assert job.do(made(V6), f"s.connect(('::ffff:{V4.peer}', {PORT}))") == "ok"
        for send in ("send", "sendto"):
            assert job.do(SENDS[send]) == "EPERM"
        assert told(kernel, job) == [LET_THROUGH, *[(Act.SEND, Verdict.DENY, 0)] * 2]
    assert watch.arrivals.packets == {}


def test_a_flip_is_seen_by_what_is_connected(lab: Lab, kernel: KernelSide) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy(V4, mode="audit")) as job:
        assert job.do(made(V4), to(V4, PORT)) == "ok"
        kernel.hold(kernel.scope, policy(V4))
        assert job.do(SENDS["send"]) == "EPERM"
    assert watch.arrivals.packets == {}


def test_handed_to_a_process_of_no_job_it_sends_nothing_either(lab: Lab, kernel: KernelSide) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy(V4)) as job:
        assert job.do(made(V4), to(V4, PORT)) == "ok"
        assert sent_by_a_process_of_no_job(job) == "EPERM"
    assert watch.arrivals.packets == {}


def test_nor_where_processes_of_no_job_are_traced(lab: Lab) -> None:
    with (
        lab.watch() as watch,
        kernel_side(Coverage(is_host=True)) as kernel,
        agent(kernel, lab, policy(V4)) as job,
    ):
        assert job.do(made(V4), to(V4, PORT)) == "ok"
        assert sent_by_a_process_of_no_job(job) == "EPERM"
    assert watch.arrivals.packets == {}


@pytest.mark.parametrize(("mode", "expected"), [("enforce", "EPERM"), ("audit", "ok")])
def test_one_with_several_peers_sends_nothing_by_it_where_they_are_enforced(
    lab: Lab, kernel: KernelSide, mode: str, expected: str
) -> None:
    """Which of its peers that is may be nobody's."""
    with agent(kernel, lab, policy(V4, f"'udp://{V4.evil}:{PORT}'", mode=mode)) as job:
        assert job.do(made(V4), to(V4, OTHER), to(V4, PORT, "evil")) == "ok"
        assert sent_by_a_process_of_no_job(job) == expected


def sent_by_a_process_of_no_job(job: Agent) -> str:
    """What comes of it, with the job's socket."""
    of = [str(job.process.pid), job.value("s.fileno()")]
    done = subprocess.run([sys.executable, "-c", STRANGER, *of], capture_output=True, text=True, check=True)
    return done.stdout.rstrip("\n")
