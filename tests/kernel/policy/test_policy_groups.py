"""Joining a multicast group is sending its address to the network: the policy is asked for it."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.common.net.addresses import address
from exporter.events.facts import Act, Acted, Verdict
from exporter.policy.compile import Compiled, compile_policy
from tests.kernel.agents import acts, agent
from tests.kernel.kernel_side import KernelSide, kernel_side
from tests.kernel.lab import NETWORKS, V4, V6, Lab, Network
from tests.unit.policy.files import rules

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
GROUPS = {V4: "239.171.205.239", V6: "ff05::5ec:2e7:5ec:2e7"}
"""As a job would choose them: 28 and 112 bits of what it knows."""

REPORTED = {V4: 2, V6: 58}
LO = 1


@pytest.fixture
def lab() -> Iterator[Lab]:
    """One for each test: that a group was left is reported later."""
    with Lab() as lab:
        lab.build.configure_links("route add 224.0.0.0/4 dev build0")
        yield lab


def policy(allow: str = "198.51.100.77", mode: str = "enforce") -> Compiled:
    return compile_policy(rules(allow=allow, more=f"mode: {mode}\n"))


def group_request(group: str, interface: int = 0) -> bytes:
    """`struct group_req`."""
    if ":" in group:
        named = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, group), 0)
    else:
        named = struct.pack("=HH4s", socket.AF_INET, 0, socket.inet_aton(group))
    return struct.pack("=II128s", interface, 0, named)


def join(level: int, option: int, value: bytes, *, family: Network, kind: str = "SOCK_DGRAM") -> list[str]:
    """Lines that do."""
    made = f"s = socket.socket(socket.{'AF_INET' if family is V4 else 'AF_INET6'}, socket.{kind})"
    return [made, f"s.setsockopt({level}, {option}, bytes.fromhex('{value.hex()}'))"]


def joins(network: Network, interface: int = 0) -> list[list[str]]:
    """All ways to."""
    group = GROUPS[network]
    packed = socket.inet_pton(socket.AF_INET if network is V4 else socket.AF_INET6, group)
    level = socket.SOL_IP if network is V4 else socket.IPPROTO_IPV6
    any_source, one_source = group_request(group, interface), group_request(network.peer)[8:]
    ways = [(42, any_source), (46, any_source + one_source)]
    if network is V6:
        ways += [(20, packed + struct.pack("=I", interface))]
    else:
        by_address = socket.inet_aton("127.0.0.1") if interface == LO else bytes(4)
        ways += [
            (35, packed + by_address),
            (35, packed + bytes(4) + struct.pack("=I", interface)),
            (35, packed + by_address + b"\x01"),
            (39, packed + by_address + socket.inet_aton(network.peer)),
        ]
    return [join(level, option, value, family=network) for option, value in ways]


def joined(lab: Lab, network: Network) -> str:
    """The groups that the build side is in, as the kernel tells it."""
    file = "igmp" if network is V4 else "igmp6"
    return lab.build.call(Path(f"/proc/thread-self/net/{file}").read_text).result().lower()


def in_the_kernels_words(network: Network) -> str:
    if network is V4:
        return socket.inet_aton(GROUPS[V4])[::-1].hex()
    return socket.inet_pton(socket.AF_INET6, GROUPS[V6]).hex()


@NETWORKS
def test_without_a_policy_every_way_joins(lab: Lab, kernel: KernelSide, network: Network) -> None:
    with agent(kernel, lab, None, under=USER) as job:
        for lines in joins(network):
            assert job.do(*lines) == "ok", lines
            assert in_the_kernels_words(network) in joined(lab, network)


@NETWORKS
def test_a_group_that_no_rule_allows_is_not_joined(lab: Lab, kernel: KernelSide, network: Network) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy(), under=USER) as job:
        for lines in joins(network):
            assert job.do(*lines) == "EPERM", lines
            assert in_the_kernels_words(network) not in joined(lab, network)
        told = [event for event in acts(kernel.drain(), job.process) if isinstance(event, Acted)]
    assert watch.arrivals.packets == {}
    assert {(e.act, e.verdict, e.protocol, address(e.peer).text, e.peer_port) for e in told} == {
        (Act.SEND, Verdict.DENY, REPORTED[network], GROUPS[network], 0)
    }
    assert len(told) == len(joins(network))


def test_a_stream_or_a_socket_of_ipv6_is_no_way_around(lab: Lab, kernel: KernelSide) -> None:
    """Both versions' options are there for both, and for TCP."""
    packed = socket.inet_aton(GROUPS[V4]) + bytes(8)
    with lab.watch() as watch, agent(kernel, lab, policy(), under=USER) as job:
        assert job.do(*join(socket.SOL_IP, 35, packed, family=V6)) == "EPERM"
        assert job.do(*join(socket.SOL_IP, 35, packed, family=V4, kind="SOCK_STREAM")) == "EPERM"
    assert watch.arrivals.packets == {}


@NETWORKS
def test_a_group_that_a_rule_allows_is(lab: Lab, kernel: KernelSide, network: Network) -> None:
    group = GROUPS[network]
    allow = f"any://{group}" if network is V4 else f"any://[{group}]"
    with agent(kernel, lab, policy(allow)) as job:
        for lines in joins(network):
            assert job.do(*lines) == "ok", lines


SWAPPED = """
import ctypes, mmap, signal

def elsewhere(group, tries, length):
    far = group + bytes(4) + socket.if_nametoindex("build0").to_bytes(4, "little")
    near = group + bytes(4) + (1).to_bytes(4, "little")
    memory, libc, joined = mmap.mmap(-1, 8192), ctypes.CDLL(None), 0
    child = os.fork()
    while not child:
        memory[:12] = near
        memory[:12] = far
    at = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(tries):
        libc.setsockopt(own.fileno(), 0, 35, at, length)
        for value in (far, near):
            try:
                own.setsockopt(0, 36, value)
            except OSError:
                continue
            joined += value == far
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return joined
"""
"""How often a group was joined by an interface while another process swaps that for `lo`, and back."""


@pytest.mark.parametrize("length", [12, 5000], ids=["whole", "beyond-the-copy"])
def test_what_is_judged_is_what_the_kernel_takes(lab: Lab, kernel: KernelSide, length: int) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy(), under=USER) as job:
        assert job.do(f"exec({SWAPPED!r})") == "ok"
        assert job.value(f"elsewhere({socket.inet_aton(GROUPS[V4])!r}, 20000, {length})") == "0"
    assert watch.arrivals.packets == {}


@NETWORKS
def test_another_instance_before_this_one_changes_nothing(lab: Lab, network: Network) -> None:
    """Its program sees each value first, and knows no such job."""
    with (
        kernel_side() as other,
        agent(other, lab, policy()),
        kernel_side() as kernel,
        lab.watch() as watch,
        agent(kernel, lab, policy(), under=USER) as job,
    ):
        for lines in joins(network):
            assert job.do(*lines) == "EPERM", lines
        assert job.do(f"exec({SWAPPED!r})") == "ok"
        assert job.value(f"elsewhere({socket.inet_aton(GROUPS[V4])!r}, 20000, 12)") == "0"
    assert watch.arrivals.packets == {}


@NETWORKS
def test_by_lo_nothing_is_reported_and_so_every_group_may_be_joined(
    lab: Lab, kernel: KernelSide, network: Network
) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy()) as job:
        for lines in joins(network, LO):
            assert job.do(*lines) == "ok", lines
    assert watch.arrivals.packets == {}


@NETWORKS
def test_in_mode_audit_every_group_may_be_joined(lab: Lab, kernel: KernelSide, network: Network) -> None:
    with agent(kernel, lab, policy(mode="audit")) as job:
        for lines in joins(network):
            assert job.do(*lines) == "ok", lines
