"""Tampering is told in the words of whoever reads C, and without guessing."""

from __future__ import annotations

import io
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.events.facts import Tampered, Tampering
from exporter.pipeline.summary import Summary
from exporter.pipeline.summary_table import ROWS_MAX
from exporter.pipeline.tampering import attributes, detail_of, lost_sentence, sentence
from exporter.session.guards.checks import Guards, Owner
from tests.unit.pipelines import ROOT, log_records, run, spans
from tests.unit.records import BASH, DENIED_TAMPER, EXEC, TAMPER
from tests.unit.samples import CLOCK, bash, program


def tampered(what: Tampering, detail: int) -> Tampered:
    """Of this kind."""
    return TAMPER._replace(what=what, detail=detail)


@pytest.mark.parametrize(
    ("what", "detail", "name"),
    [
        (Tampering.PACKET_SOCKET, 0x0003, "ETH_P_ALL"),
        (Tampering.PACKET_SOCKET, 0x88CC, "0x88cc"),
        (Tampering.PACKET_SOCKET, 0, "0x0000"),
        (Tampering.BPF, 0, "BPF_MAP_CREATE"),
        (Tampering.BPF, 5, "BPF_PROG_LOAD"),
        (Tampering.BPF, 7, "BPF_OBJ_GET"),
        (Tampering.BPF, 28, "BPF_LINK_CREATE"),
        (Tampering.BPF, 34, "BPF_LINK_DETACH"),
        (Tampering.BPF, 36, "BPF_TOKEN_CREATE"),
        (Tampering.BPF, 4000, "0xfa0"),
        (Tampering.SIGNAL, signal.SIGKILL, "SIGKILL"),
        (Tampering.SIGNAL, 40, "signal 40"),
        (Tampering.PTRACE, 0x4206, "PTRACE_SEIZE"),
        (Tampering.PTRACE, 0x4299, "0x4299"),
        (Tampering.MEMORY, 0, None),
    ],
)
def test_a_detail_has_the_name_that_c_gives_it(what: Tampering, detail: int, name: str | None) -> None:
    assert detail_of(tampered(what, detail)) == name


def test_attributes_say_what_was_done_and_how_often() -> None:
    assert attributes(TAMPER) == {
        "egress.tamper.kind": "signal",
        "egress.tamper.detail": "SIGKILL",
        "egress.tamper.attempts": 2,
    }
    assert attributes(tampered(Tampering.MEMORY, 0)) == {
        "egress.tamper.kind": "memory",
        "egress.tamper.attempts": 2,
    }
    assert attributes(DENIED_TAMPER) == {
        "egress.tamper.kind": "other_memory",
        "egress.tamper.detail": f"Runner.Worker ({BASH.pid})",
        "egress.tamper.attempts": 2,
        "egress.verdict": "deny",
    }


@given(st.sampled_from(Tampering), st.integers(0, 2**32 - 1), st.text(), st.booleans())
def test_whatever_the_detail_there_is_a_sentence(
    what: Tampering, detail: int, target: str, is_denied: bool
) -> None:
    event = tampered(what, detail)._replace(target=target, is_denied=is_denied)
    told = sentence(event)
    is_named = not is_denied or what in {Tampering.PACKET_SOCKET, Tampering.OTHER_MEMORY}
    assert ((is_named and detail_of(event)) or "") in told
    assert told.isprintable()


def test_what_was_denied_is_told_as_denied() -> None:
    assert sentence(DENIED_TAMPER) == f"was denied the memory of Runner.Worker ({BASH.pid})"
    assert sentence(DENIED_TAMPER._replace(is_denied=False, target="")) == (
        f"reached for the memory of a process ({BASH.pid})"
    )


def test_a_packet_socket_that_came_too_early_is_described() -> None:
    words = "made a packet socket before what it sends was stopped in its network"
    assert sentence(tampered(Tampering.FRAMES, 0)) == words


def summary_of(*events: Tampered) -> str:
    """What a person reads about them."""
    summary, stream = Summary({}), io.StringIO()
    for event in events:
        summary.tampered(event, program(parent=bash()))
    summary.print(stream, account="attempts 0", title="egress")
    return stream.getvalue()


def test_the_summary_warns_once_of_each_way_of_tampering() -> None:
    text = summary_of(TAMPER, TAMPER._replace(times=3), tampered(Tampering.BPF, 0))
    assert [line for line in text.splitlines() if line.startswith("warning")] == [
        f"warning: tampering: bash > curl ({TAMPER.process.pid}) sent SIGKILL to ci-egress",
        f"warning: tampering: bash > curl ({TAMPER.process.pid}) called bpf(BPF_MAP_CREATE)",
    ]


def test_many_ways_of_tampering_are_counted() -> None:
    events = [tampered(Tampering.PACKET_SOCKET, number) for number in range(1000, 1000 + ROWS_MAX + 7)]
    text = summary_of(*events)
    assert text.count("warning: tampering: ") == ROWS_MAX
    assert "warning: … and 7 more ways of tampering\n" in text


def test_what_is_gone_of_ci_egress_is_listed_up_to_a_bound() -> None:
    home = "/sys/fs/bpf/ci-egress/1"
    assert lost_sentence("detached", ["on_connect4"], home) == (
        "programs of ci-egress were detached; what they saw is neither told nor denied any more: on_connect4"
    )
    told = lost_sentence("unpinned", [f"map_{number}" for number in range(30)], home)
    assert told.startswith(f"pins of ci-egress were removed from {home}, as by `ci-egress stop`; ")
    assert told.endswith(": map_0, map_1, map_2, map_3, map_4, map_5, map_6, map_7, and 22 more")


def test_tampering_is_a_log_record_in_the_trace_at_its_program(tmp_path: Path) -> None:
    exec_ = EXEC._replace(process=ROOT, at_ns=700)
    event = TAMPER._replace(process=ROOT, uid=4_000_001)
    account = run([exec_, event], tmp_path)
    (record,) = log_records(tmp_path)
    (of_program,) = (span for span in spans(tmp_path) if span["name"] == "curl")
    told = {one["key"]: next(iter(one["value"].values())) for one in record["attributes"]}
    assert (record["eventName"], record["severityNumber"]) == ("cicd.egress.tamper", 17)
    assert int(record["timeUnixNano"]) == CLOCK.wall_ns(event.at_ns)
    assert (record["traceId"], record["spanId"]) == (of_program["traceId"], of_program["spanId"])
    assert told["process.executable.path"] == EXEC.path
    assert (told["process.pid"], told["process.owner"]) == (str(ROOT.pid), "4000001")
    assert (told["egress.tamper.kind"], told["egress.tamper.detail"]) == ("signal", "SIGKILL")
    assert told["cicd.pipeline.name"] == "release"
    assert record["body"] == {"stringValue": f"curl ({ROOT.pid}) sent SIGKILL to ci-egress"}
    assert account.attempts == 0


def test_that_files_were_moved_away_is_told_once_for_each_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    records, warned, moved = list[Any](), list[str](), [Path("/out"), Path("/out"), Path("/els\new\x1b[31m")]
    telemetry = SimpleNamespace(resource=None, log=records.append, moved=lambda: moved)
    outlets: Any = SimpleNamespace(telemetry=telemetry, metrics=None, clock=CLOCK)
    nothing: Any = SimpleNamespace(account=lambda: SimpleNamespace(dropped={}))
    guards = Guards(nothing, outlets, nothing, lambda _: None, Owner(warned=warned.append))
    for _ in range(2):
        guards.tell_losses()
    assert [(record.attributes, record.body) for record in records] == [
        ({"egress.tamper.kind": "moved"}, words) for words in warned
    ]
    assert len(warned) == 2
    assert all(words in capsys.readouterr().err for words in warned[:1])
    assert all(words.isprintable() for words in warned)
