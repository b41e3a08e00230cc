"""Recordings: what was recorded comes back, what isn't a recording is refused with its place."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.common.clock import Clock
from exporter.common.errors import UsageError
from exporter.events.arguments import arguments_of
from exporter.events.facts import (
    Act,
    Event,
    ProcessKey,
)
from exporter.events.programs import Facts, Image
from exporter.events.wire import MESSAGE_ROOM
from exporter.pipeline.account import KernelCounts
from exporter.pipeline.process_spans import ProcessSpans
from exporter.pipeline.recording import VERSION, Beginning, Ending, Recorder
from exporter.pipeline.recording_reader import RecordingReader
from tests.fuzz.draw import Draw
from tests.fuzz.recordings import recordable
from tests.fuzz.strategies import draws
from tests.unit import pipelines
from tests.unit.pipelines import BEGINNING, END_NS, ROOT, NothingKnown
from tests.unit.records import ACT, AGGREGATE, ASK, ENDED, ESTABLISHED, EXEC, EXIT, FORK, TAMPER

ENDING = Ending(END_NS, KernelCounts(attempts=1 << 40, lost=2), [30, 31])


def fail(what: str) -> None:
    raise AssertionError(what)


def record(path: Path, events: Sequence[Event], *, ending: Ending | None = ENDING) -> list[str]:
    """Record and return the lines."""
    recorder = Recorder(path, NothingKnown(), on_failure=fail)
    recorder.begin(BEGINNING)
    for event in events:
        recorder.event(event)
    if ending:
        recorder.end(ending)
    recorder.close()
    return path.read_text().splitlines(keepends=True)


def replay(lines: Sequence[str]) -> RecordingReader:
    return RecordingReader(io.StringIO("".join(lines)), "a.rec")


@given(draws())
def test_every_event_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, draw: Draw) -> None:
    events = draw.some(lambda: recordable(draw), 8)
    lines = record(tmp_path_factory.mktemp("recording") / "a.rec", events)
    recording = replay(lines)
    again = list(recording.events())
    assert again == events
    assert [type(event) for event in again] == [type(event) for event in events]
    assert (recording.beginning, recording.ending) == (BEGINNING, ENDING)


def test_what_was_looked_up_comes_back_for_the_event_that_asked(tmp_path: Path) -> None:
    answers = iter([Facts("/first"), Facts("/second", "c" * 64), Facts()])
    images = iter(
        [Image("/bin/root", arguments_of(["root"])), Image("/bin/late", arguments_of(["late", "-x"]))]
    )

    class Changing(NothingKnown):
        def facts(self, _: ProcessKey) -> Facts:
            return next(answers)

        def image(self, _: ProcessKey) -> Image:
            return next(images)

    recorder = Recorder(tmp_path / "a.rec", Changing(), on_failure=fail)
    recorder.begin(BEGINNING)
    recorder.image(ROOT)
    for _ in range(2):
        recorder.event(ACT)
        recorder.facts(ACT.process)
    recorder.event(EXIT)
    recorder.image(ROOT)
    recorder.facts(ROOT)
    recorder.close()

    recording = replay([(tmp_path / "a.rec").read_text()])
    assert recording.image(ROOT) == Image("/bin/root", arguments_of(["root"])), (
        "the root's is asked for before any event"
    )
    events = recording.events()
    assert (next(events), recording.facts(ACT.process)) == (ACT, Facts("/first"))
    assert (next(events), recording.facts(ACT.process)) == (ACT, Facts("/second", "c" * 64))
    assert (next(events), recording.image(ROOT)) == (EXIT, Image("/bin/late", arguments_of(["late", "-x"])))
    assert (recording.facts(ROOT), recording.facts(ROOT), recording.image(ROOT)) == (
        Facts(),
        Facts(),
        Image(),
    )


STORY: list[Event] = [
    EXEC._replace(
        process=ROOT, at_ns=700, path="/bin/bash", arguments=arguments_of(["bash", "-c", "é\x1b[31m"])
    ),
    FORK._replace(creator=ROOT),
    EXEC,
    ACT,
    ACT._replace(at_ns=4_000_001, act=Act.SEND, protocol=17, peer_port=53),
    ACT._replace(process=ProcessKey(400, 5), at_ns=4_000_002),
    TAMPER,
    ESTABLISHED,
    ENDED,
    EXIT,
    AGGREGATE,
]


class Host(NothingKnown):
    """Knows something of everybody."""

    def facts(self, process: ProcessKey) -> Facts:
        return Facts(f"/builds/{process.pid}", None)

    def image(self, process: ProcessKey) -> Image:
        return Image(f"/bin/p{process.pid}", arguments_of([f"p{process.pid}", "--late"]))

    def owner(self, uid: int) -> str:
        return f"user of another host {uid}"


@pytest.mark.parametrize("mode", list(ProcessSpans))
def test_a_replay_gives_the_same_bytes_of_trace(tmp_path: Path, mode: ProcessSpans) -> None:
    path = tmp_path / "a.rec"
    recorder = Recorder(path, Host(), on_failure=fail)
    recorder.begin(BEGINNING)

    def recorded() -> Any:
        for event in STORY:
            recorder.event(event)
            yield event

    pipelines.run(recorded(), tmp_path / "direct", lookup=recorder, process_spans=mode)
    recorder.end(ENDING)
    recorder.close()
    with path.open() as stream:
        recording = RecordingReader(stream, "a.rec")
        pipelines.run(
            recording.events(),
            tmp_path / "again",
            lookup=recording,
            process_spans=mode,
            beginning=recording.beginning,
        )
    direct = (tmp_path / "direct" / "traces.jsonl").read_bytes()
    assert direct == (tmp_path / "again" / "traces.jsonl").read_bytes()
    assert direct.count(b'"connect 192.0.2.7:443"') == 2


def test_a_recording_is_its_owners_to_write_and_follows_no_link(tmp_path: Path) -> None:
    record(tmp_path / "a.rec", [])
    assert (tmp_path / "a.rec").stat().st_mode & 0o777 == 0o644
    (tmp_path / "link").symlink_to(tmp_path / "a.rec")
    with pytest.raises(UsageError, match=r"cannot write .*link: .*; give --record another path"):
        Recorder(tmp_path / "link", NothingKnown(), on_failure=fail)


def test_a_full_disk_is_told_once_and_tracing_goes_on() -> None:
    told: list[str] = []
    recorder = Recorder(Path("/dev/full"), NothingKnown(), on_failure=told.append)
    recorder.begin(BEGINNING)
    for _ in range(1000):
        recorder.event(EXEC)
        assert recorder.facts(ACT.process) == Facts()
    recorder.end(ENDING)
    recorder.close()
    assert told == ["the recording ends early: cannot write /dev/full: No space left on device"]


def test_a_recording_without_its_end_is_played_as_far_as_it_goes(tmp_path: Path) -> None:
    lines = record(tmp_path / "a.rec", [FORK, EXEC, ACT])
    for whole, cut in ((lines[:-1], ""), (lines[:-1], lines[-1][:7]), (lines[:3], lines[3][:-1])):
        recording = replay([*whole, cut])
        assert list(recording.events()) == [FORK, EXEC, ACT][: len(whole) - 1]
        assert recording.ending is None


def test_nothing_counts_behind_the_end(tmp_path: Path) -> None:
    lines = record(tmp_path / "a.rec", [ACT])
    assert list(replay([*lines, lines[1], "garbage\n"]).events()) == [ACT]


LATER = {
    "no JSON": ("{", 2),
    "JSON that breaks off": ('["Exited",5', 12),
    "a number": ("5", 1),
    "null": ("null", 1),
    "an empty list": ("[]", 1),
    "an unknown type": ('["Teleported",1]', 1),
    "a type that is no text": ("[[],1]", 1),
    "an escape sequence as type": ('["\\u001b[2J",[1,2]]', 1),
    "too few fields": ('["Exited",1]', 1),
    "too many fields": ('["Exited",1,[1,2],3,4]', 1),
    "a fraction": ('["Exited",1.5,[1,2],3]', 1),
    "infinity": ('["Exited",Infinity,[1,2],3]', 1),
    "a negative number": ('["Exited",-1,[1,2],3]', 1),
    "more than 64 bits": (f'["Exited",{1 << 64},[1,2],3]', 1),
    "a number beyond reading": (f'["Exited",{"9" * 5000},[1,2],3]', 1),
    "a pid of more than 32 bits": (f'["Exited",1,[{1 << 32},2],3]', 1),
    "true for a number": ('["Exited",true,[1,2],3]', 1),
    "a number for text": ('["Execed",1,[1,2],1,1,1,7,["a"],false]', 1),
    "text for a list": ('["Execed",1,[1,2],1,1,1,"/a","abc",false]', 1),
    "text for a flag": ('["Execed",1,[1,2],1,1,1,"/a",["a"],"no"]', 1),
    "half a key": ('["Exited",1,[1],3]', 1),
    "an end without counts": ('["end",1]', 1),
    "an end with fewer attempts than there were": ('["end",1,0,0,[]]', 1),
    "facts of nobody": ('["Facts"]', 1),
    "facts with too much": ('["Facts",[1,2],"/",null,"more"]', 1),
    "an image without argv": ('["Image",[1,2],"/bin/a"]', 1),
    "nesting without end": ("[" * 100_000, 1),
}


@pytest.mark.parametrize(("line", "column"), LATER.values(), ids=LATER.keys())
def test_a_line_that_is_none_is_refused_with_file_line_and_column(
    tmp_path: Path, line: str, column: int
) -> None:
    lines = record(tmp_path / "a.rec", [ACT])
    with pytest.raises(UsageError, match=rf"^a\.rec:3:{column}: not a line of a recording \(") as caught:
        list(replay([*lines[:2], f"{line}\n", lines[-1]]).events())
    assert caught.value.what.isprintable()
    assert len(caught.value.what) < 300


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "from there on it is no JSON"),
        ('["Exited', "from there on it is no JSON"),
        ('["Exited"]', "Exited has 0 fields instead of 3"),
        ("[]", "it isn't a known type with its values"),
        ('["Owner"]', "it isn't a known type with its values"),
        ('["Teleported",1]', "there is no Teleported"),
        ('["Exited",1,[1,2],"3"]', '"3" is not a number of 32 bits'),
        ('["Owner",1,null]', "null is not text"),
    ],
)
def test_what_is_wrong_with_a_line_is_told_in_words_of_the_recording(
    tmp_path: Path, line: str, why: str
) -> None:
    (first, _) = record(tmp_path / "a.rec", [])
    with pytest.raises(UsageError) as caught:
        replay([first, f"{line}\n"])
    assert caught.value.what.endswith(f"not a line of a recording ({why})")


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(UsageError, match=r"^a\.rec:1:1: .*\(the file is empty: the run ended before"):
        replay([])


def test_what_was_written_a_second_ago_is_in_the_file_already(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    recorder = Recorder(path, NothingKnown(), on_failure=fail)
    recorder.begin(BEGINNING)
    assert replay(path.read_text()).beginning == BEGINNING
    recorder.event(ACT)
    deadline_s = time.monotonic() + 60
    while not list(replay(path.read_text()).events()):
        assert time.monotonic() < deadline_s, "it was never flushed"
        recorder.tick()
    recorder.close()


def acted(**changes: Any) -> str:
    values = {
        name: bytes.hex(value) if isinstance(value, bytes) else value for name, value in ACT._asdict().items()
    }
    return json.dumps(["Acted", *(values | changes).values()])


@pytest.mark.parametrize(
    "changes",
    [
        {"peer": "00" * 15},
        {"peer": "zz" * 16},
        {"peer": None},
        {"peer_port": 1 << 16},
        {"uid": 1 << 32},
        {"act": 4},
    ],
)
def test_an_act_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    lines = record(tmp_path / "a.rec", [])
    with pytest.raises(UsageError, match=r"^a\.rec:2:1: "):
        list(replay([lines[0], acted(**changes) + "\n"]).events())


FIRST = {
    "an empty file": "",
    "an event": '["Exited",1,[1,2],3]\n',
    "another file": '{"resourceSpans":[]}\n',
    "nesting without end": "[" * 100_000 + "\n",
}


@pytest.mark.parametrize("text", FIRST.values(), ids=FIRST.keys())
def test_a_file_that_is_no_recording_is_refused_at_its_first_line(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"^a\.rec:1:\d+: .*; use a file made by `ci-egress run --record FILE`"
    ):
        replay([text])


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ((1,), 1),
        ((2,), None),
        ((2, "run_id"), None),
        ((2, "pipeline"), 7),
        ((2, "surprise\x1b"), "x"),
        ((2, "ids", "trace_id"), 0),
        ((2, "ids", "trace_id"), "af"),
        ((2, "ids", "trace_id"), 1 << 128),
        ((2, "ids", "job_span_id"), 1 << 64),
        ((2, "ids", "parent_span_id"), 0),
        ((2, "ids", "trace_state"), None),
        ((3,), 1 << 63),
        ((4,), [1]),
    ],
)
def test_a_job_that_cannot_be_is_refused(tmp_path: Path, where: tuple[Any, ...], value: Any) -> None:
    (line, _) = record(tmp_path / "a.rec", [])
    changed = json.loads(line)
    inner = changed
    for step in where[:-1]:
        inner = inner[step]
    inner[where[-1]] = value
    with pytest.raises(UsageError, match=r"^a\.rec:1:1: ") as caught:
        replay([json.dumps(changed) + "\n"])
    assert caught.value.what.isprintable()


HUGE = (1 << 62) - 1
BEYOND_OTLP: dict[str, list[Event]] = {
    "a time": [ACT._replace(at_ns=HUGE + 1)],
    "attempts": [AGGREGATE._replace(attempts=1 << 63)],
    "attempts in all": [AGGREGATE._replace(attempts=HUGE)] * 3,
    "bytes": [ENDED._replace(bytes_sent=1 << 63)],
    "bytes in all": [AGGREGATE._replace(bytes_sent=HUGE, bytes_received=HUGE), ENDED],
}


@pytest.mark.parametrize("events", BEYOND_OTLP.values(), ids=BEYOND_OTLP.keys())
def test_numbers_that_telemetry_has_no_room_for_are_refused(tmp_path: Path, events: list[Event]) -> None:
    lines = record(tmp_path / "a.rec", events)
    with pytest.raises(UsageError, match=rf"^a\.rec:{1 + len(events)}:1: "):
        list(replay(lines).events())


def test_a_time_before_1970_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.rec", NothingKnown(), on_failure=fail)
    recorder.begin(Beginning(BEGINNING.job, Clock(-600), ROOT, 1, 600))
    recorder.event(EXIT._replace(at_ns=599))
    recorder.end(Ending(599, KernelCounts(0, 0), []))
    recorder.close()
    first, event, end = (tmp_path / "a.rec").read_text().splitlines(keepends=True)
    assert replay([first]).beginning.clock.wall_ns(600) == 0
    for lines, number in (
        ([first, event], 2),
        ([first, end], 2),
        ([first.replace(",600,null,null]", ",599,null,null]")], 1),
    ):
        with pytest.raises(UsageError, match=rf"^a\.rec:{number}:1: .*599 is not a time since 1970"):
            list(replay(lines).events())


def test_the_step_comes_back(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.rec", NothingKnown(), on_failure=fail)
    beginning = replace(BEGINNING, step="__run_2")
    recorder.begin(beginning)
    recorder.close()
    assert replay([(tmp_path / "a.rec").read_text()]).beginning == beginning


def test_another_version_is_named() -> None:
    with pytest.raises(UsageError, match=f"it is a recording of version {VERSION + 1}"):
        replay([f'["recording",{VERSION + 1}]\n'])


def test_the_clock_may_run_behind_the_start_of_the_machine(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.rec", NothingKnown(), on_failure=fail)
    early = Beginning(BEGINNING.job, Clock(-5), ROOT, 1, 600)
    recorder.begin(early)
    recorder.close()
    assert replay([(tmp_path / "a.rec").read_text()]).beginning == early


@given(st.text(max_size=60))
def test_no_text_at_all_raises_anything_but_a_usage_error(text: str) -> None:
    lines = ['["recording",1,{}]\n', f"{text}\n"]
    for attempt in ([text], lines):
        try:
            list(replay(attempt).events())
        except UsageError:
            continue


@pytest.mark.parametrize("message", ["x", "0", "00" * (MESSAGE_ROOM + 1), 7, None], ids=repr)
def test_a_message_that_cannot_be_one_is_refused(tmp_path: Path, message: object) -> None:
    lines = record(tmp_path / "a.rec", [ASK])
    kind, *values = json.loads(lines[1])
    lines[1] = json.dumps([kind, *values[:-2], message, False]) + "\n"
    with pytest.raises(UsageError, match=r"a\.rec:2:1: not a line of a recording"):
        replay(lines)


def test_what_the_host_calls_a_peer_comes_back_as_it_was_at_each_event(tmp_path: Path) -> None:
    known: dict[bytes, str | None] = {}

    class Named(NothingKnown):
        def host_name(self, peer: bytes, _at_ns: int) -> str | None:
            return known.get(peer)

    path = tmp_path / "a.rec"
    recorder = Recorder(path, Named(), on_failure=fail)
    recorder.begin(BEGINNING)
    names = ["db.internal", "db.internal", None, "other.internal", None]
    for name in names:
        known[ACT.peer] = name
        recorder.event(ACT)
        assert recorder.host_name(ACT.peer, ACT.at_ns) == name
        assert recorder.host_name(ACT.local, ACT.at_ns) is None
    recorder.end(ENDING)
    recorder.close()
    lines = path.read_text().splitlines(keepends=True)
    assert len([line for line in lines if "HostName" in line]) == 4
    recording = replay(lines)
    assert [recording.host_name(ACT.peer, event.at_ns) for event in recording.events()] == names


@pytest.mark.parametrize("name", ["", "a b", "UPPER", "<script>", 7, []], ids=repr)
def test_a_host_name_that_is_none_is_refused(tmp_path: Path, name: object) -> None:
    lines = record(tmp_path / "a.rec", [ACT])
    lines.insert(1, json.dumps(["HostName", ACT.peer.hex(), name]) + "\n")
    with pytest.raises(UsageError, match=r"a\.rec:2:1: not a line of a recording"):
        replay(lines)
