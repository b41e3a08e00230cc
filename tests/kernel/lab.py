"""A network of two namespaces: programs run on the build side, what they send is counted at the peer."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import pytest

from demo.namespaces import Namespace

from .arrivals import Arrivals, Endpoint
from .servers import Servers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

PORT = 7000
"""TCP (echo), UDP and UDP-Lite, at `peer` and `evil`."""
MPTCP_PORT = 7001
CLOSED_PORT = 7009
RUN_LIMIT_S = 120.0

HOSTILE_ARGUMENTS = (
    b"\xff\xfe\x80",
    b"two\nlines",
    b"\x1b[31mred\x1b[0m",
    b"",
    b"<script>x</script>",
    b"|`md`|",
    b"\xed\xa0\x80",
    b"\xe2\x80\xaertl",
)
"""What `lineage argv-bytes` appends."""

_BUILD_INTERFACE, _PEER_INTERFACE = "build0", "peer0"
_BUILD_MAC, _PEER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
_FAST_OPEN = 0x1 | 0x2 | 0x4 | 0x200
"""Client and server, both without a cookie: even the first SYN carries data."""


class Network(NamedTuple):
    """The lab's addresses of one IP version."""

    build: str
    peer: str
    evil: str
    """The peer's other address, with the same servers."""
    blackhole: str
    """Swallows what it gets: a connect times out after 3 s."""
    unreachable: str
    """The peer answers with an ICMP error."""
    no_route: str
    """The build side has no route: nothing is sent."""


V4 = Network(
    build="192.0.2.1",
    peer="192.0.2.2",
    evil="192.0.2.3",
    blackhole="198.51.100.1",
    unreachable="198.51.100.2",
    no_route="203.0.113.1",
)
V6 = Network(
    build="2001:db8::1",
    peer="2001:db8::2",
    evil="2001:db8::3",
    blackhole="2001:db8:b::1",
    unreachable="2001:db8:b::2",
    no_route="2001:db8:f::1",
)
RESOLVER = "192.0.2.53"
"""An address of the peer's that is nobody else's, for tests that have a resolver there."""

NETWORKS = pytest.mark.parametrize("network", [V4, V6], ids=["ipv4", "ipv6"])
"""A test for each IP version."""

_BUILD_SETTINGS = {
    "net/ipv4/tcp_fastopen": _FAST_OPEN,
    "net/ipv4/tcp_syn_retries": 1,
    "net/ipv4/tcp_tw_reuse": 1,
    "net/ipv4/ping_group_range": "0 2147483647",
    "net/ipv4/ip_local_port_range": "10000 65535",
}
if Path("/proc/sys/net/ipv4/tcp_syn_linear_timeouts").exists():  # since Linux 6.5
    _BUILD_SETTINGS["net/ipv4/tcp_syn_linear_timeouts"] = 0
_PEER_SETTINGS = {
    "net/ipv4/tcp_fastopen": _FAST_OPEN,
    "net/ipv4/ip_forward": 1,
    "net/ipv6/conf/all/forwarding": 1,
    "net/ipv4/icmp_ratelimit": 0,
    "net/ipv6/icmp/ratelimit": 0,
}


@dataclass
class Watch:
    """What came in meanwhile; filled in when the `with` block ends."""

    arrivals: Arrivals = field(default_factory=Arrivals)


class Lab:
    """Two namespaces joined by veth, with servers on the far side."""

    def __enter__(self) -> Self:
        """Build it, in about a tenth of a second."""
        with ExitStack() as stack:
            self.build = stack.enter_context(Namespace())
            self.peer = stack.enter_context(Namespace())
            _join(self.build, self.peer)
            self._servers = stack.enter_context(self.peer.call(_make_servers).result())
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing behind."""
        self._stack.close()

    def command(self, command: Sequence[str | bytes]) -> list[str | bytes]:
        """COMMAND run on the build side."""
        return self.build.command(command)

    def run(
        self, command: Sequence[str | bytes], *, timeout_s: float = RUN_LIMIT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run COMMAND on the build side to its end, whatever its exit status."""
        return subprocess.run(
            self.command(command),
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=timeout_s,
            check=False,
        )

    @contextmanager
    def without_option_memory(self) -> Iterator[None]:
        """Leave sockets of the build side no memory besides their data, as if options had filled it."""
        limit = Path("/proc/sys/net/core/optmem_max")
        before = self.build.call(limit.read_text).result()
        self.build.call(limit.write_text, "0").result()
        try:
            yield
        finally:
            self.build.call(limit.write_text, before).result()

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """Count what arrives at the peer during the block and in the moment after it.

        Raises TimeoutError when it doesn't become quiet, RuntimeError when packets went uncounted.
        """
        before = self._count()
        self._servers.lost()  # before that nobody watched
        watch = Watch()
        yield watch
        watch.arrivals = self._count().since(before)
        if lost := self._servers.lost():
            raise RuntimeError(f"{lost} packets arrived faster than they could be counted")

    def _count(self) -> Arrivals:
        counts = self._servers.settled()
        return counts.with_kernel(self.peer.call(Path("/proc/thread-self/net/netstat").read_text).result())


def _join(build: Namespace, peer: Namespace) -> None:
    build.configure(_BUILD_SETTINGS)
    peer.configure(_PEER_SETTINGS)
    build.configure_links(
        f"link add {_BUILD_INTERFACE} address {_BUILD_MAC} type veth"
        f" peer name {_PEER_INTERFACE} address {_PEER_MAC} netns {peer.path}",
        *_link_up(_BUILD_INTERFACE, V4.build, V6.build),
    )
    peer.configure_links(
        *_link_up(_PEER_INTERFACE, V4.peer, V4.evil, RESOLVER, V6.peer, V6.evil),
        *(f"route add blackhole {network.blackhole}" for network in (V4, V6)),
        *(f"route add unreachable {network.unreachable}" for network in (V4, V6)),
    )
    build.configure_links(
        *(
            f"route add {address} via {network.peer}"
            for network in (V4, V6)
            for address in (network.blackhole, network.unreachable)
        ),
        *_neighbours(_BUILD_INTERFACE, _PEER_MAC, V4.peer, V4.evil, RESOLVER, V6.peer, V6.evil),
    )
    peer.configure_links(*_neighbours(_PEER_INTERFACE, _BUILD_MAC, V4.build, V6.build))


def _neighbours(interface: str, mac: str, *addresses: str) -> Iterator[str]:
    """Known beforehand: for a second after its making, an interface's questions for them get lost."""
    for address in addresses:
        yield f"neigh add {address} lladdr {mac} dev {interface} nud permanent"


def _link_up(interface: str, *addresses: str) -> Iterator[str]:
    yield "link set lo up"
    for address in addresses:
        yield f"addr add {address}{'/64 nodad' if ':' in address else '/24'} dev {interface}"
    yield f"link set {interface} up"


def _make_servers() -> Servers:
    addresses = [address for network in (V4, V6) for address in (network.peer, network.evil)]
    return Servers(
        endpoints=[Endpoint(address, PORT) for address in addresses],
        mptcp=[Endpoint(address, MPTCP_PORT) for address in addresses],
        interface=_PEER_INTERFACE,
    )
