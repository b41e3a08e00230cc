"""Recordings: a job's events as JSON lines, so that the pipeline can be run again, anywhere, without root.

The first line tells the job and the clock, the last what the kernel counted; in between each line is
`[type, field, …]` of an event, or of facts that were looked up. What a span would redact is redacted here.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from exporter.account import KernelCounts
from exporter.clock import Clock
from exporter.errors import UsageError
from exporter.events import Act, Acted, Event, Execed, Exited, Forked, ProcessKey
from exporter.jobs.model import Job, TraceIds
from exporter.processes import Facts, Image, Lookup
from exporter.text import clean

VERSION = 1
_LINE_MAX = 1 << 20
_ADDRESS_BYTES = 16


@dataclass(frozen=True)
class Beginning:
    """What is known when a job begins."""

    job: Job
    clock: Clock
    root: ProcessKey
    scope: int
    at_ns: int


@dataclass(frozen=True)
class Ending:
    """What is known when it is over."""

    at_ns: int
    kernel: KernelCounts


class Recorder:
    """Writes a recording, and stands between the pipeline and /proc to keep what was looked up."""

    def __init__(self, path: Path, lookup: Lookup) -> None:
        """Create `path`, readable by its owner alone. Raises UsageError when that can't be done."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._file = os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"cannot write {path}: {error.strerror}", hint="give --record another path"
            ) from None
        self._lookup = lookup

    def close(self) -> None:
        """Finish the file. Raises OSError when the disk is full."""
        self._file.close()

    def begin(self, beginning: Beginning) -> None:
        """Write the first line."""
        self._write(["recording", VERSION, asdict(beginning.job), *beginning.clock, *_rest(beginning)])

    def event(self, event: Event) -> None:
        """Write an event."""
        self._write([type(event).__name__, *event])

    def end(self, ending: Ending) -> None:
        """Write the last line."""
        self._write(["end", ending.at_ns, *ending.kernel])

    def facts(self, process: ProcessKey) -> Facts:
        """Look up and write."""
        facts = self._lookup.facts(process)
        self._write(["Facts", process, *facts])
        return facts

    def image(self, process: ProcessKey) -> Image:
        """Look up and write."""
        image = self._lookup.image(process)
        self._write(["Image", process, *image])
        return image

    def _write(self, line: list[Any]) -> None:
        json.dump(line, self._file, ensure_ascii=True, separators=(",", ":"), default=bytes.hex)
        self._file.write("\n")


def _rest(beginning: Beginning) -> tuple[ProcessKey, int, int]:
    return beginning.root, beginning.scope, beginning.at_ns


class Replay:
    """A recording being read; also the `Lookup` of what it recorded."""

    def __init__(self, stream: IO[str], name: str) -> None:
        """Read the first line of `stream`, a file called `name` in errors. Raises UsageError."""
        self._name = name
        self._lines = enumerate(iter(lambda: stream.readline(_LINE_MAX), ""), start=1)
        self._facts: dict[ProcessKey, deque[Facts]] = {}
        self._images: dict[ProcessKey, deque[Image]] = {}
        self.ending: Ending | None = None
        """None until the last event was read, and for a recording that was broken off."""
        self.beginning = self._read_beginning()

    def events(self) -> Iterator[Event]:
        """The events in their order, each after what was looked up for it. UsageError at a bad line."""
        held: Event | None = None
        for number, line in self._lines:
            with self._reading(number):
                kind, *values = json.loads(line)
                if kind in ("Facts", "Image"):
                    self._keep(kind, values)
                    continue
                if held is not None:
                    yield held
                held = None
                if kind == "end":
                    self.ending = Ending(_number(values[0]), KernelCounts(*map(_number, values[1:])))
                else:
                    held = _event(kind, values)
        if held is not None:
            yield held

    def facts(self, process: ProcessKey) -> Facts:
        """What was looked up then; nothing when it wasn't."""
        kept = self._facts.get(process)
        return kept.popleft() if kept else Facts()

    def image(self, process: ProcessKey) -> Image:
        """What was looked up then; nothing when it wasn't."""
        kept = self._images.get(process)
        return kept.popleft() if kept else Image()

    def _read_beginning(self) -> Beginning:
        number, line = next(self._lines, (1, "[]"))
        with self._reading(number):
            kind, version, job, offset_ns, root, scope, at_ns = json.loads(line)
            if (kind, version) != ("recording", VERSION):
                raise ValueError(f"it is a {kind} of version {version}")
            ids = TraceIds(**job.pop("ids"))
            clock = Clock(_signed(offset_ns))
            return Beginning(Job(ids=ids, **job), clock, _key(root), _number(scope), _number(at_ns))

    def _keep(self, kind: str, values: list[Any]) -> None:
        process = _key(values[0])
        if kind == "Facts":
            self._facts.setdefault(process, deque()).append(Facts(*map(_optional_text, values[1:])))
        else:
            image = Image(_optional_text(values[1]), _texts(values[2]))
            self._images.setdefault(process, deque()).append(image)

    @contextmanager
    def _reading(self, number: int) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise UsageError(
                f"{self._name}:{number}:1: not a line of a recording ({error})",
                hint=f"use a file made by `ci-egress run --record FILE`, version {VERSION}",
            ) from None


def _event(kind: str, values: list[Any]) -> Event:
    make, fields = _EVENTS[kind]
    if len(values) != len(fields):
        raise ValueError(f"{kind} has {len(values)} fields instead of {len(fields)}")
    event: Event = make(*(convert(value) for convert, value in zip(fields, values, strict=True)))
    return event


def _signed(value: Any) -> int:
    if type(value) is not int or abs(value) >= 1 << 63:
        raise ValueError(f"{value!r} is not a number of 64 bits")
    return value


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise ValueError(f"{value!r} is not a number of 64 bits")
    return value


def _key(value: Any) -> ProcessKey:
    pid, started_ns = value
    return ProcessKey(_number(pid), _number(started_ns))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return clean(value)


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return tuple(_text(part) for part in value)


def _address(value: Any) -> bytes:
    packed = bytes.fromhex(value)
    if len(packed) != _ADDRESS_BYTES:
        raise ValueError(f"{value!r} is not an address of {_ADDRESS_BYTES} bytes")
    return packed


_EVENTS: dict[str, tuple[Callable[..., Any], tuple[Callable[[Any], Any], ...]]] = {
    "Forked": (Forked, (_number, _key, _key, _number, _number, _number)),
    "Execed": (Execed, (_number, _key, _number, _number, _number, _text, _texts, bool)),
    "Exited": (Exited, (_number, _key, _number)),
    "Acted": (
        Acted,
        (_number, _key, _number, Act, *[_number] * 6, _address, _number, _address, _number),
    ),
}
