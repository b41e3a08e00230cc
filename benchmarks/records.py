"""Records as the kernel writes them, and a ring of them in memory."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Sequence

from exporter.events import wire
from exporter.events.facts import ProcessKey

_HEADER = struct.Struct("=II")
_POSITION = struct.Struct("=Q")
_PEER = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 7])
_NOBODY = bytes(16)
_LOCAL = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 1])
_TCP = 6
_STAGE_NS = 1_000_000
_RTT_US = 950
_ARGUMENTS_ROOM = 256
_COMMAND = b"/usr/bin/python3 -m pip install --no-deps --index-url https://registry.example/simple wheel"
_ARGUMENTS = _COMMAND.replace(b" ", b"\0") + b"\0"
_PATH = b"python3.11\0bin\0usr\0"
_SCOPE = 1
_PIDS = 5_000_000
"""The first pid of made-up processes: no real process has such a number."""


def connects(root: ProcessKey, acts: int) -> Iterator[bytes]:
    """Yield records of a process that connects again and again: each time connect, success and end."""
    for number in range(acts):
        yield from _connection(root, 0, root.started_ns + number, number + 1)


def build(root: ProcessKey, processes: int) -> Iterator[bytes]:
    """Yield nine records for each process: fork, exec, two connects of three records each, exit."""
    for number in range(processes):
        at_ns = root.started_ns + number
        process = ProcessKey(_PIDS + number, at_ns)
        yield wire.FORK_RECORD.pack(
            *_start(wire.KIND_FORK, process, 0, at_ns), root.started_ns, root.pid, 0, root.pid, _SCOPE
        )
        yield _exec(process, root.pid, at_ns)
        yield from _connection(process, 1, at_ns, 2 * number + 1)
        yield from _connection(process, 1, at_ns, 2 * number + 2)
        yield wire.EXIT_RECORD.pack(*_start(wire.KIND_EXIT, process, 1, at_ns), 0)


def _start(kind: int, process: ProcessKey, exec_id: int, at_ns: int) -> tuple[int, ...]:
    return wire.LAYOUT, kind, at_ns, process.started_ns, process.pid, exec_id


def _exec(process: ProcessKey, parent_pid: int, at_ns: int) -> bytes:
    start = _start(wire.KIND_EXEC, process, 1, at_ns)
    size = len(_ARGUMENTS)
    sizes = (size, size, len(_PATH), 0)
    fixed = wire.EXEC_RECORD.pack(*start, parent_pid, _SCOPE, *sizes, _PATH, b"")
    return fixed + _ARGUMENTS.ljust(_ARGUMENTS_ROOM, b"\0")


def _act(process: ProcessKey, exec_id: int, at_ns: int, cookie: int) -> bytes:
    start = _start(wire.KIND_ACT, process, exec_id, at_ns)
    who = (cookie, process.pid, 1, 0, _SCOPE)
    return wire.ACT_RECORD.pack(
        *start, *who, _PEER, _NOBODY, 443, 0, _TCP, wire.ACT_CONNECT, 0, wire.VERDICT_NONE, 0, 0, 0, 0
    )


def _connection(process: ProcessKey, exec_id: int, at_ns: int, cookie: int) -> Iterator[bytes]:
    yield _act(process, exec_id, at_ns, cookie)
    for stage, payload in ((wire.FLOW_ESTABLISHED, 0), (wire.FLOW_ENDED, 1234)):
        start = _start(wire.KIND_FLOW, process, exec_id, at_ns + stage * _STAGE_NS)
        flow = (cookie, payload, payload, _LOCAL, _RTT_US, 40_000 + cookie % 20_000, 0, stage)
        yield wire.FLOW_RECORD.pack(*start, *flow, wire.OUTCOME_ESTABLISHED)


def ring_of(records: Sequence[bytes]) -> tuple[int, int]:
    """Return a descriptor to be mapped like a BPF ring full of `records`, and the ring's size in bytes."""
    data = b"".join(_HEADER.pack(len(record), 0) + _padded(record) for record in records)
    size = max(1 << (len(data) - 1).bit_length(), mmap.PAGESIZE)
    descriptor = os.memfd_create("ring")
    os.ftruncate(descriptor, 2 * mmap.PAGESIZE + 2 * size)
    os.pwrite(descriptor, _POSITION.pack(len(data)), mmap.PAGESIZE)
    with open(descriptor, "r+b", closefd=False) as file:
        file.seek(2 * mmap.PAGESIZE)
        file.write(data)
    return descriptor, size


def _padded(record: bytes) -> bytes:
    return record + bytes(-len(record) % 8)
