"""Recordings: what a recorder wrote comes back; of anything else the line is told, and never a traceback."""

from __future__ import annotations

import io
import json
import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from exporter.account import KernelCounts
from exporter.errors import UsageError
from exporter.events import Event, ProcessKey
from exporter.programs import Facts, Image
from exporter.recording import Recorder, _plain
from exporter.replay import Replay
from tests.fuzz.draw import Draw
from tests.fuzz.drawn_events import drawn_event, process
from tests.fuzz.playing import play
from tests.unit.pipelines import BEGINNING, NothingKnown

_NAME = "a.rec"
_BOUNDED = ("at_ns", "last_ns", "attempts", "bytes_sent", "bytes_received")
_SANE = (1 << 56) - 1
_PLAYED = 0.2
"""Of what can be read, so much goes through the pipeline, which takes twenty times as long."""
_REFUSAL = re.compile(rf"{re.escape(_NAME)}:\d+:\d+: not a line of a recording \(.*\)")
_DICTIONARY = [
    *(b"\n", b"\r", b"\0", b"[", b"]", b"{", b'"', b",", b"null", b"true", b"NaN", b"-1", b"1e999", b'"end"'),
    *(b"\\ud800", b"\xff", b"\xed\xa0\x80", b"9" * 40, b"[" * 40, b'"Facts"', b'"Image"', b'"Owner"', b"1.0"),
]
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 1 << 16, 1 << 32, 1 << 62, 1 << 63, 1 << 64, 1 << 4000, float("nan")),
    *("", "x", "\ud800", "00" * 16, "00" * 15, "00 " * 16, "\x1b[2J", "Acted", "end", [], {}, [1, 2], [[]]),
    *({"a": 1}, ["a"], "x" * 3000),
)


def check(draw: Draw) -> None:
    """A third come back, the others are changed: a value of a line, or the file's bytes."""
    events = [_sane(drawn_event(draw, process(draw))) for _ in range(1 + draw.length(5))]
    lines = _lines(events)
    way = draw.randrange(3)
    if way == 0:
        again = _replayed("".join(lines).encode())
        assert again is not None
        assert list(again.events()) == events
        _plays(draw, _replayed("".join(lines).encode()))
    elif way == 1:
        for _ in range(1 + draw.length(3)):
            at = draw.randrange(len(lines))
            lines[at] = json.dumps(_changed(draw, json.loads(lines[at]))) + "\n"
        _plays(draw, _replayed("".join(lines).encode()))
    else:
        whole = "".join(lines).encode()
        data = draw.mutated(whole, _DICTIONARY) if draw.chance(0.8) else draw.blob(300)
        _plays(draw, _replayed(data))


def _plays(draw: Draw, recording: Replay | None) -> None:
    if recording is not None and draw.chance(_PLAYED):
        play(recording)


def _sane(event: Event) -> Event:
    """With times and sums that telemetry has numbers for."""
    large = {name: value & _SANE for name, value in event._asdict().items() if name in _BOUNDED}
    return event._replace(**large)


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


def _replayed(data: bytes) -> Replay | None:
    """The recording in these bytes; None for a file that is refused."""
    try:
        recording = Replay(_opened(data), _NAME)
        for _ in recording.events():
            pass
    except UsageError as error:
        _is_told(error)
        return None
    assert recording.attempts >= 0
    return Replay(_opened(data), _NAME)


def _opened(data: bytes) -> io.TextIOWrapper:
    """As the command opens it."""
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="replace")


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
