"""Decode the ring's bytes into events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from exporter.common.errors import RecordError

from . import wire
from .arguments import Arguments
from .environments import Environments
from .facts import Event, Execed
from .records import WHOLE, Buffer, behind, forked, key, unpack

_DURING_EXEC = (wire.KIND_ARGUMENTS, wire.KIND_DNS)
"""Kinds of records that a pid may have while its exec waits for pieces of its argv: these pieces, and DNS
answers to the program that the process ran before."""
WAITING_MAX = 256
"""The most execs that wait for pieces. Some wait for ever: a full ring may lose pieces, and exits, too."""


@dataclass
class _LongExec:
    """An exec whose argv comes in several records."""

    record: wire.ExecRecord
    path: bytes
    arguments: bytearray

    def is_complete(self) -> bool:
        return len(self.arguments) >= min(self.record.arguments_size, wire.ARGUMENTS_MAX)


class Decoder:
    """A decoder of records into events, in their order. An exec with a long argv waits for all its pieces."""

    def __init__(self) -> None:
        """Create a decoder in which no exec waits."""
        self._waiting: dict[int, _LongExec] = {}
        self._environments = Environments()

    def decode(self, data: Buffer, at: int, length: int) -> Iterable[Event]:
        """Return the events that the record of `length` bytes at `data[at:]` completes: up to three.

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
        may_complete_exec = self._waiting and (pid in self._waiting or kind == wire.KIND_FORK)
        if kind in WHOLE and not may_complete_exec:
            return (WHOLE[kind](data, at, length),)
        return self._decode(kind, pid, data, at, length)

    def _decode(self, kind: int, pid: int, data: Buffer, at: int, length: int) -> Iterator[Event]:
        if pid in self._waiting and kind not in _DURING_EXEC:
            yield self._finish(pid)
        if kind in _PIECES:
            yield from _PIECES[kind](self, data, at, length)
        elif kind in WHOLE:
            yield WHOLE[kind](data, at, length)
        else:
            raise RecordError(f"a record has the unknown kind {kind}")

    def flush(self) -> Iterator[Event]:
        """Finish and yield the execs that still wait for pieces."""
        for pid in list(self._waiting):
            yield self._finish(pid)

    def _fork(self, data: Buffer, at: int, length: int) -> Iterator[Event]:
        event = forked(data, at, length)
        if event.creator.pid in self._waiting:  # its pieces were lost: its new program forked
            yield self._finish(event.creator.pid)
        yield event

    def _begin(self, data: Buffer, at: int, length: int) -> Iterator[Event]:
        record = wire.ExecRecord._make(unpack(wire.EXEC_RECORD, data, at, length))
        arguments = behind(data, at, length, wire.EXEC_RECORD.size, record.arguments_here)
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
        record = wire.ArgumentsRecord._make(unpack(wire.ARGUMENTS_RECORD, data, at, length))
        waiting = self._waiting.get(record.pid)
        if waiting is None or _program(waiting.record) != _program(record):
            return  # its exec was lost, and counted by the kernel
        piece = behind(data, at, length, wire.ARGUMENTS_RECORD.size, record.arguments_here)
        is_next = record.offset == len(waiting.arguments)
        if is_next:
            waiting.arguments += piece
        if not is_next or waiting.is_complete():
            yield self._finish(record.pid)

    def _environment(self, data: Buffer, at: int, length: int) -> Iterator[Event]:
        record = wire.EnvironmentRecord._make(unpack(wire.ENVIRONMENT_RECORD, data, at, length))
        piece = behind(data, at, length, wire.ENVIRONMENT_RECORD.size, record.here)
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
"""Kinds whose records may be a piece of an event, or complete another event."""


def _program(record: wire.ExecRecord | wire.ArgumentsRecord) -> tuple[int, int]:
    """Return the key that tells apart the programs that a pid has run."""
    return record.started_ns, record.exec_id


def _execed(whole: _LongExec) -> Execed:
    record, arguments = whole.record, bytes(whole.arguments)
    is_cut = record.arguments_size > len(arguments)
    return Execed(
        record.at_ns,
        key(record),
        record.exec_id,
        record.parent_pid,
        record.scope,
        _path(whole.path, is_cut=bool(record.path_cut)),
        Arguments(arguments),
        is_cut,
        record.cgroup.partition(b"\0")[0].decode(errors="replace"),
    )


def _path(components: bytes, *, is_cut: bool) -> str:
    """Build a path from its NUL-terminated components, the last one first."""
    names = [name.decode(errors="replace") for name in components.split(b"\0")[:-1]]
    return ("…/" if is_cut else "/") + "/".join(reversed(names))
