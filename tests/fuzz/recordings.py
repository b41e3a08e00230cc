"""Recordings: what a recorder wrote comes back; of anything else the line is told, and never a traceback."""

from __future__ import annotations

import io
import json
import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from exporter.common.errors import UsageError
from exporter.events.facts import Event, Metered, ProcessKey
from exporter.events.programs import Facts, Image
from exporter.pipeline.account import KernelCounts
from exporter.pipeline.recording import Recorder, _plain
from exporter.pipeline.recording_reader import RecordingReader
from tests.fuzz.draw import Draw
from tests.fuzz.drawn_events import drawn_event, drawn_of_user_space, process
from tests.fuzz.playing import play
from tests.unit.pipelines import BEGINNING, NothingKnown
from tests.unit.records import ACT, AGGREGATE, ANSWER, ASK, ENDED, ESTABLISHED, EXEC, EXIT, FORK, TAMPER

_NAME = "a.rec"
_BOUNDED = ("at_ns", "last_ns", "acted_ns", "attempts", "bytes_sent", "bytes_received")
_SANE = (1 << 56) - 1
_TIMES = (600, 700, 800, 60_000_000)
_DATAGRAM = ACT._replace(protocol=17, is_metered=True)
_CARRIED = Metered(60_000_000, ACT.cookie, 700, 120, 3)
_STORY: tuple[Event, ...] = (
    *(FORK, EXEC, ACT, ACT, ESTABLISHED, ENDED, _DATAGRAM, _CARRIED, ASK, ANSWER, AGGREGATE, TAMPER, EXIT),
)
"""Parts of one, in any order."""
_SHARED: dict[str, tuple[Any, ...]] = {
    "at_ns": _TIMES,
    "acted_ns": _TIMES,
    "scope": (0, 1, 7),
    "cookie": (0, 77, 77, 77),
    "protocol": (6, 6, 17),
    "peer": (ASK.resolver, ACT.peer),
    "resolver": (ASK.resolver, ACT.peer),
    "peer_port": (53, 443),
    "message": (ASK.message, ANSWER.message, ASK.message[:-3]),
}
_PLAYED = 0.05
"""Of what can be read, so much goes through the pipeline, which takes a hundred times as long."""
_REFUSAL = re.compile(rf"{re.escape(_NAME)}:\d+:\d+: not a line of a recording \(.*\)")
_DICTIONARY = [
    *(b"\n", b"\r", b"\0", b"[", b"]", b"{", b'"', b",", b"null", b"true", b"NaN", b"-1", b"1e999", b'"end"'),
    *(b"\\ud800", b"\xff", b"\xed\xa0\x80", b"9" * 40, b"[" * 5000, b'"Facts"', b'"Image"', b'"Owner"'),
]
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 1 << 16, 1 << 32, 1 << 62, 1 << 63, 1 << 64, 1 << 4000, float("nan")),
    *("", "x", "\ud800", "00" * 16, "00" * 15, "00 " * 16, "\x1b[2J", "Acted", "end", [], {}, [1, 2], [[]]),
    *({"a": 1}, ["a"], "x" * 3000),
)


def check(draw: Draw) -> None:
    """A third come back, the others are changed: values of lines, or the file's bytes."""
    events = [recordable(draw) for _ in range(1 + draw.length(12))]
    lines = _lines(events)
    way = draw.randrange(3)
    if way == 1:
        for _ in range(1 + draw.length(3)):
            at = draw.randrange(len(lines))
            lines[at] = json.dumps(_changed(draw, json.loads(lines[at]))) + "\n"
    data = "".join(lines).encode()
    if way == 2:
        data = draw.mutated(data, _DICTIONARY) if draw.chance(0.8) else draw.blob(300)
    read = _read(data)
    assert way or read == events
    if read is not None and draw.chance(_PLAYED):
        play(_opened(data))


def recordable(draw: Draw) -> Event:
    """Any event, or a part of a story."""
    if draw.chance(0.5):
        return _meeting(draw, draw.choice(_STORY))
    make = drawn_of_user_space if draw.chance(0.1) else drawn_event
    return _meeting(draw, make(draw, process(draw)))


def _meeting(draw: Draw, event: Event) -> Event:
    """With times and sums that telemetry has numbers for, and often with the socket or peer of another."""
    changes: dict[str, Any] = {
        name: value & _SANE for name, value in event._asdict().items() if name in _BOUNDED
    }
    if draw.chance(0.7):
        changes |= {name: draw.choice(_SHARED[name]) for name in event._fields if name in _SHARED}
    return event._replace(**changes)


def _lines(events: list[Event]) -> list[str]:
    """As the recorder writes them."""
    told: list[Any] = [
        ["Facts", ProcessKey(1, 1), *Facts("/builds", "c" * 64)],
        ["Image", ProcessKey(1, 1), *Image("/bin/sh")],
        ["Owner", 1000, "builder"],
        ["HostName", bytes(16), "registry.example"],
    ]
    written = [_line([type(event).__name__, *event]) for event in events]
    end = ["end", 5, *KernelCounts(1 << 60, 0), [3]]
    return [_first_line(), *(_line(each) for each in told), *written, _line(end)]


def _line(value: list[Any]) -> str:
    return json.dumps(value, separators=(",", ":"), default=_plain) + "\n"


@cache
def _first_line() -> str:
    with TemporaryDirectory() as directory:
        path = Path(directory) / _NAME
        recorder = Recorder(path, NothingKnown(), on_failure=print)
        recorder.begin(BEGINNING)
        recorder.close()
        return path.read_text()


def _read(data: bytes) -> list[Event] | None:
    """The events of the recording in these bytes; None for a file that is refused."""
    try:
        return list(_opened(data).events())
    except UsageError as error:
        _is_told(error)
        return None


def _opened(data: bytes) -> RecordingReader:
    """As the command opens it."""
    return RecordingReader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="replace"), _NAME)


def _is_told(error: UsageError) -> None:
    assert _REFUSAL.fullmatch(error.what), error.what
    assert error.what.isprintable()
    assert len(error.what) < 300


def _changed(draw: Draw, value: Any) -> Any:
    """With another value somewhere inside, one more, or one less."""
    if not isinstance(value, list | dict) or not value or draw.chance(0.1):
        return draw.choice(_VALUES)
    if isinstance(value, list) and draw.chance(0.2):
        return draw.choice((value[:-1], [*value, draw.choice(_VALUES)], value * 2))
    keys = list(range(len(value)) if isinstance(value, list) else value)
    key = draw.choice(keys)
    value[key] = _changed(draw, value[key])
    return value
