"""A peer of an MPTCP connection announces another address: under a policy the kernel goes to none."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.policy.compile import compile_policy
from tests.kernel.agents import Agent, agent
from tests.kernel.arrivals import parse_netstat
from tests.kernel.kernel_side import KernelSide
from tests.kernel.lab import MPTCP_PORT, NETWORKS, V4, V6, Lab, Network
from tests.kernel.running_exporter import wait_for
from tests.unit.policy.files import rules

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from demo.namespaces import Namespace

pytestmark = pytest.mark.kernel

AGAIN = Path("/proc/sys/net/mptcp/add_addr_timeout")
"""Seconds until an address is announced again that nobody said to have heard; usually two minutes."""
POLICY = compile_policy(rules(allow=f"any://{V4.peer}\nany://[{V6.peer}]", more="mode: enforce\n"))


@pytest.fixture
def lab(network: Network) -> Iterator[Lab]:
    """One whose peer announces `evil`, until it is heard, and whose build side takes announcements."""
    with Lab() as lab:
        for side in (lab.build, lab.peer):
            mptcp(side, "limits", "set", "subflows", "4", "add_addr_accepted", "4")
        lab.peer.call(AGAIN.write_text, "1").result()
        mptcp(lab.peer, "endpoint", "add", network.evil, "dev", "peer0", "signal")
        yield lab


def mptcp(side: Namespace, *words: str) -> None:
    side.call(subprocess.run, ["ip", "mptcp", *words], check=True).result()


def counted(side: Namespace) -> Counter[str]:
    """What the kernel counted there."""
    return parse_netstat(side.call(Path("/proc/thread-self/net/netstat").read_text).result())


def multipath(side: Namespace) -> dict[str, int]:
    """What the kernel counted of MPTCP."""
    return {name: n for name, n in counted(side).items() if n and name.startswith("MPTcpExt")}


def speak(job: Agent, lab: Lab, network: Network) -> None:
    """Have the job connect to the peer, and wait until it is told of the other address."""
    family = "AF_INET" if network is V4 else "AF_INET6"
    say = ("s.sendall(b'hello')", "assert s.recv(5)")
    connect = f"s.connect(('{network.peer}', {MPTCP_PORT}))"
    assert job.do(f"s = socket.socket(socket.{family}, socket.SOCK_STREAM, 262)", connect, *say) == "ok"
    wait_for(lambda: counted(lab.build)["MPTcpExtAddAddr"] >= 1)  # it may be said again


@pytest.mark.alone
@NETWORKS
def test_without_a_policy_the_kernel_goes_where_the_peer_says(
    lab: Lab, kernel: KernelSide, network: Network
) -> None:
    with lab.watch() as watch, agent(kernel, lab, None) as job:
        speak(job, lab, network)
        try:
            wait_for(lambda: counted(lab.peer)["MPTcpExtMPJoinAckRx"] >= 1)
        except AssertionError as error:
            error.add_note(f"{multipath(lab.build)} {multipath(lab.peer)}")
            raise
    assert watch.arrivals.packets_to(network.evil) > 0


@NETWORKS
def test_under_a_policy_it_does_not_and_the_connection_goes_on(
    lab: Lab, kernel: KernelSide, network: Network
) -> None:
    with lab.watch() as watch, agent(kernel, lab, POLICY) as job:
        speak(job, lab, network)
        assert job.do("s.sendall(b'again')", "assert s.recv(5)") == "ok"
    assert watch.arrivals.packets_to(network.evil) == 0
    assert watch.arrivals.kernel["MPTcpExtMPCapableACKRX"] == 1
