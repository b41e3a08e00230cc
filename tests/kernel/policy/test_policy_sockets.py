"""Raw and ping sockets under an enforced policy: those that no rule has a use for can't be made."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from exporter.events import wire
from exporter.events.facts import Act, Acted, Aggregated, Outcome, Verdict
from exporter.policy.compile import Compiled, compile_policy
from tests.kernel.agents import acts, agent
from tests.kernel.kernel_side import KernelSide, attempts, kernel_side
from tests.kernel.lab import NETWORKS, PORT, V4, V6, Lab, Network
from tests.kernel.tracing import trace
from tests.unit.policy.files import rules

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

ENFORCED = "mode: enforce\n"
DEFAULT = 0
ICMP = {V4: 1, V6: 58}


def allowing(text: str, more: str = ENFORCED) -> Compiled:
    return compile_policy(rules(allow=text, more=more))


def raw(protocol: int, *, of: str = "AF_INET", kind: str = "SOCK_RAW") -> str:
    """A line that makes a socket."""
    return f"socket.socket(socket.{of}, socket.{kind}, {protocol}).close()"


@NETWORKS
@pytest.mark.parametrize("verb", ["raw-echo", "ping", "raw-sctp", "raw-253", "raw-header"])
def test_without_a_rule_for_it_no_socket_is_made(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network, verb: str
) -> None:
    with lab.watch() as watch:
        told = kernel.run(lab, programs.act(verb, network.evil, PORT), allowing("192.0.2.2"))
    assert told.stdout == "EPERM\n", "over IPv6 too, where a dropped ping looks sent"
    assert watch.arrivals.packets_to(network.evil) == 0
    (act,) = told.acts
    assert (act.act, act.verdict, act.rule) == (Act.CREATE, Verdict.DENY, DEFAULT)
    assert (act.peer_port, act.local_port) == (0, 0)
    expected = {"raw-echo": ICMP[network], "ping": ICMP[network], "raw-sctp": 132, "raw-253": 253}
    assert act.protocol == expected.get(verb, 255)


def test_a_socket_that_io_uring_makes_is_no_other(lab: Lab, programs: Programs, kernel: KernelSide) -> None:
    told = kernel.run(lab, programs.tamper("uring-raw-socket", os.getpid()), allowing("192.0.2.2"))
    assert told.stdout == "EPERM\n"
    assert [(act.act, act.protocol, act.verdict) for act in told.acts] == [(Act.CREATE, 1, Verdict.DENY)]


@NETWORKS
@pytest.mark.parametrize("verb", ["raw-echo", "ping"])
def test_where_a_rule_allows_icmp_each_packet_is_decided(
    lab: Lab, programs: Programs, kernel: KernelSide, network: Network, verb: str
) -> None:
    peer = f"'icmp://[{network.peer}]'" if network is V6 else f"icmp://{network.peer}"
    policy = allowing(peer)
    with lab.watch() as watch:
        allowed = kernel.run(lab, programs.act(verb, network.peer, PORT), policy)
        denied = kernel.run(lab, programs.act(verb, network.evil, PORT), policy)
    assert allowed.stdout == "ok\n"
    is_told_wrong = (verb, network) == ("ping", V6)  # by the kernel: the packet is dropped all the same
    assert denied.stdout == ("ok\n" if is_told_wrong else "EPERM\n")
    assert [(act.act, act.verdict) for act in (*allowed.acts, *denied.acts)] == [
        (Act.SEND, Verdict.ALLOW),
        (Act.SEND, Verdict.DENY),
    ]
    assert watch.arrivals.packets_to(network.peer) > 0
    assert watch.arrivals.packets_to(network.evil) == 0


@pytest.mark.parametrize(
    ("allow", "made"),
    [
        ("192.0.2.2", {6}),
        ("udp://192.0.2.2:53", {17}),
        ("icmp://192.0.2.2", {1}),
        ("any://192.0.2.2", {1, 6, 17, 132}),
    ],
)
def test_a_raw_socket_is_for_the_protocols_that_rules_name(
    lab: Lab, kernel: KernelSide, allow: str, made: set[int]
) -> None:
    """None allows 255, IPPROTO_RAW: with it all headers are their sender's own."""
    with agent(kernel, lab, allowing(allow)) as job:
        done = {protocol: job.do(raw(protocol)) for protocol in (1, 6, 17, 132, 255)}
    assert done == {protocol: "ok" if protocol in made else "EPERM" for protocol in done}


IP_FREEBIND = 15
NO_WAY = {"EINVAL", "ENETUNREACH"}
"""The second one on newer kernels."""
ECHO = {V4: bytes([8, 0, 0xF7, 0xFF, 0, 0, 0, 0]), V6: bytes([128, 0, 0, 0, 0, 0, 0, 0])}
"""A request without payload; over IPv6 the kernel puts its checksum in."""


def raw_echo(network: Network) -> str:
    """A line that makes a raw socket `r` for echo requests."""
    family = "AF_INET6" if network is V6 else "AF_INET"
    return f"r = socket.socket(socket.{family}, socket.SOCK_RAW, {ICMP[network]})"


def send_echo(network: Network, to: str) -> str:
    return f"r.sendto({ECHO[network]!r}, ('{to}', 0))"


@pytest.mark.usefixtures("any_source")
def test_under_whatever_address_a_raw_socket_sends_each_packet_is_decided_by_where_it_goes(
    lab: Lab, kernel: KernelSide
) -> None:
    """The source says where the answer goes: options for another one are denied.

    Here root lets every socket have one (ip_nonlocal_bind).
    """
    with lab.watch() as watch, agent(kernel, lab, allowing(f"'icmp://[{V6.peer}]'")) as job:
        assert job.do(raw_echo(V6), f"r.bind(('{V6.evil}', 0))") == "ok"
        assert job.do(send_echo(V6, V6.evil)) == "EPERM"
        assert job.do(send_echo(V6, "::1")) == "EPERM", "whoever is there would answer to evil"
        assert job.do(send_echo(V6, V6.peer)) == "ok"
    assert watch.arrivals.packets_to(V6.evil) == 0
    assert watch.arrivals.packets_to(V6.peer) == 1


def test_over_ipv4_a_raw_socket_sends_nothing_under_an_address_that_is_not_the_machine_s(
    lab: Lab, kernel: KernelSide
) -> None:
    """The kernel finds no way for it, although the option that lets it be bound isn't denied."""
    with lab.watch() as watch, agent(kernel, lab, allowing(f"icmp://{V4.peer}")) as job:
        assert job.do(raw_echo(V4), f"r.setsockopt(socket.SOL_IP, {IP_FREEBIND}, 1)") == "ok"
        if job.do(f"r.bind(('{V4.evil}', 0))") == "ok":  # since Linux 5.17
            assert job.do(send_echo(V4, V4.peer)) in NO_WAY
            assert job.do(send_echo(V4, V4.evil)) in NO_WAY
    assert watch.arrivals.packets == {}


def test_other_sockets_are_no_concern_of_it(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, allowing("198.51.100.77")) as job:
        for kind, protocol in (
            ("SOCK_STREAM", 0),
            ("SOCK_DGRAM", 0),
            ("SOCK_DGRAM", 136),
            ("SOCK_STREAM", 262),
        ):
            assert job.do(raw(protocol, kind=kind), raw(protocol, of="AF_INET6", kind=kind)) == "ok"
        assert job.do(raw(0, of="AF_UNIX", kind="SOCK_DGRAM")) == "ok"


def test_in_audit_mode_sockets_are_made_and_their_packets_told(
    lab: Lab, programs: Programs, kernel: KernelSide
) -> None:
    told = kernel.run(lab, programs.act("ping", V6.evil, PORT), allowing("192.0.2.2", more=""))
    assert told.stdout == "ok\n"
    assert [(act.act, act.verdict) for act in told.acts] == [(Act.SEND, Verdict.AUDIT)]


def test_a_process_of_no_job_goes_on_making_them(lab: Lab, programs: Programs, kernel: KernelSide) -> None:
    with agent(kernel, lab, allowing("192.0.2.2")) as job:
        assert job.do(raw(1)) == "EPERM"
        assert lab.run(programs.act("raw-echo", V4.peer, PORT)).stdout == "ok\n"


def test_a_flood_of_them_adds_up_to_the_last_one(lab: Lab) -> None:
    number = 5_000
    flood = f"""
import socket
for _ in range({number}):
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
    except PermissionError:
        pass
"""
    with kernel_side() as kernel:
        told = kernel.run(lab, [sys.executable, "-c", flood], allowing("192.0.2.2"))
        events = [*told.events, *acts(kernel.finish(), told.process)]
        found = attempts([event for event in events if isinstance(event, Acted | Aggregated)])
        assert found.total() == number
        assert found["told"] < number / 10
        assert kernel.lost(wire.KIND_ACT) == 0
    assert {event.outcome for event in events if isinstance(event, Aggregated)} == {Outcome.DENIED}


def test_a_denied_ping_is_told_like_any_denial(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    act = ["sh", "-c", '"$@"; true', "sh", *programs.act("ping", V4.evil, PORT)]
    seen = trace(lab, act, tmp_path, "--enforce", "--allowed-endpoints", "192.0.2.77")
    assert seen.stdout == "EPERM\n"
    (span,) = seen.egress
    assert span.name == "create icmp socket"
    assert {"egress.verdict": "deny", "egress.rule": "default", "egress.outcome": "denied"}.items() <= (
        span.attributes.items()
    )
    assert "ci-egress: blocked: act (dash → act) → icmp socket, rule default" in seen.stderr.splitlines()
    assert [point.attributes["server.address"] for point in seen.metrics["cicd.egress.connections"]] == [
        "_socket"
    ]
    assert seen.account == "attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0"
