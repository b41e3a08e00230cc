"""The transcript of a run: its spans, bounded, in no account, and nothing of it left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind

from exporter.otlp.environment import resolve_destinations
from exporter.otlp.ledger import LedgerTotals
from exporter.otlp.sinks import SpoolError
from exporter.otlp.telemetry import Telemetry
from exporter.otlp.transcript import Transcript
from exporter.pipeline.account import Account as Whole
from exporter.pipeline.spans import _SCOPE as SCOPE
from exporter.report.model import Report
from exporter.report.read import read_transcript

NOTHING = Whole(0, 0, 0)


def span(number: int, padding: int = 0) -> ReadableSpan:
    return ReadableSpan(
        "connect a.example:443",
        SpanContext(1, number, is_remote=False),
        resource=Resource({}),
        attributes={"server.address": "a.example", "server.port": 443, "padding": "x" * padding},
        kind=SpanKind.CLIENT,
        start_time=number,
        end_time=number,
        instrumentation_scope=SCOPE,
    )


def told(transcript: Transcript) -> Report:
    return read_transcript(transcript.path, NOTHING, transcript.account.dropped)


def submitted(transcript: Transcript, spans: list[ReadableSpan], **environment: str) -> LedgerTotals:
    """What the telemetry's own account says of `spans`, which stand for two attempts each."""
    with Telemetry(resolve_destinations(environment, otlp_dir=None), {}, transcript=transcript) as telemetry:
        for each in spans:
            telemetry.submit(each, 2)
        telemetry.close(60)  # a busy machine may need long
        return telemetry.account


@pytest.fixture(autouse=True)
def _files_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_has_all_spans_and_the_account_has_them_once() -> None:
    transcript = Transcript()
    account = submitted(transcript, [span(number) for number in range(1, 2000)])
    assert account == LedgerTotals(exported=2 * 1999)
    assert transcript.account == LedgerTotals(exported=2 * 1999)
    report = told(transcript)
    assert len(report.jobs[0].acts) == 1999
    transcript.close()


def test_with_the_export_disabled_there_is_a_report_all_the_same() -> None:
    transcript = Transcript()
    submitted(transcript, [span(1)], OTEL_SDK_DISABLED="true")
    assert len(told(transcript).jobs[0].acts) == 1
    transcript.close()


def test_what_it_has_no_room_for_is_told_and_nothing_else_suffers() -> None:
    transcript = Transcript(limit_bytes=2_500_000)
    account = submitted(transcript, [span(number, padding=5000) for number in range(1, 1001)])
    assert account == LedgerTotals(exported=2000)
    report = told(transcript)
    kept = len(report.jobs[0].acts)
    assert 100 < kept < 500
    assert report.left_out == 2000 - 2 * kept
    assert report.notes == (
        f"{report.left_out} attempts found no room in what this is made from (transcript_full)",
    )
    transcript.close()


def test_it_is_nobody_else_s_and_has_no_name(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    transcript = Transcript(str(tmp_path / "kept"))
    submitted(transcript, [span(1)])
    status = transcript.path.stat()
    assert (status.st_nlink, status.st_mode & 0o077, status.st_uid) == (0, 0, os.geteuid())
    beside = tmp_path / "beside"  # of a file: an overlay tells another device of a folder
    beside.touch()
    assert status.st_dev == beside.stat().st_dev
    assert [*(tmp_path / "kept").iterdir()] == []
    transcript.close()


def test_a_folder_that_takes_no_files_leaves_it_to_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("exporter.otlp.transcript._FOLDERS", (str(tmp_path),))
    Transcript("/proc").close()
    monkeypatch.setattr("exporter.otlp.transcript._FOLDERS", ("/proc",))
    with pytest.raises(SpoolError):
        Transcript()


def test_a_lane_that_is_late_finds_it_closed() -> None:
    transcript = Transcript()
    transcript.close()
    assert submitted(transcript, [span(1)]) == LedgerTotals(exported=2)
    assert sum(transcript.account.dropped.values()) == 2
