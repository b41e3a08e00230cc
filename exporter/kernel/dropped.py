"""Aborting connections on which a policy dropped a question: TCP keeps what was dropped, and sends it again.

While the programs are attached they drop it each time. What is done here comes before they are detached.
Nobody is told where it can't be done: in a namespace that can't be entered, without CONFIG_INET_DIAG_DESTROY.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from exporter.events import RULE_OF_LOOKUPS, Acted, Aggregated, Verdict
from exporter.kernel.networks import everywhere, inside

KNOWN_MAX = 4096
"""The most sockets that are known each. Of further ones, those are aborted that no process holds any more."""

_TCP, _PORT = 6, 53
# include/uapi/linux/netlink.h, sock_diag.h, inet_diag.h
_SOCK_DIAG, _BY_FAMILY, _DESTROY = 4, 20, 21
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_ASKED = struct.Struct("=BBBxI48s")
"""struct inet_diag_req_v2; the id of the socket stands last."""
_FOUND = struct.Struct("=BBBB48sIIIII")
"""struct inet_diag_msg."""
_PORTS, _COOKIE = struct.Struct("!HH"), struct.Struct("=40xII")
_ALL_STATES = 0xFFFFFFFF
_READ_BYTES = 1 << 16


class _Connection(NamedTuple):
    family: int
    key: bytes
    """struct inet_diag_sockid."""
    inode: int
    """0: no process holds it."""

    @property
    def cookie(self) -> int:
        low, high = _COOKIE.unpack(self.key)
        return int(high << 32 | low)


class Dropped:
    """The connections to resolvers on which a question was dropped."""

    def __init__(self) -> None:
        """Know of none."""
        self._cookies: set[int] = set()
        self._are_more = False

    def note(self, event: Acted | Aggregated) -> None:
        """Take in an attempt; most are of no concern here."""
        if event.rule != RULE_OF_LOOKUPS or event.verdict is not Verdict.DENY or event.protocol != _TCP:
            return
        if isinstance(event, Acted) and event.cookie and len(self._cookies) < KNOWN_MAX:
            self._cookies.add(event.cookie)
        else:
            self._are_more = True

    def abort(self) -> None:
        """Abort them, in each network namespace that a process is in, or that is mounted."""
        if not self._cookies and not self._are_more:
            return
        for namespace in everywhere():
            with suppress(OSError):  # it may not be entered, or is gone
                inside(namespace, self._abort_here)

    def _abort_here(self) -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as asking:
            found = [each for family in (socket.AF_INET, socket.AF_INET6) for each in _dump(asking, family)]
            for each in found:
                if each.cookie in self._cookies or (self._are_more and not each.inode):
                    _ask(asking, _DESTROY, _REQUEST | _ACK, each.family, each.key)
                    for _ in _answers(asking):
                        pass


def _dump(asking: socket.socket, family: int) -> list[_Connection]:
    """Return the connections to port 53 of the namespace in which `asking` was made. Raises OSError."""
    _ask(asking, _BY_FAMILY, _REQUEST | _DUMP, family, _PORTS.pack(0, _PORT).ljust(48, b"\0"))
    found = []
    for answer in _answers(asking):
        _, _, _, _, key, _, _, _, _, inode = _FOUND.unpack_from(answer)
        found.append(_Connection(family, key, inode))
    return found


def _ask(asking: socket.socket, kind: int, flags: int, family: int, key: bytes) -> None:
    body = _ASKED.pack(family, _TCP, 0, _ALL_STATES, key)
    asking.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body)


def _answers(asking: socket.socket) -> Iterator[bytes]:
    """Yield the answers to a request, up to its end. One that failed ends, too: the socket may be gone."""
    while True:
        data = asking.recv(_READ_BYTES)
        while data:
            length, kind, _, _, _ = _HEADER.unpack_from(data)
            if kind in {_DONE, _ERROR}:
                return
            yield data[_HEADER.size : length]
            data = data[(length + 3) & ~3 :]
