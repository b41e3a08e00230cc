"""What a job writes about itself has no effect in any output: JSON log, OTLP lines, recording, message.

The table on stderr has its own tests, in test_summary.py. The texts come in as bytes of the kernel's records,
as an environment, and as facts of /proc; each output is written by the code that writes it.
"""

from __future__ import annotations

import io
import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.common.errors import CiEgressError
from exporter.common.text import clean, json_line
from exporter.events import wire
from exporter.events.decode import Decoder
from exporter.events.facts import Event, Execed
from exporter.events.programs import Facts
from exporter.jobs.detect import detect
from exporter.pipeline.recording import Recorder
from exporter.pipeline.recording_reader import RecordingReader
from exporter.pipeline.summary import Summary
from exporter.session.messages import Messages
from tests.unit import pipelines, records
from tests.unit.records import ACT, BASH, EXEC, FORK
from tests.unit.samples import program

TEXTS = {
    "controls": b"a\x01\x07\x08\x1b\x7fb",
    "ANSI": b"\x1b[2J\x1b[31mred\x1b]0;title\x07\x1b]8;;http://evil.example\x1b\\x",
    "8-bit controls": "\x9b2J\x85\x9dx".encode(),
    "lines": "a\nb\rc\u2028d\u2029e\x0bf\x0cg".encode(),
    "bidi": "\u202egnp.exe\u202c\u2066x\u2069\u200f".encode(),
    "hidden": "a\u200bb\ufeffc\u2060d\U000e0041\u00ad".encode(),
    "HTML": b"</script><img src=x onerror=alert(1)>&lt;!--",
    "Markdown": b"[x](javascript:alert(1)) ![](http://evil.example/p) | **b** `c` <details> # h",
    "JSON": b'"},{"level":"info","message":"all is well"}\\u0000\\',
    "invalid UTF-8": b"\xff\xfe\xc0\xaf\xf5\x80\x80\x80caf\xe9",
    "lone surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "markup of rich": b"[red]x[/red][link=http://evil.example]y[/link]",
    "a format": b"%s %n {0} {self} $(id) `id`",
}
EVERY = pytest.mark.parametrize("raw", TEXTS.values(), ids=TEXTS.keys())
_HERE = b"HOSTILE"


def shown(raw: bytes) -> str:
    """The text as it may leave the process."""
    return raw.decode(errors="replace")


def from_environment(raw: bytes) -> str:
    """The text as Python has it from the environment or a command line."""
    return raw.decode(errors="surrogateescape")


def events(raw: bytes) -> list[Event]:
    """A fork, an exec whose program and argument are the text, and a connect, by way of the decoder."""
    path = records.path_block("/bin/HOSTILE").replace(_HERE, raw.replace(b"/", b"_"))
    arguments = records.arguments_block(["HOSTILE", "-x"]).replace(_HERE, raw)
    head = records.header(wire.KIND_EXEC, EXEC.process, EXEC.exec_id, at_ns=EXEC.at_ns)
    fixed = (
        EXEC.parent_pid,
        EXEC.scope,
        len(arguments),
        len(arguments),
        len(path),
        0,
        path,
        raw[: wire.CGROUP_ROOM],
    )
    executed = records.record(wire.EXEC_RECORD, head, *fixed)
    decoder = Decoder()
    given_records = [records.forked(FORK), executed + arguments, records.acted(ACT)]
    return [event for one in given_records for event in decoder.decode(one, 0, len(one))]


def assert_inert(content: bytes) -> list[Any]:
    """Each line is printable ASCII and strict JSON of valid text; returns the parsed lines."""
    assert content.endswith(b"\n")
    assert all(byte == ord("\n") or 0x20 <= byte < 0x7F for byte in content)
    parsed = [json.loads(line) for line in content.splitlines()]
    for one in parsed:
        json.dumps(one, ensure_ascii=False).encode()  # raises where a surrogate is left
    return parsed


class HostileHost(pipelines.NothingKnown):
    def __init__(self, raw: bytes) -> None:
        self._text = shown(raw)

    def facts(self, _: Any) -> Facts:
        return Facts(f"/{self._text}")


@EVERY
def test_the_decoder_lets_through_valid_text_alone(raw: bytes) -> None:
    (executed,) = [event for event in events(raw) if isinstance(event, Execed)]
    assert executed.arguments.as_executed(0) == shown(raw)
    assert executed.path == f"/bin/{shown(raw.replace(b'/', b'_'))}"


@EVERY
def test_otlp_lines_hold_it_as_data(raw: bytes, tmp_path: Path) -> None:
    pipelines.run(events(raw), tmp_path, lookup=HostileHost(raw))
    for name in ("traces.jsonl", "metrics.jsonl"):
        assert_inert((tmp_path / name).read_bytes())
    (egress,) = [span for span in pipelines.spans(tmp_path) if span["name"].startswith("connect")]
    values = {one["key"]: one["value"] for one in egress["attributes"]}
    assert values["process.working_directory"] == {"stringValue": f"/{shown(raw)}"}
    assert values["process.executable.name"] == {"stringValue": shown(raw.replace(b"/", b"_"))}
    assert values["process.command_args"]["arrayValue"]["values"][0] == {"stringValue": shown(raw)}


@EVERY
def test_the_environment_reaches_otlp_lines_as_valid_text(raw: bytes, tmp_path: Path) -> None:
    text = from_environment(raw)
    job = detect({"GITLAB_CI": "true", "CI_PROJECT_PATH": f"g/{text}", "CI_JOB_NAME": text}, job_env=None)
    environment = {"OTEL_SERVICE_NAME": text, "OTEL_RESOURCE_ATTRIBUTES": f"team={text.replace(',', '%2C')}"}
    beginning = replace(pipelines.BEGINNING, job=job)
    pipelines.run(events(raw), tmp_path, beginning=beginning, environment=environment)
    for name in ("traces.jsonl", "metrics.jsonl"):
        assert assert_inert((tmp_path / name).read_bytes())


@EVERY
def test_a_recording_holds_it_as_data_and_plays_it_back(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    recorder = Recorder(path, HostileHost(raw), on_failure=pytest.fail)
    recorder.begin(pipelines.BEGINNING)
    recorder.facts(ACT.process)
    made = events(raw)
    for event in made:
        recorder.event(event)
    recorder.close()
    assert_inert(path.read_bytes())
    again = RecordingReader(io.StringIO(path.read_text()), "a.rec")
    assert list(again.events()) == made
    assert again.facts(ACT.process) == Facts(f"/{shown(raw)}")


@EVERY
def test_a_message_is_one_line_without_effect(raw: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    text = from_environment(raw)
    Messages(as_json=False, is_verbose=True).fail(CiEgressError(f"no {text}", hint=f"try {text}"))
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert re.fullmatch(r"ci-egress: error: no .* try .*\n", said, re.DOTALL)
    assert said.removesuffix("\n").isprintable()


@EVERY
def test_the_json_log_is_one_strict_line(raw: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    text = from_environment(raw)
    summary = Summary({})
    summary.left_behind([program("/bin/x", (shown(raw),), process=BASH)])
    messages = Messages(as_json=True, is_verbose=False)
    messages.say(text, level=logging.WARNING, detail=text, hint=text, summary=summary.fields())
    (told,) = assert_inert(capfd.readouterr().err.encode())
    assert told["message"] == told["detail"] == told["hint"] == clean(text)


_ANY_TEXT = st.text(st.characters(codec=None))


@given(st.recursive(_ANY_TEXT, lambda inner: st.lists(inner) | st.dictionaries(_ANY_TEXT, inner)))
def test_any_text_is_one_line_of_strict_json(value: object) -> None:
    assert_inert(f"{json_line(value)}\n".encode())
