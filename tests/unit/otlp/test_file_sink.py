"""OTLP JSON lines: what stands in them, and what a hostile directory can't make of them."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from exporter import __version__
from exporter.common.errors import CANNOT_TRACE_STATUS, CiEgressError
from exporter.otlp.environment import resolve_destinations
from exporter.otlp.records import LogRecord, Severity
from exporter.otlp.settings import Rotation
from exporter.otlp.telemetry import Telemetry
from tests.checkout import ROOT
from tests.integration.receivers import PatientTelemetry, travel_together, wait_until

TRACE_ID = 0x7AF8CD1DE3FA344B938DED2AF6D4282F
SPAN_ID = 0x00F067AA0BA902B7


def open_telemetry(directory: Path, **environ: str) -> Telemetry:
    return PatientTelemetry(
        resolve_destinations(environ, otlp_dir=directory), {"vcs.repository.name": "app"}, instance_id="i-1"
    )


def context(span_id: int, *, remote: bool = False) -> SpanContext:
    return SpanContext(TRACE_ID, span_id, is_remote=remote, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def span(name: str = "connect 192.0.2.1:443", *, span_id: int = SPAN_ID) -> ReadableSpan:
    return ReadableSpan(
        name=name,
        context=context(span_id),
        parent=context(7, remote=True),
        resource=Resource({"service.name": "ci-egress"}),
        attributes={
            "server.address": "192.0.2.1",
            "server.port": 443,
            "egress.novel": True,
            "seconds": 0.5,
            "egress.lineage": ("bash", "curl"),
            "process.command_line": 'curl "ünïcode" \x1b[31m\u2028',
        },
        events=(Event("established", {"n": 1}, timestamp=1_764_000_000_000_000_005),),
        links=(Link(context(9), {"why": "step"}),),
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.ERROR, "denied"),
        start_time=1_764_000_000_000_000_001,
        end_time=1_764_000_000_000_000_002,
        instrumentation_scope=InstrumentationScope("ci_egress", __version__),
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def spans_in(path: Path) -> list[dict[str, Any]]:
    return [
        one
        for request in lines(path)
        for by_resource in request["resourceSpans"]
        for by_scope in by_resource["scopeSpans"]
        for one in by_scope["spans"]
    ]


def test_a_span_is_written_as_otlp_json_field_by_field(tmp_path: Path) -> None:
    with open_telemetry(tmp_path) as telemetry:
        telemetry.submit(span(), 1)
    (request,) = lines(tmp_path / "traces.jsonl")
    assert request == {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "ci-egress"}}]},
                "scopeSpans": [
                    {
                        "scope": {"name": "ci_egress", "version": __version__},
                        "spans": [
                            {
                                "traceId": "7af8cd1de3fa344b938ded2af6d4282f",
                                "spanId": "00f067aa0ba902b7",
                                "parentSpanId": "0000000000000007",
                                "flags": 0x300,
                                "name": "connect 192.0.2.1:443",
                                "kind": 3,
                                "startTimeUnixNano": "1764000000000000001",
                                "endTimeUnixNano": "1764000000000000002",
                                "attributes": [
                                    {"key": "server.address", "value": {"stringValue": "192.0.2.1"}},
                                    {"key": "server.port", "value": {"intValue": "443"}},
                                    {"key": "egress.novel", "value": {"boolValue": True}},
                                    {"key": "seconds", "value": {"doubleValue": 0.5}},
                                    {
                                        "key": "egress.lineage",
                                        "value": {
                                            "arrayValue": {
                                                "values": [{"stringValue": "bash"}, {"stringValue": "curl"}]
                                            }
                                        },
                                    },
                                    {
                                        "key": "process.command_line",
                                        "value": {"stringValue": 'curl "ünïcode" \x1b[31m\u2028'},
                                    },
                                ],
                                "events": [
                                    {
                                        "timeUnixNano": "1764000000000000005",
                                        "name": "established",
                                        "attributes": [{"key": "n", "value": {"intValue": "1"}}],
                                    }
                                ],
                                "links": [
                                    {
                                        "traceId": "7af8cd1de3fa344b938ded2af6d4282f",
                                        "spanId": "0000000000000009",
                                        "attributes": [{"key": "why", "value": {"stringValue": "step"}}],
                                        "flags": 0x100,
                                    }
                                ],
                                "status": {"message": "denied", "code": 2},
                            }
                        ],
                    }
                ],
            }
        ]
    }


def test_a_log_record_is_written_as_otlp_json_field_by_field(tmp_path: Path) -> None:
    attributes: dict[str, AttributeValue] = {
        "server.address": "evil.example",
        "server.port": 443,
        "egress.lineage": ("bash", "curl"),
    }
    record = LogRecord(
        "cicd.egress.denied",
        Severity.ERROR,
        1_764_000_000_000_000_001,
        attributes,
        Resource({"service.name": "ci-egress"}),
        context(SPAN_ID),
    )
    with open_telemetry(tmp_path) as telemetry:
        telemetry.log(record)
        telemetry.log(dataclasses.replace(record, context=None, attributes={"x": "\n\x1b"}))
    (request,) = lines(tmp_path / "logs.jsonl")
    (by_resource,) = request["resourceLogs"]
    assert by_resource["resource"] == {
        "attributes": [{"key": "service.name", "value": {"stringValue": "ci-egress"}}]
    }
    (by_scope,) = by_resource["scopeLogs"]
    assert by_scope["scope"] == {"name": "ci_egress", "version": __version__}
    denied, other = by_scope["logRecords"]
    assert denied == {
        "timeUnixNano": "1764000000000000001",
        "observedTimeUnixNano": "1764000000000000001",
        "severityNumber": 17,
        "severityText": "ERROR",
        "body": {},
        "attributes": [
            {"key": "server.address", "value": {"stringValue": "evil.example"}},
            {"key": "server.port", "value": {"intValue": "443"}},
            {
                "key": "egress.lineage",
                "value": {"arrayValue": {"values": [{"stringValue": "bash"}, {"stringValue": "curl"}]}},
            },
        ],
        "flags": 1,
        "traceId": "7af8cd1de3fa344b938ded2af6d4282f",
        "spanId": "00f067aa0ba902b7",
        "eventName": "cicd.egress.denied",
    }
    assert "traceId" not in other
    assert b"\x1b" not in (tmp_path / "logs.jsonl").read_bytes()
    assert telemetry.log_account.exported == 2


def test_hostile_text_neither_breaks_a_line_nor_reaches_a_terminal(tmp_path: Path) -> None:
    with open_telemetry(tmp_path) as telemetry:
        telemetry.submit(span("two\nlines \x1b[2J \x9b31m \u2028"), 1)
    content = (tmp_path / "traces.jsonl").read_bytes()
    assert content.count(b"\n") == 1
    assert all(byte == ord("\n") or 0x20 <= byte < 0x7F for byte in content)
    assert spans_in(tmp_path / "traces.jsonl")[0]["name"] == "two\nlines \x1b[2J \x9b31m \u2028"


def test_metrics_are_cumulative_and_carry_the_trace_of_a_sampled_span(tmp_path: Path) -> None:
    with open_telemetry(tmp_path) as telemetry:
        counter = telemetry.meter.create_counter("cicd.egress.connections", unit="{connection}")
        counter.add(1, {"server.address": "a.example"})
        counter.add(
            2,
            {"server.address": "a.example"},
            context=trace.set_span_in_context(NonRecordingSpan(context(SPAN_ID))),
        )
    (request,) = lines(tmp_path / "metrics.jsonl")
    (scope,) = request["resourceMetrics"][0]["scopeMetrics"]
    assert scope["scope"] == {"name": "ci_egress", "version": __version__}
    (metric,) = scope["metrics"]
    assert (metric["name"], metric["unit"]) == ("cicd.egress.connections", "{connection}")
    assert metric["sum"]["isMonotonic"] is True
    assert metric["sum"]["aggregationTemporality"] == 2
    (point,) = metric["sum"]["dataPoints"]
    assert point["asInt"] == "3"
    assert point["attributes"] == [{"key": "server.address", "value": {"stringValue": "a.example"}}]
    assert [(exemplar["traceId"], exemplar["spanId"]) for exemplar in point["exemplars"]] == [
        (f"{TRACE_ID:032x}", f"{SPAN_ID:016x}")
    ]


def test_metrics_are_written_at_every_interval(tmp_path: Path) -> None:
    with open_telemetry(tmp_path, OTEL_METRIC_EXPORT_INTERVAL="50") as telemetry:
        telemetry.meter.create_counter("a").add(1)
        wait_until(lambda: (tmp_path / "metrics.jsonl").read_bytes().count(b"\n") >= 2)


def test_the_resource_says_who_speaks_and_the_environment_cant_change_whose_job_it_is(tmp_path: Path) -> None:
    theirs = "service.name=other,host.name=runner-7,vcs.repository.name=stolen,service.instance.id=x,team=a"
    with open_telemetry(tmp_path, OTEL_RESOURCE_ATTRIBUTES=theirs, OTEL_SERVICE_NAME="egress") as telemetry:
        assert telemetry.resource.attributes == {
            "service.name": "egress",
            "service.version": __version__,
            "service.instance.id": "i-1",
            "host.name": "runner-7",
            "vcs.repository.name": "app",
            "team": "a",
        }


def test_files_are_world_readable_whatever_the_umask_and_appended_to(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "er"
    umask = os.umask(0o077)
    try:
        for number in (1, 2):
            with open_telemetry(directory) as telemetry:
                telemetry.submit(span(span_id=number), 1)
    finally:
        os.umask(umask)
    assert (directory / "traces.jsonl").stat().st_mode & 0o7777 == 0o644
    assert [one["spanId"] for one in spans_in(directory / "traces.jsonl")] == [f"{1:016x}", f"{2:016x}"]


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


def place_symlink(target: Path, victim: Path) -> None:
    target.symlink_to(victim)


def place_dangling_symlink(target: Path, victim: Path) -> None:
    target.symlink_to(victim.with_name("would-be-created"))


def place_hard_link(target: Path, victim: Path) -> None:
    target.hardlink_to(victim)


def place_fifo(target: Path, victim: Path) -> None:
    del victim
    os.mkfifo(target)


def place_directory(target: Path, victim: Path) -> None:
    del victim
    target.mkdir()


@pytest.mark.parametrize(
    "place", [place_symlink, place_dangling_symlink, place_hard_link, place_fifo, place_directory]
)
def test_a_file_prepared_by_somebody_else_is_refused(
    tmp_path: Path, victim: Path, place: Callable[[Path, Path], None]
) -> None:
    directory = tmp_path / "out"
    directory.mkdir()
    place(directory / "traces.jsonl", victim)
    with pytest.raises(CiEgressError) as refused:
        open_telemetry(directory)
    assert refused.value.exit_status == CANNOT_TRACE_STATUS
    assert str(directory / "traces.jsonl") in refused.value.what
    assert victim.read_text() == "precious"
    assert not (tmp_path / "would-be-created").exists()


def test_the_folder_that_nobody_asked_for_is_none_that_git_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with Telemetry(resolve_destinations({}, otlp_dir=None), {}):
            pass
    files = sorted(path.name for path in Path("ci-egress").iterdir())
    assert files == [".gitignore", "logs.jsonl", "metrics.jsonl", "traces.jsonl"]
    assert Path("ci-egress/.gitignore").read_text() == "*\n"
    with Telemetry(resolve_destinations({}, otlp_dir=Path("asked-for")), {}):
        pass
    assert not Path("asked-for/.gitignore").exists()


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ci-egress").mkdir()
    with Telemetry(resolve_destinations({}, otlp_dir=None), {}):
        pass
    assert not Path("ci-egress/.gitignore").exists()


def test_a_directory_that_is_a_symlink_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to("elsewhere")
    with pytest.raises(CiEgressError):
        open_telemetry(tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_full_disk_is_a_counted_drop_and_leaves_whole_lines(tmp_path: Path) -> None:
    # In a process of its own: the limit would hold for whatever pytest writes, too.
    code = f"import sys; from pathlib import Path; import {__name__} as t; t.fill_a_disk(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True)


def fill_a_disk(directory: Path) -> None:
    """Export with no file growing beyond 4 KiB, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with open_telemetry(directory) as telemetry:
        telemetry.submit(span(), 1)
        wait_until(lambda: telemetry.account.exported == 1)
        for number in range(1, 101):
            telemetry.submit(span("x" * 4096, span_id=number), 2)  # too large for the rest, each of them
    account = telemetry.account
    assert (account.exported, account.pending) == (1, 0)
    assert sum(account.dropped.values()) == 200
    assert {stage for stage, _ in account.dropped} == {"export"}
    assert len(spans_in(directory / "traces.jsonl")) == 1
    assert len([line for line in telemetry.complaints() if "traces.jsonl" in line]) == 1


def rotated(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("traces*"))


def test_files_stay_within_their_bounds_and_the_oldest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    travel_together(monkeypatch)
    rotation = Rotation(max_bytes=20_000, keep=2)
    destinations = resolve_destinations({}, otlp_dir=tmp_path, rotation=rotation)
    with PatientTelemetry(destinations, {}) as telemetry:
        for span_id in range(1, 1001):
            telemetry.submit(span(span_id=span_id), 1)
    assert telemetry.account.exported == 1000
    assert telemetry.complaints() == []
    names = ["traces.2.jsonl", "traces.1.jsonl", "traces.jsonl"]
    assert rotated(tmp_path) == sorted(names)
    assert all((tmp_path / name).stat().st_size <= 20_000 for name in names)
    ids = [int(one["spanId"], 16) for name in names for one in spans_in(tmp_path / name)]
    assert ids == list(range(1001 - len(ids), 1001))
    assert len(ids) > 40


def test_a_file_may_be_full_when_it_is_opened_and_alone(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_text("{}\n" * 10_000)
    destinations = resolve_destinations({}, otlp_dir=tmp_path, rotation=Rotation(max_bytes=5000, keep=0))
    with PatientTelemetry(destinations, {}) as telemetry:
        telemetry.submit(span(), 1)
    assert rotated(tmp_path) == ["traces.jsonl"]
    assert len(spans_in(tmp_path / "traces.jsonl")) == 1


def test_rotation_follows_no_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    out = tmp_path / "out"
    out.mkdir()
    (out / "traces.1.jsonl").symlink_to(victim)
    (out / "traces.2.jsonl").symlink_to(victim)
    destinations = resolve_destinations({}, otlp_dir=out, rotation=Rotation(max_bytes=2000, keep=2))
    with PatientTelemetry(destinations, {}) as telemetry:
        for _ in range(20):
            telemetry.submit(span(), 1)
    assert telemetry.account.exported == 20
    assert victim.read_text() == "precious"
    assert not any(path.is_symlink() for path in out.iterdir())


def test_without_rotation_files_grow(tmp_path: Path) -> None:
    with open_telemetry(tmp_path) as telemetry:
        for _ in range(2000):
            telemetry.submit(span(), 1)
    assert rotated(tmp_path) == ["traces.jsonl"]
    assert len(spans_in(tmp_path / "traces.jsonl")) == 2000


def test_a_file_deleted_by_the_job_is_made_anew_and_its_loss_is_said(tmp_path: Path) -> None:
    directory = tmp_path / "out"
    with open_telemetry(directory) as telemetry:
        telemetry.submit(span(span_id=1), 1)
        wait_until(lambda: telemetry.account.exported == 1)
        (directory / "traces.jsonl").unlink()
        (directory / "metrics.jsonl").unlink()
        (directory / "logs.jsonl").unlink()
        directory.rmdir()
        telemetry.submit(span(span_id=2), 1)
    assert [one["spanId"] for one in spans_in(directory / "traces.jsonl")] == [f"{2:016x}"]
    assert any("was deleted" in line for line in telemetry.complaints())


@pytest.mark.parametrize("moved", ["traces.jsonl", "."], ids=["file", "folder"])
def test_what_was_moved_away_stays_whole_and_a_new_file_takes_over(tmp_path: Path, moved: str) -> None:
    directory = tmp_path / "out"
    with open_telemetry(directory) as telemetry:
        telemetry.submit(span(span_id=1), 1)
        wait_until(lambda: telemetry.account.exported == 1)
        (directory / moved).rename(tmp_path / "old")
        telemetry.submit(span(span_id=2), 1)
    old = tmp_path / "old" / "traces.jsonl" if moved == "." else tmp_path / "old"
    assert [one["spanId"] for one in spans_in(old)] == [f"{1:016x}"]
    assert [one["spanId"] for one in spans_in(directory / "traces.jsonl")] == [f"{2:016x}"]
    assert (telemetry.complaints(), list(telemetry.moved())) == ([], []), "nobody but this user can do that"


def test_a_link_in_place_of_a_file_that_was_moved_away_is_not_followed(tmp_path: Path, victim: Path) -> None:
    directory = tmp_path / "out"
    with open_telemetry(directory) as telemetry:
        (directory / "traces.jsonl").rename(tmp_path / "old")
        (directory / "traces.jsonl").symlink_to(victim)
        telemetry.submit(span(), 1)
    assert victim.read_text() == "precious"
    assert sum(telemetry.account.dropped.values()) == 1
    assert any("a symbolic link stands there" in line for line in telemetry.complaints())


def test_a_link_above_the_folder_is_not_followed(tmp_path: Path) -> None:
    """Else a job would choose where root makes a folder, and files in it."""
    above, elsewhere = tmp_path / "above", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with open_telemetry(above / "out") as telemetry:
        shutil.rmtree(above / "out")
        above.rename(tmp_path / "old")
        above.symlink_to(elsewhere)
        telemetry.submit(span(), 1)
    assert list(elsewhere.iterdir()) == []
    assert sum(telemetry.account.dropped.values()) == 1


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(
        CiEgressError, match=r"traces\.jsonl can't be written: .*out is a file; choose another"
    ):
        open_telemetry(tmp_path / "out")


def test_too_few_open_files_are_told_as_such(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(CiEgressError, match=r"Too many open files; raise the limit .*ulimit -n"):
            open_telemetry(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_files_alone_import_neither_protobuf_nor_an_http_or_grpc_client(tmp_path: Path) -> None:
    program = f"""
import sys, pathlib
from exporter.otlp.environment import resolve_destinations
from exporter.otlp.telemetry import Telemetry
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext
with Telemetry(resolve_destinations({{}}, otlp_dir=pathlib.Path({str(tmp_path)!r})), {{}}) as telemetry:
    span = ReadableSpan("x", SpanContext(1, 1, False), resource=telemetry.resource, start_time=1, end_time=2)
    telemetry.submit(span, 1)
assert telemetry.account.exported == 1
print(sorted({{"google.protobuf", "urllib3", "requests", "grpc"}} & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
    assert done.stderr == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_where_another_users_folder_takes_the_place_the_file_is_followed(tmp_path: Path) -> None:
    directory = tmp_path / "out"
    with open_telemetry(directory) as telemetry:
        telemetry.submit(span(span_id=1), 1)
        wait_until(lambda: telemetry.account.exported == 1)
        directory.rename(tmp_path / "old")
        directory.mkdir()
        os.chown(directory, 65534, 65534)
        telemetry.submit(span(span_id=2), 1)
        wait_until(lambda: telemetry.account.exported == 2)
    assert list(directory.iterdir()) == []
    assert len(spans_in(tmp_path / "old" / "traces.jsonl")) == 2
    assert set(telemetry.moved()) == {directory}


@pytest.mark.parametrize("owned", ["checkout", "checkout/out"])
@pytest.mark.parametrize("moved", ["traces.jsonl", "."], ids=["file", "folder"])
@pytest.mark.parametrize("forged", [False, True], ids=["gone", "replaced"])
@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_what_another_user_could_move_away_is_told_whatever_stands_there_now(
    tmp_path: Path, owned: str, moved: str, *, forged: bool
) -> None:
    directory = tmp_path / "checkout" / "out"
    directory.mkdir(parents=True)
    os.chown(tmp_path / owned, 65534, 65534)
    with open_telemetry(directory) as telemetry:
        telemetry.submit(span(span_id=1), 1)
        wait_until(lambda: telemetry.account.exported == 1)
        assert list(telemetry.moved()) == []
        (directory / moved).rename(tmp_path / "old")
        directory.mkdir(exist_ok=True)
        if forged:
            (directory / "traces.jsonl").write_text("{}\n")
        telemetry.submit(span(span_id=2), 1)
        wait_until(lambda: telemetry.account.exported == 2)
        telemetry.submit(span(span_id=3), 1)
    assert set(telemetry.moved()) == {directory}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_who_writes_the_same_files_and_rotates_them_moves_nothing_away(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    rotation = Rotation(max_bytes=5000, keep=2)
    destinations = resolve_destinations({}, otlp_dir=tmp_path, rotation=rotation)
    with PatientTelemetry(destinations, {}) as one, PatientTelemetry(destinations, {}) as other:
        for number in range(1, 13):
            for telemetry in (one, other):
                telemetry.submit(span(span_id=number), 1)
                wait_until(lambda number=number, each=telemetry: each.account.exported == number)  # type: ignore[misc]
    assert len(rotated(tmp_path)) == 3
    assert [*one.moved(), *other.moved()] == []
