"""From the ring's bytes to events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Any

from exporter import wire
from exporter.arguments import Arguments
from exporter.environments import Environments
from exporter.errors import RecordError
from exporter.events import (
    Act,
    Acted,
    Aggregated,
    Answered,
    Asked,
    Event,
    Execed,
    Exited,
    Flowed,
    Forked,
    Outcome,
    ProcessKey,
    Stage,
    Tampered,
    Tampering,
)

Buffer = bytes | memoryview
_DURING_EXEC = (wire.KIND_ARGUMENTS, wire.KIND_DNS)
"""What may come before an exec is complete: its pieces, and answers to what the program before it asked."""
WAITING_MAX = 256
"""Execs that wait for pieces. Where the ring was full, these may be lost, and the exits behind them too."""
_OfProcess = (
    wire.ExecRecord
    | wire.ForkRecord
    | wire.ExitRecord
    | wire.ActRecord
    | wire.AggregateRecord
    | wire.TamperRecord
    | wire.DnsRecord
)


@dataclass
class _LongExec:
    """An exec whose argv comes in several records."""

    record: wire.ExecRecord
    path: bytes
    arguments: bytearray

    def is_complete(self) -> bool:
        return len(self.arguments) >= min(self.record.arguments_size, wire.ARGUMENTS_MAX)


class Decoder:
    """Turns records into events, in their order; an exec with a long argv waits for its further pieces."""

    def __init__(self) -> None:
        """Nothing is waiting."""
        self._waiting: dict[int, _LongExec] = {}
        self._environments = Environments()

    def decode(self, data: Buffer, at: int, length: int) -> Iterator[Event]:
        """The events that the record of `length` bytes at `data[at:]` completes: none, or up to three.

        Raises RecordError for a record of another layout, an unknown kind, or a length that doesn't fit.
        """
        if length < wire.RECORD_HEADER.size or at + length > len(data):
            raise RecordError(f"a record of {length} bytes is truncated")
        layout, kind, _, _, pid, _ = wire.RECORD_HEADER.unpack_from(data, at)
        if layout != wire.LAYOUT:
            raise RecordError(
                f"a record has layout {layout:#010x}, this program reads {wire.LAYOUT:#010x}",
                hint="use the version that wrote it",
            )
        if pid in self._waiting and kind not in _DURING_EXEC:
            yield self._finish(pid)
        if kind in _PIECES:
            yield from _PIECES[kind](self, data, at, length)
        elif kind in _WHOLE:
            yield _WHOLE[kind](data, at, length)
        else:
            raise RecordError(f"a record has the unknown kind {kind}")

    def flush(self) -> Iterator[Event]:
        """What still waits for pieces that never came."""
        for pid in list(self._waiting):
            yield self._finish(pid)

    def _fork(self, data: Buffer, at: int, length: int) -> Iterator[Event]:
        event = _forked(data, at, length)
        if event.creator.pid in self._waiting:  # pieces were lost: its program made this process
            yield self._finish(event.creator.pid)
        yield event

    def _begin(self, data: Buffer, at: int, length: int) -> Iterator[Event]:
        record = wire.ExecRecord._make(_unpack(wire.EXEC_RECORD, data, at, length))
        arguments = _behind(data, at, length, wire.EXEC_RECORD.size, record.arguments_here)
        if record.path_here > wire.PATH_ROOM:
            raise RecordError(f"an exec record claims a path of {record.path_here} bytes")
        waiting = _LongExec(record, record.path[: record.path_here], bytearray(arguments))
        if waiting.is_complete() or record.arguments_here < wire.ARGUMENTS_PIECE:
            yield _execed(waiting)
            return
        self._waiting[record.pid] = waiting
        if len(self._waiting) > WAITING_MAX:
            yield self._finish(next(iter(self._waiting)))

    def _continue(self, data: Buffer, at: int, length: int) -> Iterator[Event]:
        record = wire.ArgumentsRecord._make(_unpack(wire.ARGUMENTS_RECORD, data, at, length))
        waiting = self._waiting.get(record.pid)
        if waiting is None or _program(waiting.record) != _program(record):
            return  # its exec was lost, and counted by the kernel
        piece = _behind(data, at, length, wire.ARGUMENTS_RECORD.size, record.arguments_here)
        is_next = record.offset == len(waiting.arguments)
        if is_next:
            waiting.arguments += piece
        if not is_next or waiting.is_complete():
            yield self._finish(record.pid)

    def _environment(self, data: Buffer, at: int, length: int) -> Iterator[Event]:
        record = wire.EnvironmentRecord._make(_unpack(wire.ENVIRONMENT_RECORD, data, at, length))
        piece = _behind(data, at, length, wire.ENVIRONMENT_RECORD.size, record.here)
        whole = self._environments.add(record, piece)
        if whole is not None:
            yield whole

    def _finish(self, pid: int) -> Execed:
        return _execed(self._waiting.pop(pid))


_PIECES: dict[int, Callable[[Decoder, Buffer, int, int], Iterator[Event]]] = {
    wire.KIND_FORK: Decoder._fork,
    wire.KIND_EXEC: Decoder._begin,
    wire.KIND_ARGUMENTS: Decoder._continue,
    wire.KIND_ENVIRONMENT: Decoder._environment,
}
"""Kinds of which a record may be a piece of an event, or complete another one."""


def _unpack(layout: Struct, data: Buffer, at: int, length: int) -> tuple[Any, ...]:
    if length < layout.size:
        raise RecordError(f"a record of {length} bytes is truncated: {layout.size} are needed")
    return layout.unpack_from(data, at)


def _whole(layout: Struct, data: Buffer, at: int, length: int) -> tuple[Any, ...]:
    """The members of a record behind which nothing stands."""
    if length > layout.size:
        raise RecordError(f"a record of {length} bytes is longer than its {layout.size}")
    return _unpack(layout, data, at, length)


def _behind(data: Buffer, at: int, length: int, start: int, size: int) -> Buffer:
    """The `size` bytes that stand behind a record's fixed part of `start` bytes."""
    if start + size > length:
        raise RecordError(f"a record of {length} bytes claims {size} bytes behind it")
    return data[at + start : at + start + size]


def _program(record: wire.ExecRecord | wire.ArgumentsRecord) -> tuple[int, int]:
    """What tells the programs that a pid has been apart."""
    return record.started_ns, record.exec_id


def _key(record: _OfProcess) -> ProcessKey:
    return ProcessKey(record.pid, record.started_ns)


def _forked(data: Buffer, at: int, length: int) -> Forked:
    record = wire.ForkRecord._make(_whole(wire.FORK_RECORD, data, at, length))
    return Forked(
        record.at_ns,
        _key(record),
        ProcessKey(record.creator_pid, record.creator_started_ns),
        record.creator_exec_id,
        record.parent_pid,
        record.scope,
    )


def _execed(whole: _LongExec) -> Execed:
    record, arguments = whole.record, bytes(whole.arguments)
    is_cut = record.arguments_size > len(arguments)
    return Execed(
        record.at_ns,
        _key(record),
        record.exec_id,
        record.parent_pid,
        record.scope,
        _path(whole.path, is_cut=bool(record.path_cut)),
        Arguments(arguments),
        is_cut,
        record.cgroup.partition(b"\0")[0].decode(errors="replace"),
    )


def _path(components: bytes, *, is_cut: bool) -> str:
    """A path from its NUL-terminated components, the last one first."""
    names = [name.decode(errors="replace") for name in components.split(b"\0")[:-1]]
    return ("…/" if is_cut else "/") + "/".join(reversed(names))


def _exited(data: Buffer, at: int, length: int) -> Exited:
    record = wire.ExitRecord._make(_whole(wire.EXIT_RECORD, data, at, length))
    return Exited(record.at_ns, _key(record), record.wait_status)


def _act(number: int) -> Act:
    if number not in (wire.ACT_CONNECT, wire.ACT_SEND):
        raise RecordError(f"a record has the unknown act {number}")
    return Act(number)


def _acted(data: Buffer, at: int, length: int) -> Acted:
    record = wire.ActRecord._make(_whole(wire.ACT_RECORD, data, at, length))
    return Acted(
        record.at_ns,
        _key(record),
        record.exec_id,
        _act(record.act),
        record.tid,
        record.parent_pid,
        record.uid,
        record.scope,
        record.cookie,
        record.protocol,
        record.peer,
        record.peer_port,
        record.local,
        record.local_port,
    )


def _looked_up(data: Buffer, at: int, length: int) -> Asked | Answered:
    record = wire.DnsRecord._make(_unpack(wire.DNS_RECORD, data, at, length))
    message = bytes(_behind(data, at, length, wire.DNS_RECORD.size, record.message_here))
    if record.stage not in _LOOKUPS:
        raise RecordError(f"a record has the unknown stage {record.stage}")
    return _LOOKUPS[record.stage](
        record.at_ns,
        _key(record),
        record.exec_id,
        record.scope,
        record.cookie,
        record.protocol,
        record.resolver,
        record.resolver_port,
        message,
        record.message_size > len(message),
    )


_LOOKUPS: dict[int, type[Asked | Answered]] = {wire.DNS_QUERY: Asked, wire.DNS_ANSWER: Answered}


_OUTCOMES = {
    wire.OUTCOME_ESTABLISHED: Outcome.ESTABLISHED,
    wire.OUTCOME_REFUSED: Outcome.REFUSED,
    wire.OUTCOME_TIMEOUT: Outcome.TIMEOUT,
    wire.OUTCOME_RESET: Outcome.RESET,
    wire.OUTCOME_UNREACHABLE: Outcome.UNREACHABLE,
    wire.OUTCOME_ABORTED: Outcome.ABORTED,
    wire.OUTCOME_OPEN: Outcome.OPEN,
}
_STAGES = (wire.FLOW_ESTABLISHED, wire.FLOW_ENDED, wire.FLOW_NEVER_SENT)


def _flowed(data: Buffer, at: int, length: int) -> Flowed:
    record = wire.FlowRecord._make(_whole(wire.FLOW_RECORD, data, at, length))
    outcome = _OUTCOMES.get(record.outcome)
    if outcome is None or record.stage not in _STAGES:
        raise RecordError(f"a record has the unknown outcome {record.outcome} or stage {record.stage}")
    return Flowed(
        record.at_ns,
        record.cookie,
        Stage(record.stage),
        outcome,
        record.error,
        record.bytes_sent,
        record.bytes_received,
        record.rtt_us,
        record.local,
        record.local_port,
    )


def _aggregated(data: Buffer, at: int, length: int) -> Aggregated:
    record = wire.AggregateRecord._make(_whole(wire.AGGREGATE_RECORD, data, at, length))
    outcome = _OUTCOMES.get(record.outcome)
    act = _act(record.act)
    return Aggregated(
        record.at_ns,
        record.last_ns or record.at_ns,
        _key(record),
        record.exec_id,
        act,
        Outcome.SENT if act is Act.SEND else outcome,
        record.parent_pid,
        record.uid,
        record.scope,
        record.protocol,
        record.peer,
        record.peer_port,
        bool(record.other),
        record.attempts,
        record.bytes_sent,
        record.bytes_received,
    )


def _tampered(data: Buffer, at: int, length: int) -> Tampered:
    record = wire.TamperRecord._make(_whole(wire.TAMPER_RECORD, data, at, length))
    try:
        what = Tampering(record.what)
    except ValueError:
        raise RecordError(f"a record has the unknown tampering {record.what}") from None
    return Tampered(
        record.at_ns,
        _key(record),
        record.exec_id,
        record.parent_pid,
        record.uid,
        record.scope,
        what,
        record.detail,
        record.times,
    )


_WHOLE: dict[int, Callable[[Buffer, int, int], Event]] = {
    wire.KIND_ACT: _acted,
    wire.KIND_AGGREGATE: _aggregated,
    wire.KIND_DNS: _looked_up,
    wire.KIND_EXIT: _exited,
    wire.KIND_FLOW: _flowed,
    wire.KIND_TAMPER: _tampered,
}
"""Kinds of which one record is one event."""
