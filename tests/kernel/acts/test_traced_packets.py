"""Packets and tampering as a user sees them: spans, the account, the summary."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.kernel.arrivals import ICMP, ICMPV6, Endpoint, Packet
from tests.kernel.lab import NETWORKS, PORT, V4, Lab, Network
from tests.kernel.tracing import trace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel
PORTS = {"server.port", "network.peer.port", "network.local.port"}


@NETWORKS
@pytest.mark.parametrize("verb", ["raw-echo", "ping"])
def test_an_echo_is_a_span_without_ports(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network, verb: str
) -> None:
    echo = programs.act(verb, network.peer, PORT)
    with lab.watch() as watch:
        seen = trace(lab, ["sh", "-c", '"$@"; true', "sh", *echo], tmp_path)
    assert seen.stdout == "ok\n"
    assert watch.arrivals.packets == {Packet(ICMP if network is V4 else ICMPV6, Endpoint(network.peer, 0)): 1}
    (span,) = seen.egress
    assert (span["process.command_args"], span["egress.lineage"]) == (echo, ["dash", "act"])
    assert span.name == f"send {network.peer}"
    assert span["network.transport"] == ("icmp" if network is V4 else "ipv6-icmp")
    assert span["server.address"] == span["network.peer.address"] == network.peer
    assert span["process.executable.name"] == "act"
    assert not PORTS & span.attributes.keys()
    assert seen.account == "attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0"


@NETWORKS
def test_sctp_has_its_port_and_a_protocol_of_nobodys_its_number(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network
) -> None:
    (sctp,) = trace(lab, programs.act("raw-sctp", network.peer, PORT), tmp_path / "sctp").egress
    (other,) = trace(lab, programs.act("raw-253", network.peer, PORT), tmp_path / "253").egress
    assert (sctp["network.transport"], sctp["server.port"]) == ("sctp", PORT)
    assert other["network.transport"] == "253"
    assert not PORTS & other.attributes.keys()


def test_tampering_is_a_log_record_and_a_warning_in_the_summary(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    seen = trace(lab, programs.tamper("packet-socket", os.getpid()), tmp_path)
    warnings = [line for line in seen.stderr.splitlines() if line.startswith("warning: tampering")]
    assert len(warnings) == 1
    assert "made a packet socket (ETH_P_ALL)" in warnings[0]
    logs = (tmp_path / "logs.jsonl").read_text()
    assert logs.count('"cicd.egress.tamper"') == 1
    assert '"packet_socket"' in logs
    assert seen.account == "attempts 0 = exported 0 + aggregated 0 + dropped 0 + pending 0"


def test_a_build_without_tampering_is_warned_of_nothing(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    seen = trace(lab, programs.tamper("nothing", os.getpid()), tmp_path)
    of_others = "ci-egress: warning: instance "  # that a test killed
    assert not [
        line for line in seen.stderr.splitlines() if "warning" in line and not line.startswith(of_others)
    ]
