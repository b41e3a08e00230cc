"""Options set by 32-bit system calls, past the hook for options: what they bring about is decided.

The kernel calls no program there (`in_compat_syscall` in net/socket.c), since a value may be laid out
otherwise.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import pytest

from exporter.policy.compile import Compiled, compile_policy
from tests.kernel.agents import agent
from tests.kernel.kernel_side import KernelSide
from tests.kernel.lab import NETWORKS, PORT, V6, Lab, Network
from tests.kernel.routes import OPTIONS, look_anew, route, set_route
from tests.unit.policy.files import rules

if TYPE_CHECKING:
    pass

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have other such calls"),
]

USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
CODE = bytes.fromhex("53 89fb 4189c9 89f1 4489ce 4489c7 b86e010000 cd80 5b c3")
"""push rbx; mov ebx, edi; mov r9d, ecx; mov ecx, esi; mov esi, r9d; mov edi, r8d; mov eax, 366 (setsockopt);
int 0x80; pop rbx; ret."""
PREPARED = (
    "import mmap",
    "low = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40, prot=7)",
    "at = ctypes.addressof(ctypes.c_char.from_buffer(low))",
    f"low[:{len(CODE)}] = {CODE!r}",
    "call = ctypes.CFUNCTYPE(ctypes.c_int, *5 * [ctypes.c_uint])(at)",
)
"""The code and the value in the first 2 GiB (MAP_32BIT), where such calls find them."""


def enforced(*allow: str) -> Compiled:
    return compile_policy(rules(allow="\n".join(allow), more="mode: enforce\n"))


def any_of(address: str) -> str:
    return f"any://[{address}]" if ":" in address else f"any://{address}"


def set_by_32_bits(end: str, level: int, option: int, value: str) -> list[str]:
    return [
        f"value = {value}",
        "low[1024 : 1024 + len(value)] = value",
        f"assert call({end}.fileno(), {level}, {option}, at + 1024, len(value)) == 0",
    ]


def under(network: Network) -> tuple[str, ...]:
    """Over IPv6 any user can set a route."""
    return USER if network is V6 else ()


@NETWORKS
def test_a_route_that_passed_the_hook_is_decided_packet_by_packet(
    lab: Lab, kernel: KernelSide, network: Network
) -> None:
    """Of a connection that is open, one that is opened, and a datagram."""
    family = "AF_INET6" if network is V6 else "AF_INET"
    to = f"('{network.peer}', {PORT})"
    with (
        lab.watch() as watch,
        agent(kernel, lab, enforced(any_of(network.peer)), under=under(network)) as job,
    ):
        made = (
            f"u = socket.socket(socket.{family}, socket.SOCK_DGRAM)",
            f"s = socket.socket(socket.{family})",
            "s.setblocking(False)",
            f"o = socket.create_connection({to})",
            "o.sendall(b'hello')",
            "assert o.recv(5)",
        )
        assert job.do(*made, *PREPARED, set_route("u", network, network.peer)) == "EPERM", "by the hook"
        for end in "uso":
            assert job.do(*set_by_32_bits(end, *OPTIONS[network], route(network, network.peer))) == "ok"
        assert job.do(f"u.sendto(b'secret', {to})") == "EPERM"
        assert job.do(f"s.connect({to})") == "EINPROGRESS", "of a SYN that is dropped TCP tells nobody"
        assert job.do(look_anew("o", network), "o.sendall(b'secret')", "o.close()", "s.close()") == "ok"
    assert watch.arrivals.packets_to(network.evil) == 0
    assert watch.arrivals.stream_bytes.total() == 5


@NETWORKS
def test_where_its_hops_are_allowed_it_works(lab: Lab, kernel: KernelSide, network: Network) -> None:
    """So it is the route that was decided."""
    family = "AF_INET6" if network is V6 else "AF_INET"
    policy = enforced(any_of(network.peer), any_of(network.evil))
    with lab.watch() as watch, agent(kernel, lab, policy, under=under(network)) as job:
        made = f"u = socket.socket(socket.{family}, socket.SOCK_DGRAM)"
        option = set_by_32_bits("u", *OPTIONS[network], route(network, network.peer))
        assert job.do(made, *PREPARED, *option, f"u.sendto(b'x', ('{network.peer}', {PORT}))") == "ok"
    assert watch.arrivals.packets_to(network.evil) == 1
