"""Records as the kernel writes them, for tests of whatever reads them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from exporter.common.net.addresses import UNIX
from exporter.common.net.unix_sockets import digest, name_of
from exporter.events import wire
from exporter.events.arguments import arguments_of
from exporter.events.facts import (
    Act,
    Acted,
    Aggregated,
    Answered,
    Asked,
    Execed,
    Exited,
    Flowed,
    Forked,
    Metered,
    Outcome,
    ProcessKey,
    Stage,
    Tampered,
    Tampering,
)


def header(
    kind: int, process: ProcessKey, exec_id: int = 0, *, at_ns: int = 5, layout: int = wire.LAYOUT
) -> bytes:
    return wire.RECORD_HEADER.pack(layout, kind, at_ns, process.started_ns, process.pid, exec_id)


def record(layout: struct.Struct, head: bytes, *values: Any) -> bytes:
    """`head`, and behind it `values` as `layout` has them behind a header."""
    return layout.pack(*wire.RECORD_HEADER.unpack(head), *values)


def forked(event: Forked) -> bytes:
    return record(
        wire.FORK_RECORD,
        header(wire.KIND_FORK, event.process, at_ns=event.at_ns),
        event.creator.started_ns,
        event.creator.pid,
        event.creator_exec_id,
        event.parent_pid,
        event.scope,
    )


def exited(event: Exited) -> bytes:
    return record(
        wire.EXIT_RECORD, header(wire.KIND_EXIT, event.process, at_ns=event.at_ns), event.wait_status
    )


def tampered(event: Tampered) -> bytes:
    return record(
        wire.TAMPER_RECORD,
        header(wire.KIND_TAMPER, event.process, event.exec_id, at_ns=event.at_ns),
        event.scope,
        event.uid,
        event.parent_pid,
        event.times,
        event.detail,
        event.network,
        event.what,
        event.is_denied,
        event.target.encode(),
    )


def acted(event: Acted) -> bytes:
    name = name_of(event.socket)
    fixed = record(
        wire.ACT_RECORD,
        header(wire.KIND_ACT, event.process, event.exec_id, at_ns=event.at_ns),
        event.cookie,
        event.thread_id,
        event.parent_pid,
        event.uid,
        event.scope,
        event.peer,
        event.local,
        event.peer_port,
        event.local_port,
        event.protocol,
        event.act,
        event.rule,
        event.verdict,
        event.held,
        event.policy,
        event.is_metered,
        len(name),
    )
    return fixed + name


def flowed(event: Flowed) -> bytes:
    return record(
        wire.FLOW_RECORD,
        header(wire.KIND_FLOW, ProcessKey(0, 0), at_ns=event.at_ns),
        event.cookie,
        event.bytes_sent,
        event.bytes_received,
        event.local,
        event.rtt_us,
        event.local_port,
        event.error,
        event.stage,
        OUTCOMES.index(event.outcome),
    )


def metered(event: Metered) -> bytes:
    return record(wire.BYTES_RECORD, header(wire.KIND_BYTES, ProcessKey(0, 0), at_ns=event.at_ns), *event[1:])


def aggregated(event: Aggregated) -> bytes:
    return record(
        wire.AGGREGATE_RECORD,
        header(wire.KIND_AGGREGATE, event.process, event.exec_id, at_ns=event.at_ns),
        event.last_ns,
        event.attempts,
        event.bytes_sent,
        event.bytes_received,
        event.parent_pid,
        event.uid,
        event.scope,
        event.peer_port,
        event.protocol,
        event.peer,
        event.act,
        0 if event.outcome in (Outcome.SENT, Outcome.DENIED) else OUTCOMES.index(event.outcome),
        event.is_other,
        event.verdict,
        1,
        event.rule,
        event.policy,
        event.held,
    )


OUTCOMES = (
    None,
    Outcome.ESTABLISHED,
    Outcome.REFUSED,
    Outcome.TIMEOUT,
    Outcome.RESET,
    Outcome.UNREACHABLE,
    Outcome.ABORTED,
    Outcome.OPEN,
)
"""By the kernel's numbers."""


def looked_up(event: Asked | Answered, *, stage: int | None = None) -> bytes:
    """A message that is cut was one byte longer."""
    told = wire.DNS_QUERY if isinstance(event, Asked) else wire.DNS_ANSWER
    head = header(wire.KIND_DNS, event.process, event.exec_id, at_ns=event.at_ns)
    size = len(event.message)
    return (
        record(
            wire.DNS_RECORD,
            head,
            event.cookie,
            event.resolver,
            event.scope,
            event.resolver_port,
            size + event.is_cut,
            size,
            event.protocol,
            told if stage is None else stage,
            isinstance(event, Answered) and event.counts,
            isinstance(event, Answered) and event.is_doubtful,
        )
        + event.message
    )


def execed(event: Execed, *, size: int | None = None) -> list[bytes]:
    """The exec record and its further pieces; `size` is what the first one says of the whole argv."""
    block = arguments_block(event.arguments)
    first, *rest = pieces(block)
    path = path_block(event.path)
    head = header(wire.KIND_EXEC, event.process, event.exec_id, at_ns=event.at_ns)
    sizes = (len(block) if size is None else size, len(first), len(path), 0)
    fixed = (event.parent_pid, event.scope, *sizes, path, event.cgroup.encode())
    begin = record(wire.EXEC_RECORD, head, *fixed) + first
    return [begin, *(piece(event, offset + 1, part) for offset, part in enumerate(rest))]


def piece(event: Execed, number: int, part: bytes) -> bytes:
    """The `number`th piece of an argv, counted from 0 (which the exec record itself brings)."""
    head = header(wire.KIND_ARGUMENTS, event.process, event.exec_id, at_ns=event.at_ns)
    return record(wire.ARGUMENTS_RECORD, head, number * wire.ARGUMENTS_PIECE, len(part)) + part


def pieces(block: bytes) -> list[bytes]:
    size = wire.ARGUMENTS_PIECE
    whole = block[: wire.ARGUMENTS_MAX]
    return [whole[at : at + size] for at in range(0, max(len(whole), 1), size)]


def arguments_block(arguments: Sequence[str]) -> bytes:
    return b"".join(argument.encode() + b"\0" for argument in arguments)


def path_block(path: str) -> bytes:
    """Components as the kernel walks them: the file's own name first."""
    return b"".join(name.encode() + b"\0" for name in reversed(path.removeprefix("/").split("/")))


BASH = ProcessKey(100, 1_000_000)
CURL = ProcessKey(101, 2_000_000)

FORK = Forked(2_000_000, CURL, BASH, 1, BASH.pid, 1)
EXEC = Execed(
    at_ns=3_000_000,
    process=CURL,
    exec_id=1,
    parent_pid=BASH.pid,
    scope=1,
    path="/usr/bin/curl",
    arguments=arguments_of(["curl", "-s", "registry.example"]),
    arguments_cut=False,
    cgroup="runner.slice",
)
EXIT = Exited(9_000_000, CURL, 7 << 8)
ACT = Acted(
    at_ns=4_000_000,
    process=CURL,
    exec_id=1,
    act=Act.CONNECT,
    thread_id=102,
    parent_pid=BASH.pid,
    uid=4_000_001,
    scope=1,
    cookie=77,
    protocol=6,
    peer=bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 7]),
    peer_port=443,
    local=bytes(10) + b"\xff\xff" + bytes([198, 51, 100, 9]),
    local_port=50_000,
)
SOCKET_ACT = ACT._replace(
    cookie=0,
    protocol=UNIX,
    peer=digest(b"/run/engine.sock"),
    peer_port=0,
    local=bytes(16),
    local_port=0,
    socket="/run/engine.sock",
)
TAMPER = Tampered(
    at_ns=5_000_000,
    process=CURL,
    exec_id=1,
    parent_pid=BASH.pid,
    uid=0,
    scope=1,
    what=Tampering.SIGNAL,
    detail=9,
    times=2,
    network=4_026_531_840,
)
DENIED_TAMPER = TAMPER._replace(
    what=Tampering.OTHER_MEMORY, detail=BASH.pid, is_denied=True, target="Runner.Worker"
)
ESTABLISHED = Flowed(
    at_ns=4_500_000,
    cookie=ACT.cookie,
    stage=Stage.ESTABLISHED,
    outcome=Outcome.ESTABLISHED,
    error=0,
    bytes_sent=0,
    bytes_received=0,
    rtt_us=900,
    local=ACT.local,
    local_port=50_001,
)
ENDED = ESTABLISHED._replace(
    at_ns=8_000_000, stage=Stage.ENDED, bytes_sent=517, bytes_received=70_000, rtt_us=1_200
)
AGGREGATE = Aggregated(
    at_ns=4_000_000,
    last_ns=5_000_000,
    process=CURL,
    exec_id=1,
    act=Act.SEND,
    outcome=Outcome.SENT,
    parent_pid=BASH.pid,
    uid=4_000_001,
    scope=1,
    protocol=17,
    peer=ACT.peer,
    peer_port=53,
    is_other=False,
    attempts=1_000,
    bytes_sent=0,
    bytes_received=0,
)
ASK = Asked(
    at_ns=3_500_000,
    process=CURL,
    exec_id=1,
    scope=1,
    cookie=78,
    protocol=17,
    resolver=bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 53]),
    resolver_port=53,
    message=b"\0\7\1\0\0\1\0\0\0\0\0\0\x08registry\x07example\0\0\1\0\1",
    is_cut=False,
)
ANSWER = Answered(*ASK)._replace(at_ns=3_600_000, message=b"\0\7\x81\x80" + ASK.message[4:], is_cut=True)


def environment_pieces(block: bytes, process: ProcessKey = BASH) -> list[bytes]:
    """The records of a step that executed with the environment `block`."""
    head, piece, most = header(wire.KIND_ENVIRONMENT, process, 1), wire.ARGUMENTS_PIECE, wire.ENVIRONMENT_MAX
    parts = [(at, block[:most][at : at + piece]) for at in range(0, min(len(block), most), piece)]
    return [
        record(wire.ENVIRONMENT_RECORD, head, len(block), at, len(part), wire.STANDING_STEP, 2, 7, 3) + part
        for at, part in parts
    ]
