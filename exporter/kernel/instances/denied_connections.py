"""End the connections that a job's policy denies, and that were opened before the policy was enforced.

The sockets are found in the processes that hold them, in whatever network namespace, and ended through a copy
of the descriptor: a connect without an address makes the kernel forget the peer. Over TCP it also sends a
reset, and whoever waits for the socket gets an error. The policy says nothing about connections that others
opened: those accepted at a listening port are left alone.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from exporter.common.bounded import readers
from exporter.events import wire
from exporter.events.facts import HOST
from exporter.kernel.bpf import U32, Map
from exporter.kernel.frames.descriptors import Tables, copied, pidfd
from exporter.kernel.libc import LIBC
from exporter.kernel.maps.candidates import all_of, held_as
from exporter.kernel.maps.procs import latest_procs
from exporter.kernel.maps.verdicts import MAPS, Peer, Process, Verdicts
from exporter.kernel.pins import open_map
from exporter.policy.entries import EntryVerdict

_LISTEN = "0A"
"""TCP_LISTEN, as /proc/net/tcp shows it."""
_LOCAL, _STATE = 1, 3


def listening_ports(pid: int) -> frozenset[int]:
    """Return the TCP ports that listen in the network namespace of `pid`; none when the process is gone."""
    return frozenset(port for name in ("tcp", "tcp6") for port in _ports(Path(f"/proc/{pid}/net/{name}")))


def _ports(table: Path) -> list[int]:
    """Return the listening ports of a table, read line by line, since it has a line for every socket."""
    try:
        with table.open(encoding="ascii", errors="replace") as lines:
            rows = (line.split() for line in islice(lines, 1, None))
            return [int(row[_LOCAL].rpartition(":")[2], 16) for row in rows if row[_STATE] == _LISTEN]
    except OSError:
        return []


_READERS_MAX = 4096
"""The number of processes that may hang a reader before reading about others fails; each takes 10 ms."""
_NO_ADDRESS = struct.pack("=H14x", socket.AF_UNSPEC)
_SO_PEERNAME, _SO_COOKIE = 28, 57
_NAME_BYTES = {socket.AF_INET: 16, socket.AF_INET6: 28}
"""The size of a peer's address in bytes, by family: the kernel refuses to fill a larger buffer."""
_TCP_CLOSE = 7
_MPTCP, _UDPLITE = 262, 136
_STREAMS, _DATAGRAMS = {socket.IPPROTO_TCP, _MPTCP}, {socket.IPPROTO_UDP, _UDPLITE}


class EndedConnections(NamedTuple):
    """The result of `cut`."""

    ended: int
    """The number of connections that were ended."""
    failed: list[str]
    """The processes in which connections couldn't be looked at or ended, each as `pid: why`."""


class _Found(NamedTuple):
    pid: int
    process: Process


def cut(instance: Path, scope: int) -> EndedConnections:
    """End the connections of `scope`'s processes that its policy denies. Raises OSError without the right.

    Only a command may call this, since it shares no limit with a job: it may start a thread for each process
    that hangs a reader.
    """
    readers().most = _READERS_MAX
    ended: set[int] = set()
    failed: list[str] = []
    with ExitStack() as stack:
        names = (*MAPS, "procs", "candidates", "config")
        maps = {name: stack.enter_context(open_map(instance, name)) for name in names}
        verdicts = Verdicts(maps)
        for found in _processes(maps, scope):
            try:
                ended |= set(_cut_of(found, scope, verdicts))
            except OSError as error:
                failed.append(f"{found.pid}: {error.strerror}")
    return EndedConnections(len(ended), failed)


def _processes(maps: Mapping[str, Map], scope: int) -> Iterator[_Found]:
    """Iterate over the processes held to the policy of `scope`; for HOST only over those in containers.

    `is_governed` in bpf/process.bpf.c has the same rule.
    """
    found, procs = all_of(maps["candidates"]), maps["procs"]
    undecided = _undecided(maps["config"])
    for pid, proc in latest_procs(procs, list(procs)):
        if held_as(proc, found.get, undecided) == scope and (scope != HOST or proc.is_guest):
            early = proc.early if proc.standing >= wire.STANDING_STEP else 0
            yield _Found(pid, Process(proc.held, early))


def _undecided(config: Map) -> int:
    """Return the scope whose policy holds processes that may be a job's; HOST: no policy does."""
    value = config.lookup(U32.pack(0))
    return HOST if value is None else int(wire.ConfigValue.unpack(value).undecided)


def _cut_of(found: _Found, scope: int, verdicts: Verdicts) -> Iterator[int]:
    """End the denied connections of one process; yields the cookies of their sockets."""
    listening = listening_ports(found.pid)
    for opened in _sockets(found.pid):
        with opened:
            peer = _peer(opened)
            if peer is None or (peer.protocol in _STREAMS and opened.getsockname()[1] in listening):
                continue
            said = verdicts.decide(scope, peer, found.process)
            if said is not None and said.verdict is not EntryVerdict.ALLOW:
                _end(opened)
                yield int.from_bytes(opened.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), "little")


def _sockets(pid: int) -> Iterator[socket.socket]:
    """Iterate over copies of the sockets of all threads of `pid`: any may have descriptors of its own."""
    tables, met = Tables(), set[int]()
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            if readers().within(partial(tables.meets_another, int(thread.name)), about=pid):
                with suppress(FileNotFoundError, ProcessLookupError):
                    yield from _sockets_of(pid, int(thread.name), met)


def _sockets_of(pid: int, thread: int, met: set[int]) -> Iterator[socket.socket]:
    with ExitStack() as stack:
        of = -1
        for link in Path(f"/proc/{pid}/task/{thread}/fd").iterdir():
            if not readers().within(partial(_is_of_a_socket, link), about=pid):
                continue
            if of < 0:
                of = pidfd(pid, thread)
                stack.callback(os.close, of)
            try:
                copy = readers().within(partial(copied, of, int(link.name)), about=pid, discard=os.close)
            except OSError as error:
                if error.errno in {errno.EBADF, errno.ESRCH}:
                    continue  # closed meanwhile
                raise
            number = os.fstat(copy).st_ino  # not by the link: another thread may have put another file there
            if number in met or not _is_of_a_socket(Path(f"/proc/self/fd/{copy}")):
                os.close(copy)
                continue
            met.add(number)
            yield socket.socket(fileno=copy)


def _is_of_a_socket(link: Path) -> bool:
    with suppress(OSError):
        return link.readlink().name.startswith("socket:[")
    return False


def _peer(opened: socket.socket) -> Peer | None:
    """Return the peer that a socket is connected or connecting to; None where no policy applies."""
    is_known = opened.proto in _STREAMS | _DATAGRAMS
    if opened.family not in _NAME_BYTES or not is_known:
        return None
    try:
        # Unlike getpeername(2), this has the peer of a socket that is still connecting, too.
        name = opened.getsockopt(socket.SOL_SOCKET, _SO_PEERNAME, _NAME_BYTES[opened.family])
        if (
            opened.proto in _STREAMS
            and opened.getsockopt(socket.SOL_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
        ):
            return None
    except OSError:
        return None
    address = name[8:24] if opened.family == socket.AF_INET6 else bytes(10) + b"\xff\xff" + name[4:8]
    return Peer(address, int.from_bytes(name[2:4]), opened.proto)


def _end(opened: socket.socket) -> None:
    """End the connection of a socket. Raises OSError."""
    if LIBC.connect(opened.fileno(), _NO_ADDRESS, len(_NO_ADDRESS)) != 0:
        # Some kernels refuse while another thread waits for the socket.
        opened.shutdown(socket.SHUT_RDWR)
        LIBC.connect(opened.fileno(), _NO_ADDRESS, len(_NO_ADDRESS))
