"""Read recordings. The file may be hostile: a bad line is refused, with its number and the column."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, Any, NoReturn

from exporter.common.clock import Clock
from exporter.common.errors import UsageError
from exporter.common.net.dns_messages import is_host_name
from exporter.common.text import clean, printable
from exporter.events.arguments import Arguments, arguments_of
from exporter.events.facts import (
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
    Found,
    Metered,
    Outcome,
    ProcessKey,
    Stage,
    Switched,
    Tampered,
    Tampering,
    Verdict,
    attempts_of,
)
from exporter.events.programs import Facts, Image
from exporter.events.wire import MESSAGE_ROOM
from exporter.jobs.model import Job, TraceIds
from exporter.policy.model import Mode

from .account import KernelCounts
from .recording import VERSION, Beginning, Ending
from .ruling import Terms

_LINE_MAX = 1 << 20
_ADDRESS_BYTES = 16
_SUM_MAX = (1 << 63) - 1


class _UnfitError(Exception):
    """A line that doesn't fit; the text says why."""


class RecordingReader:
    """A recording that is being read. It is also the `Lookup` for the facts that were recorded."""

    def __init__(self, stream: IO[str], name: str) -> None:
        """Read `stream`, a file called `name` in errors, up to the first event. Raises UsageError."""
        self._name = name
        self._lines = enumerate(iter(lambda: stream.readline(_LINE_MAX), ""), start=1)
        self._facts: dict[ProcessKey, deque[Facts]] = {}
        self._images: dict[ProcessKey, deque[Image]] = {}
        self._owners: dict[int, str] = {}
        self._host_names: dict[bytes, str | None] = {}
        self._rules: dict[int, str] = {}
        self.ending: Ending | None = None
        """None until the last event was read, and for a recording that was broken off."""
        self.attempts = 0
        """The number of attempts read so far."""
        self._bytes = 0
        self.beginning = self._read_beginning()
        self._next = self._read_event()

    def events(self) -> Iterator[Event]:
        """Yield the events in order, each after the facts before it. Raises UsageError at a bad line."""
        while (event := self._next) is not None:
            self._next = self._read_event()
            yield event

    def _read_event(self) -> Event | None:
        """Return the next event, and keep the facts that were looked up before it; None at the end."""
        for number, line in self._lines:
            if not line.endswith("\n") and len(line) < _LINE_MAX:
                break  # it was being written when the recording was broken off
            with self._reading(number):
                kind, *values = json.loads(line.rstrip())
                if kind in _EVENTS:
                    event = _event(kind, values)
                    self._count(event)
                    return event
                if kind == "end":
                    self.ending = self._checked(_ending(values))
                    break
                self._keep(kind, values)
        return None

    def _count(self, event: Event) -> None:
        """Add up attempts and bytes. Raises _UnfitError for a sum over 63 bits, or a time before 1970.

        OTLP has no numbers for these.
        """
        self.attempts += attempts_of(event)
        if isinstance(event, Flowed | Metered | Aggregated):
            self._bytes += event.bytes_sent + event.bytes_received
        if max(self.attempts, self._bytes) > _SUM_MAX:
            raise _UnfitError(f"with those above it, it counts beyond {_SUM_MAX}")
        _not_before_1970(self.beginning.clock, event.at_ns)

    def _checked(self, ending: Ending) -> Ending:
        _not_before_1970(self.beginning.clock, ending.at_ns)
        if ending.kernel.attempts - ending.kernel.lost < self.attempts:
            raise _UnfitError(f"it counts fewer attempts than the {self.attempts} above it")
        return ending

    def facts(self, process: ProcessKey) -> Facts:
        """Return the facts that were looked up at this point of the recording; empty ones when none were."""
        kept = self._facts.get(process)
        return kept.popleft() if kept else Facts()

    def image(self, process: ProcessKey) -> Image:
        """Return the image that was looked up at this point of the recording; an empty one when none was."""
        kept = self._images.get(process)
        return kept.popleft() if kept else Image()

    def owner(self, uid: int) -> str:
        """Return the user's name on the host of the recording; the number when none was recorded."""
        return self._owners.get(uid, str(uid))

    def host_name(self, peer: bytes, _at_ns: int) -> str | None:
        """Return the name of `peer` on the host of the recording; None when it had none."""
        return self._host_names.get(peer)

    def _read_beginning(self) -> Beginning:
        number, line = next(self._lines, (1, ""))
        if not line:
            raise self._refusal(number, 1, "the file is empty: the run ended before its first line")
        with self._reading(number):
            kind, version, *values = json.loads(line)
            if (kind, version) != ("recording", VERSION):
                raise _UnfitError(f"it is a {kind} of version {version}")
            job, offset_ns, root, scope, at_ns, terms, step = values
            clock = Clock(_signed(offset_ns))
            _not_before_1970(clock, _time(at_ns))
            told = self._terms(terms), _optional_text(step)
            return Beginning(_job(**job), clock, _key(root), _u32(scope), at_ns, *told)

    def _terms(self, value: Any) -> Terms | None:
        """Return the policy's terms; each rule is recorded later, where it decides for the first time."""
        if value is None:
            return None
        mode, ruleset = value
        return Terms(Mode(mode).value, _text(ruleset), self._rules)

    def _keep(self, kind: str, values: list[Any]) -> None:
        subject, *told = values
        if kind == "Facts":
            self._facts.setdefault(_key(subject), deque()).append(Facts(*map(_optional_text, told)))
        elif kind == "Image":
            path, arguments = told
            image = Image(_optional_text(path), _arguments(arguments))
            self._images.setdefault(_key(subject), deque()).append(image)
        elif kind == "Owner":
            (name,) = told
            self._owners[_u32(subject)] = _text(name)
        elif kind == "Rule":
            (text,) = told
            self._rules[_u32(subject)] = _text(text)
        elif kind == "HostName":
            (known,) = told
            self._host_names[_address(subject)] = None if known is None else _host_name(known)
        else:
            raise _UnfitError(f"there is no {kind}")

    @contextmanager
    def _reading(self, number: int) -> Iterator[None]:
        try:
            yield
        except _UnfitError as error:
            raise self._refusal(number, 1, printable(str(error), limit=160)) from None
        except json.JSONDecodeError as error:
            raise self._refusal(number, error.pos + 1, "from there on it is no JSON") from None
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
            raise self._refusal(number, 1, "it isn't a known type with its values") from None

    def _refusal(self, line: int, column: int, why: str) -> UsageError:
        return UsageError(
            f"{self._name}:{line}:{column}: not a line of a recording ({why})",
            hint=f"use a file made by `ci-egress run --record FILE`, version {VERSION}",
        )


def _job(*, ids: dict[str, Any], provider: Any, run_id: Any, **names: Any) -> Job:
    known: dict[str, Any] = {name: _optional_text(value) for name, value in names.items()}
    if not known.keys().isdisjoint(("claims", "besides", "is_vouched", "is_partial")):
        raise _UnfitError("it says whom a policy took the job for")
    return Job(_text(provider), _text(run_id), _ids(**ids), **known)


def _ids(
    *, trace_id: Any, job_span_id: Any, parent_span_id: Any, trace_state: Any, derive_from: Any = None
) -> TraceIds:
    job_span = _id(job_span_id, bits=64)
    parent, below = _optional_span_id(parent_span_id), _optional_span_id(derive_from)
    return TraceIds(_id(trace_id, bits=128), job_span, parent, _text(trace_state), below)


def _optional_span_id(value: Any) -> int | None:
    return None if value is None else _id(value, bits=64)


def _id(value: Any, *, bits: int) -> int:
    return _unsigned(value, bits=bits) or _refuse(value, "an id")


def _ending(values: list[Any]) -> Ending:
    at_ns, attempts, lost, left_behind = values
    return Ending(_time(at_ns), KernelCounts(_u63(attempts), _u63(lost)), [_u32(pid) for pid in left_behind])


def _event(kind: str, values: list[Any]) -> Event:
    make, fields = _EVENTS[kind]
    if len(values) != len(fields):
        raise _UnfitError(f"{kind} has {len(values)} fields instead of {len(fields)}")
    event: Event = make(*(convert(value) for convert, value in zip(fields, values, strict=True)))
    return event


def _refuse(value: Any, what: str) -> NoReturn:
    raise _UnfitError(f"{json.dumps(value)} is not {what}")


def _signed(value: Any) -> int:
    return value if type(value) is int and abs(value) < 1 << 62 else _refuse(value, "a time in nanoseconds")


def _unsigned(value: Any, *, bits: int) -> int:
    if type(value) is not int or not 0 <= value < 1 << bits:
        _refuse(value, f"a number of {bits} bits")
    return value


_u16 = partial(_unsigned, bits=16)
_u32 = partial(_unsigned, bits=32)
_time = partial(_unsigned, bits=62)
_u63 = partial(_unsigned, bits=63)
_u64 = partial(_unsigned, bits=64)


def _not_before_1970(clock: Clock, at_ns: int) -> None:
    if clock.wall_ns(at_ns) < 0:
        _refuse(at_ns, "a time since 1970")


def _key(value: Any) -> ProcessKey:
    pid, started_ns = value
    return ProcessKey(_u32(pid), _u64(started_ns))


def _text(value: Any) -> str:
    return clean(value) if isinstance(value, str) else _refuse(value, "text")


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _arguments(value: Any) -> Arguments:
    if not isinstance(value, list):
        _refuse(value, "a list")
    return arguments_of([_text(part) for part in value])


def _address(value: Any) -> bytes:
    packed = bytes.fromhex(value)
    return packed if len(packed) == _ADDRESS_BYTES else _refuse(value, f"{_ADDRESS_BYTES} bytes")


def _message(value: Any) -> bytes:
    message = bytes.fromhex(value)
    return message if len(message) <= MESSAGE_ROOM else _refuse(value, "a message of that room")


def _host_name(value: Any) -> str:
    return value if isinstance(value, str) and is_host_name(value) else _refuse(value, "a host's name")


def _flag(value: Any) -> bool:
    return value if isinstance(value, bool) else _refuse(value, "true or false")


def _optional(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


_LOOKED_UP = (_time, _key, _u32, _u32, _u64, _u16, _address, _u16, _message, _flag)

_EVENTS: dict[str, tuple[Callable[..., Any], tuple[Callable[[Any], Any], ...]]] = {
    "Found": (Found, (_time, _key, _u32)),
    "Forked": (Forked, (_time, _key, _key, _u32, _u32, _u32)),
    "Execed": (Execed, (_time, _key, _u32, _u32, _u32, _text, _arguments, _flag, _text)),
    "Exited": (Exited, (_time, _key, _u32)),
    "Acted": (
        Acted,
        (
            _time,
            _key,
            _u32,
            Act,
            *[_u32] * 4,
            _u64,
            _u16,
            _address,
            _u16,
            _address,
            _u16,
            Verdict,
            _u32,
            _u64,
            _u32,
            _flag,
            _text,
        ),
    ),
    "Flowed": (Flowed, (_time, _u64, Stage, Outcome, _u16, _u64, _u64, _u32, _address, _u16)),
    "Metered": (Metered, (_time, _u64, _time, _u64, _u64)),
    "Aggregated": (
        Aggregated,
        (
            *(_time, _time, _key, _u32, Act, _optional(Outcome), _u32, _u32, _u32, _u16),
            *(_address, _u16, _flag, _u64, _u64, _u64, Verdict, _u32, _u64, _u32),
        ),
    ),
    "Tampered": (Tampered, (_time, _key, *[_u32] * 4, Tampering, *[_u32] * 3, _flag, _text)),
    "Asked": (Asked, _LOOKED_UP),
    "Answered": (Answered, (*_LOOKED_UP, _flag, _flag)),
    "Switched": (Switched, (_time, _u32, _flag)),
}
