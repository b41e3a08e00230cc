"""Decode the kinds of records that are one whole event each; `decode.py` decodes the others."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from exporter.common.errors import RecordError
from exporter.common.net.addresses import UNIX
from exporter.common.net.unix_sockets import shown

from . import wire
from .facts import (
    Act,
    Acted,
    Aggregated,
    Answered,
    Asked,
    Event,
    Exited,
    Flowed,
    Forked,
    Metered,
    Outcome,
    ProcessKey,
    Stage,
    Tampered,
    Tampering,
    Verdict,
)

Buffer = bytes | memoryview
_OfProcess = (
    wire.ExecRecord
    | wire.ForkRecord
    | wire.ExitRecord
    | wire.ActRecord
    | wire.AggregateRecord
    | wire.TamperRecord
    | wire.DnsRecord
)


def unpack(layout: Struct, data: Buffer, at: int, length: int) -> tuple[Any, ...]:
    """Unpack the fixed part of a record that may be longer. Raises RecordError when it is shorter."""
    if length < layout.size:
        raise RecordError(f"a record of {length} bytes is truncated: {layout.size} are needed")
    return layout.unpack_from(data, at)


def whole(layout: Struct, data: Buffer, at: int, length: int) -> tuple[Any, ...]:
    """Unpack a record that consists of its fixed part. Raises RecordError when it has another length."""
    if length > layout.size:
        raise RecordError(f"a record of {length} bytes is longer than its {layout.size}")
    return unpack(layout, data, at, length)


def behind(data: Buffer, at: int, length: int, start: int, size: int) -> Buffer:
    """Return the `size` bytes behind a record's fixed part of `start` bytes. Raises RecordError."""
    if start + size > length:
        raise RecordError(f"a record of {length} bytes claims {size} bytes behind it")
    return data[at + start : at + start + size]


def key(record: _OfProcess) -> ProcessKey:
    """Return the process that the record is about."""
    return ProcessKey(record.pid, record.started_ns)


def forked(data: Buffer, at: int, length: int) -> Forked:
    """Decode the record of a fork."""
    record = wire.ForkRecord._make(whole(wire.FORK_RECORD, data, at, length))
    return Forked(
        record.at_ns,
        key(record),
        ProcessKey(record.creator_pid, record.creator_started_ns),
        record.creator_exec_id,
        record.parent_pid,
        record.scope,
    )


def _exited(data: Buffer, at: int, length: int) -> Exited:
    record = wire.ExitRecord._make(whole(wire.EXIT_RECORD, data, at, length))
    return Exited(record.at_ns, key(record), record.wait_status)


_ACTS = {act.value: act for act in Act}


def _act(number: int) -> Act:
    act = _ACTS.get(number)
    if act is None:
        raise RecordError(f"a record has the unknown act {number}")
    return act


_VERDICTS = {verdict.value: verdict for verdict in Verdict}


def _verdict(number: int) -> Verdict:
    verdict = _VERDICTS.get(number)
    if verdict is None:
        raise RecordError(f"a record has the unknown verdict {number}")
    return verdict


def _acted(data: Buffer, at: int, length: int) -> Acted:
    record = wire.ActRecord._make(unpack(wire.ACT_RECORD, data, at, length))
    fixed = wire.ACT_RECORD.size
    if length > fixed and not record.name_here:
        raise RecordError(f"a record of {length} bytes is longer than its {fixed}")
    socket = bytes(behind(data, at, length, fixed, record.name_here)) if record.name_here else b""
    return Acted(
        record.at_ns,
        key(record),
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
        _verdict(record.verdict),
        record.rule,
        record.held,
        record.policy,
        bool(record.is_metered),
        shown(socket) if socket else "",
    )


def _standing(record: wire.DnsRecord) -> tuple[bool, bool]:
    return bool(record.counts), bool(record.doubtful)


def _looked_up(data: Buffer, at: int, length: int) -> Asked | Answered:
    record = wire.DnsRecord._make(unpack(wire.DNS_RECORD, data, at, length))
    message = bytes(behind(data, at, length, wire.DNS_RECORD.size, record.message_here))
    if record.stage not in (wire.DNS_QUERY, wire.DNS_ANSWER):
        raise RecordError(f"a record has the unknown stage {record.stage}")
    asked = Asked(
        record.at_ns,
        key(record),
        record.exec_id,
        record.scope,
        record.cookie,
        record.protocol,
        record.resolver,
        record.resolver_port,
        message,
        record.message_size > len(message),
    )
    return asked if record.stage == wire.DNS_QUERY else Answered(*asked, *_standing(record))


_OUTCOMES = {
    wire.OUTCOME_ESTABLISHED: Outcome.ESTABLISHED,
    wire.OUTCOME_REFUSED: Outcome.REFUSED,
    wire.OUTCOME_TIMEOUT: Outcome.TIMEOUT,
    wire.OUTCOME_RESET: Outcome.RESET,
    wire.OUTCOME_UNREACHABLE: Outcome.UNREACHABLE,
    wire.OUTCOME_ABORTED: Outcome.ABORTED,
    wire.OUTCOME_OPEN: Outcome.OPEN,
}
_STAGES = {stage.value: stage for stage in Stage}


def _flowed(data: Buffer, at: int, length: int) -> Flowed:
    record = wire.FlowRecord._make(whole(wire.FLOW_RECORD, data, at, length))
    outcome = _OUTCOMES.get(record.outcome)
    stage = _STAGES.get(record.stage)
    if outcome is None or stage is None:
        raise RecordError(f"a record has the unknown outcome {record.outcome} or stage {record.stage}")
    return Flowed(
        record.at_ns,
        record.cookie,
        stage,
        outcome,
        record.error,
        record.bytes_sent,
        record.bytes_received,
        record.rtt_us,
        record.local,
        record.local_port,
    )


def _metered(data: Buffer, at: int, length: int) -> Metered:
    record = wire.BytesRecord._make(whole(wire.BYTES_RECORD, data, at, length))
    return Metered(record.at_ns, record.cookie, record.acted_ns, record.bytes_sent, record.bytes_received)


def _aggregated(data: Buffer, at: int, length: int) -> Aggregated:
    record = wire.AggregateRecord._make(whole(wire.AGGREGATE_RECORD, data, at, length))
    outcome = _OUTCOMES.get(record.outcome)
    act, verdict = _act(record.act), _verdict(record.verdict)
    if verdict is Verdict.DENY:
        outcome = Outcome.DENIED
    elif act is Act.SEND and record.protocol != UNIX:
        outcome = Outcome.SENT
    return Aggregated(
        record.at_ns,
        record.last_ns or record.at_ns,
        key(record),
        record.exec_id,
        act,
        outcome,
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
        verdict,
        record.rule,
        record.held,
        record.policy,
    )


def _tampered(data: Buffer, at: int, length: int) -> Tampered:
    record = wire.TamperRecord._make(whole(wire.TAMPER_RECORD, data, at, length))
    try:
        what = Tampering(record.what)
    except ValueError:
        raise RecordError(f"a record has the unknown tampering {record.what}") from None
    return Tampered(
        record.at_ns,
        key(record),
        record.exec_id,
        record.parent_pid,
        record.uid,
        record.scope,
        what,
        record.detail,
        record.times,
        record.network,
        bool(record.is_denied),
        record.target.partition(b"\0")[0].decode(errors="replace"),
    )


WHOLE: dict[int, Callable[[Buffer, int, int], Event]] = {
    wire.KIND_ACT: _acted,
    wire.KIND_AGGREGATE: _aggregated,
    wire.KIND_BYTES: _metered,
    wire.KIND_DNS: _looked_up,
    wire.KIND_EXIT: _exited,
    wire.KIND_FLOW: _flowed,
    wire.KIND_FORK: forked,
    wire.KIND_TAMPER: _tampered,
}
"""Decoders of the kinds whose records are one whole event each, by kind."""
