"""Packet sockets of a job, and where their frames get to."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from exporter.events.facts import Tampered, Tampering
from exporter.policy.compile import Compiled, compile_policy
from tests.kernel.kernel_side import KernelSide, kernel_side
from tests.kernel.lab import PORT, V4, V6, Lab, Network
from tests.kernel.security_hooks import answering
from tests.unit.policy.files import rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


ENFORCED = "mode: enforce\n"
ALLOWED = f"udp://{V4.peer}:{PORT}"
PACKET_SOCKET = ("p = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "p.bind(('build0', 0))")
BYPASS = "p.setsockopt(263, 20, 1)"
"""PACKET_QDISC_BYPASS."""
OWN_NAMESPACE = (
    "from concurrent.futures import ThreadPoolExecutor",
    "t = ThreadPoolExecutor(1)",
    "t.submit(ctypes.CDLL(None).unshare, 0x40000000).result()",
    "p = t.submit(socket.socket, socket.AF_PACKET, socket.SOCK_RAW).result()",
)
"""A thread in a network namespace that its process isn't in, and its packet socket."""
MARK = b"\x02\0\0\0\0\2\x02\0\0\0\0\1\x88\xb5" + b"marked" * 8
"""A frame of a kind for experiments (IEEE 802), to be found again."""


FOR_A_MOMENT = (
    "home = os.open('/proc/thread-self/ns/net', os.O_RDONLY)",
    "ctypes.CDLL(None).setns(n, 0)",
    PACKET_SOCKET[0],
    "ctypes.CDLL(None).setns(home, 0)",
)
"""A packet socket in the network namespace that `n` is a descriptor of, in which nobody stays."""


@contextmanager
def interfaces_alone() -> Iterator[KernelSide]:
    """As on kernels without security hooks: frames are stopped at interfaces alone."""
    with answering(), kernel_side() as side:
        yield side


@pytest.fixture
def kernel() -> Iterator[KernelSide]:
    with interfaces_alone() as side:
        yield side


def policy(more: str = ENFORCED) -> Compiled:
    return compile_policy(rules(allow=ALLOWED, more=more))


def frame(network: Network, to: str) -> bytes:
    """UDP in an Ethernet frame."""
    ends = [
        socket.inet_pton(socket.AF_INET6 if network is V6 else socket.AF_INET, a) for a in (network.build, to)
    ]
    udp = (7).to_bytes(2, "big") + PORT.to_bytes(2, "big") + (8).to_bytes(2, "big") + bytes(2)
    if network is V6:
        packet = b"\x60\0\0\0\0\x08\x11\x40" + b"".join(ends) + udp
        return MARK[:12] + b"\x86\xdd" + packet
    return MARK[:12] + b"\x08\0" + b"\x45\0\0\x1c\0\0\0\0\x40\x11\0\0" + b"".join(ends) + udp


def send(data: bytes, name: str = "p") -> str:
    """A line that sends a frame."""
    return f"{name}.send({data!r})"


def gaps(told: Sequence[Tampered]) -> list[tuple[Tampering, int]]:
    return [(event.what, event.detail) for event in told]


def look(kernel: KernelSide) -> list[tuple[Tampering, int]]:
    """A look, as is due each second; what it tells."""
    kernel.tracer.frames.look()
    return gaps(kernel.tracer.frames.turn())


def send_as_the_host(data: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sending:
        sending.bind(("build0", 0))
        sending.setsockopt(263, 20, 1)
        sending.send(data)


@contextmanager
def cable(lab: Lab) -> Iterator[socket.socket]:
    """A veth within the build side, `near` to `far`; a socket that gets what arrives at its far end."""
    lab.build.configure_links("link add near type veth peer name far", "link set near up", "link set far up")
    try:
        with lab.build.call(_receiver, "far").result() as receiving:
            yield receiving
    finally:
        with suppress(subprocess.CalledProcessError):
            lab.build.configure_links("link del far")


def _receiver(interface: str) -> socket.socket:
    receiving = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(0x88B5))
    receiving.bind((interface, 0x88B5))
    return receiving


def arrived(receiving: socket.socket) -> int:
    """How many marked frames have; over veth they are there when the sender's call returns."""
    number = 0
    with suppress(BlockingIOError):
        while True:
            number += receiving.recv(2048).startswith(MARK)
    return number


def through(name: str) -> str:
    return PACKET_SOCKET[1].replace("build0", name)
