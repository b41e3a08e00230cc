"""Servers of the lab's far side: TCP that echoes, datagrams that are counted, packets that are counted."""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .arrivals import MPTCP, TCP, UDP, UDPLITE, Arrivals, Endpoint, parse_packet

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

QUIET_S = 0.03
"""Counts are final when nothing has come for so long."""
QUIET_LIMIT_S = 60.0

_BACKLOG = 4096
_CHUNK_BYTES = 65536
_HEADERS_BYTES = 128
_PACKET_BUFFER_BYTES = 64 << 20
_TURN = 256
"""Calls on one socket before the others get their turn."""

_ETH_P_ALL = 3
_SO_RCVBUFFORCE = 33
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING = 263, 6, 23


class Servers:
    """One thread that serves sockets of another network namespace than its own.

    Make it in a thread of that namespace: a socket stays where it was made.
    """

    def __init__(self, *, endpoints: list[Endpoint], mptcp: list[Endpoint], interface: str) -> None:
        """Listen, for TCP, UDP and, where there is that, UDP-Lite at `endpoints`, and for MPTCP at `mptcp`.

        Raises OSError when the kernel has no such protocol.
        """
        self._counts = Arrivals()
        self._selector = selectors.DefaultSelector()
        self._open: set[socket.socket] = set()
        self._quiet = threading.Event()
        self._ending = False
        with ExitStack() as failed:
            failed.callback(self._close)
            for endpoint in endpoints:
                self._serve(listener(endpoint, TCP), self._accept)
                self._serve(sink(endpoint, UDP), self._count_datagram)
                if has_udplite():
                    self._serve(sink(endpoint, UDPLITE), self._count_datagram)
            for endpoint in mptcp:
                self._serve(listener(endpoint, MPTCP), self._accept)
            self._wire = packet_socket(interface)
            self._serve(self._wire, self._count_packet)
            failed.pop_all()
        self._thread = threading.Thread(target=self._run, name="lab-servers")

    def __enter__(self) -> Self:
        """Start to serve."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving and close every socket."""
        self._ending = True
        self._thread.join()
        self._close()

    def _close(self) -> None:
        for served in list(self._open):
            self._drop(served)
        self._selector.close()

    def settled(self) -> Arrivals:
        """Wait until nothing has come for `QUIET_S`; return the counts, a live object, to be copied.

        Raises TimeoutError when it doesn't become quiet.
        """
        _await_backlog()
        for _ in range(2):  # the turn under way began before we asked
            self._quiet.clear()
            if not self._quiet.wait(QUIET_LIMIT_S):
                raise TimeoutError(f"the peer is still busy after {QUIET_LIMIT_S:.0f} s")
        return self._counts

    def lost(self) -> int:
        """How many packets, since the last time, arrived faster than they could be counted."""
        _, lost = struct.unpack("2I", self._wire.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        return int(lost)

    def _serve(self, served: socket.socket, handle: Callable[[socket.socket], None]) -> None:
        self._open.add(served)
        self._selector.register(served, selectors.EVENT_READ, handle)

    def _drop(self, served: socket.socket) -> None:
        self._open.discard(served)
        self._selector.unregister(served)
        served.close()

    def _run(self) -> None:
        while not self._ending:
            ready = self._selector.select(timeout=QUIET_S)
            for key, _ in ready:
                self._take_turn(key.data, key.fileobj)
            if not ready:
                self._quiet.set()

    @staticmethod
    def _take_turn(handle: Callable[[object], None], served: object) -> None:
        with suppress(BlockingIOError):
            for _ in range(_TURN):
                handle(served)

    def _accept(self, listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.setblocking(False)
        self._counts.accepted[local_end(connection)] += 1
        self._serve(connection, self._echo)

    def _echo(self, connection: socket.socket) -> None:
        """Send back what came, as far as it fits into the buffer; a connection that is over ends its turn."""
        data = receive(connection)
        if not data:
            self._drop(connection)
            raise BlockingIOError
        self._counts.stream_bytes[local_end(connection)] += len(data)
        with suppress(ConnectionError, BlockingIOError):
            connection.send(data)

    def _count_datagram(self, receiving: socket.socket) -> None:
        data = receiving.recv(_CHUNK_BYTES)
        self._counts.datagrams[local_end(receiving)] += 1
        self._counts.datagram_bytes[local_end(receiving)] += len(data)

    def _count_packet(self, wire: socket.socket) -> None:
        packet = parse_packet(wire.recv(_HEADERS_BYTES))
        if packet:
            self._counts.packets[packet] += 1


def _await_backlog() -> None:
    """Wait until each processor has taken in what was on its way until now, which may take it a while.

    A veth's packets are queued where they are sent. Raises TimeoutError.
    """
    deadline_s = time.monotonic() + QUIET_LIMIT_S
    busy = _backlogs()
    while busy:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"processors {sorted(busy)} still have packets after {QUIET_LIMIT_S:.0f} s")
        time.sleep(0.001)
        busy &= _backlogs()


def _backlogs() -> set[int]:
    """Processors with packets that wait to be taken in."""
    lines = Path("/proc/net/softnet_stat").read_text().splitlines()
    fields = ([int(field, 16) for field in line.split()[11:13]] for line in lines)
    return {processor for waiting, processor in fields if waiting}


def local_end(connection: socket.socket) -> Endpoint:
    """Return where the other side sent to."""
    return Endpoint(*connection.getsockname()[:2])


def receive(connection: socket.socket) -> bytes:
    """Read some; nothing when the other side closed or reset. Raises BlockingIOError while none is there."""
    with suppress(ConnectionError):
        return connection.recv(_CHUNK_BYTES)
    return b""


def family_of(address: str) -> socket.AddressFamily:
    """Tell IPv6 text from IPv4."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listener(endpoint: Endpoint, protocol: int) -> socket.socket:
    """Listen for connections; TCP also takes data in the SYN (Fast Open)."""
    listening = bound(endpoint, socket.SOCK_STREAM, protocol)
    if protocol == TCP:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, _BACKLOG)
    listening.listen(_BACKLOG)
    return listening


def sink(endpoint: Endpoint, protocol: int) -> socket.socket:
    """Take datagrams, with room for a burst."""
    receiving = bound(endpoint, socket.SOCK_DGRAM, protocol)
    receiving.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _PACKET_BUFFER_BYTES)
    return receiving


def has_udplite() -> bool:
    """Whether the kernel has it: Linux 7.3 has no more."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM, UDPLITE).close()
    except OSError as error:
        if error.errno == errno.EPROTONOSUPPORT:
            return False
        raise
    return True


def bound(endpoint: Endpoint, kind: socket.SocketKind, protocol: int) -> socket.socket:
    """Open a non-blocking socket at an address of this namespace."""
    opened = socket.socket(family_of(endpoint.address), kind | socket.SOCK_NONBLOCK, protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind(endpoint)
    return opened


def packet_socket(interface: str) -> socket.socket:
    """Read every packet that comes in at the interface, from its IP header on."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ALL))
    wire.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    wire.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _PACKET_BUFFER_BYTES)
    wire.bind((interface, _ETH_P_ALL))
    return wire
