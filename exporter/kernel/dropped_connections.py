"""Abort connections whose packets a policy refuses: TCP keeps their data, and sends it when nothing drops it.

Attached programs drop the data at each try, so these connections are aborted before the programs are
detached. The programs mark them (bpf/kept.bpf.c), and the kernel reports which sockets have the mark.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Container, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from exporter.common.text import counted
from exporter.events import wire
from exporter.kernel.bpf import U32, Map
from exporter.kernel.frames.network_namespaces import everywhere, inside
from exporter.kernel.maps.inheritance import total
from exporter.kernel.maps.modes import all_modes
from exporter.kernel.netlink import ACK, DUMP, answers, attribute, attributes

MAPS = ("kept_back", "without_mark", "modes", "refused_to_the_end", "counters")

_TCP = 6
# include/uapi/linux/sock_diag.h, inet_diag.h
_SOCK_DIAG, _BY_FAMILY, _DESTROY = 4, 20, 21
_ASKED = struct.Struct("=BBBxI48s")
"""struct inet_diag_req_v2; the id of the socket is its last member."""
_FOUND = struct.Struct("=BBBB48sIIIII")
"""struct inet_diag_msg."""
_COOKIE = slice(40, 48)
"""The socket's cookie in its id."""
_STORAGES_OF, _MAP = 2, 1
_STORAGES, _STORAGE, _VALUE = 20, 1, 3
"""Types of nested attributes: a request has two, to ask for the values in a map; an answer has three."""
_STATES = 0xFFFFFFFF & ~(1 << 10)  # all but TCP_LISTEN


class NotAborted(NamedTuple):
    """The connections and networks that `abort` couldn't deal with."""

    connections: int = 0
    """The number of marked connections that the kernel didn't abort, as without CONFIG_INET_DIAG_DESTROY."""
    networks: int = 0
    """The number of network namespaces where the marked connections couldn't be found."""
    packets: int = 0
    """The number of dropped packets for whose connection there was no room, neither for a mark nor for its
    cookie."""

    def lines(self) -> Iterator[str]:
        """Yield lines about connections that may send dropped data again, now that no program drops it."""
        if self.connections:
            it = "it" if self.connections == 1 else "they"
            found = counted(self.connections, "connection")
            yield f"{found} couldn't be aborted: from now on {it} may send what the policy dropped"
        if self.networks:
            found = counted(self.networks, "network")
            yield f"{found} couldn't be looked into: connections there may send what the policy dropped"
        if self.packets:
            found = counted(self.packets, "dropped packet")
            yield f"{found} may be sent from now on: there was no room to note the connection"


def abort(
    kept_back: Map, without_mark: Map, modes: Map, refused_to_the_end: Map, counters: Map
) -> NotAborted:
    """Abort the marked connections in each network namespace that a process is in, or that is mounted.

    Costs nothing where no connection was marked. Raises OSError where the maps can't be read.
    """
    connections = networks = 0
    if total(counters, wire.KIND_FLOW, wire.COUNT_KEPT_BACK):
        refusing = {scope for scope, mode in all_modes(modes) if mode.is_enforcing and mode.refuses_lookups}
        refusing.update(U32.unpack(scope)[0] for scope, _ in refused_to_the_end.items())
        cookies = frozenset(cookie for cookie, _ in without_mark.items())
        marks = _Marks(kept_back.fileno(), refusing, cookies)
        for namespace in everywhere():
            if namespace is None:
                networks += 1
                continue
            try:
                connections += inside(namespace, partial(_abort_here, marks))
            except OSError:
                networks += 1
    return NotAborted(connections, networks, total(counters, wire.KIND_FLOW, wire.COUNT_UNTRACKED))


class _Marks(NamedTuple):
    kept_back: int
    """The descriptor of the map that has the marks."""
    refusing: Container[int]
    """The scopes whose enforced policies refuse lookups, or did so until no policy held the scope."""
    without_mark: Container[bytes]
    """The cookies of the sockets that had no room for a mark."""

    def mean(self, connection: bytes, found: Mapping[int, bytes]) -> bool:
        """Whether a connection is to be aborted, by its struct inet_diag_sockid and its attributes."""
        if connection[_COOKIE] in self.without_mark:
            return True
        storage = attributes(attributes(found.get(_STORAGES, b"")).get(_STORAGE, b""))
        if _VALUE not in storage:
            return False
        mark = wire.MarkValue.unpack(storage[_VALUE][: wire.MARK_VALUE.size])
        return bool(mark.is_dropped) or mark.scope in self.refusing


def _abort_here(marks: _Marks) -> int:
    """Abort the marked connections of this thread's namespace; return how many are left. Raises OSError."""
    left = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as asking:
        for family in (socket.AF_INET, socket.AF_INET6):
            for connection in list(_marked(asking, family, marks)):
                left += not _is_aborted(asking, family, connection)
    return left


def _marked(asking: socket.socket, family: int, marks: _Marks) -> Iterator[bytes]:
    """Yield the marked connections, each as struct inet_diag_sockid. Raises OSError."""
    about = attribute(_STORAGES_OF, attribute(_MAP, U32.pack(marks.kept_back)))
    for answer in _answers(asking, _BY_FAMILY, DUMP, family, bytes(48), about):
        connection = _FOUND.unpack_from(answer)[4]
        if marks.mean(connection, attributes(answer[_FOUND.size :])):
            yield connection


def _is_aborted(asking: socket.socket, family: int, connection: bytes) -> bool:
    """Abort a connection; return whether it is gone."""
    try:
        for _ in _answers(asking, _DESTROY, ACK, family, connection):
            pass
    except OSError as error:
        return error.errno == errno.ENOENT
    return True


def _answers(  # noqa: PLR0913, PLR0917 - a request has that much
    asking: socket.socket, kind: int, flags: int, family: int, connection: bytes, about: bytes = b""
) -> Iterator[bytes]:
    """Ask about sockets of TCP, and yield the answers without their headers. Raises OSError."""
    body = _ASKED.pack(family, _TCP, 0, _STATES, connection) + about
    return answers(asking, kind, flags, body)
