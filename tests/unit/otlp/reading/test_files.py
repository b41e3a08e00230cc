"""OTLP/JSON files of spans, as this program writes them and as anybody may have changed them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind

from exporter.common.errors import UsageError
from exporter.otlp.json_spans import encode_spans
from exporter.otlp.reading import files
from exporter.otlp.reading.files import egress_spans_in, span_files
from exporter.otlp.reading.spans import EgressSpan
from exporter.pipeline.spans import SCOPE_NAME

ATTRIBUTES: dict[str, Any] = {
    "server.address": "registry.example",
    "server.port": 443,
    "egress.novel": True,
    "egress.lineage": ["bash", "npm"],
    "ratio": 0.5,
}

STARTED_NS = 1_795_633_494_528_748_259


def line(
    kind: SpanKind = SpanKind.CLIENT,
    attributes: dict[str, Any] = ATTRIBUTES,
    scope: str = SCOPE_NAME,
    resource: Mapping[str, str] | None = None,
) -> bytes:
    span = ReadableSpan(
        "name",
        SpanContext(1, 2, is_remote=False),
        resource=Resource(resource or {}),
        attributes=attributes,
        kind=kind,
        start_time=STARTED_NS,
        instrumentation_scope=InstrumentationScope(scope, "1"),
    )
    return encode_spans([span])


def egress_spans(path: Path, say: Callable[[str], object]) -> Iterator[dict[str, Any]]:
    return (span.attributes for span in egress_spans_in(path, say=say))


def test_egress_spans_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(
        line()
        + line(SpanKind.INTERNAL)
        + b"\n"
        + line(scope="urllib3")
        + line(attributes={"server.port": -1})
    )
    assert list(egress_spans(path, pytest.fail)) == [ATTRIBUTES, {"server.port": -1}]


def test_only_attributes_that_are_wanted_come_with_the_time(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(line())
    wanted = {"server.address", "egress.lineage", "not.there"}
    expected = {"server.address": "registry.example", "egress.lineage": ["bash", "npm"]}
    assert list(egress_spans_in(path, wanted, say=pytest.fail)) == [EgressSpan(STARTED_NS, expected)]


def test_a_compressed_file_reads_like_a_plain_one(tmp_path: Path) -> None:
    path = tmp_path / "traces.1.jsonl.gz"
    path.write_bytes(gzip.compress(line()) + gzip.compress(line()))
    assert list(egress_spans(path, pytest.fail)) == [ATTRIBUTES, ATTRIBUTES]


@pytest.mark.parametrize("broken", [gzip.compress(line())[:-9], b"plain", gzip.compress(line()) + b"x"])
def test_a_broken_compressed_file_is_an_error(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "traces.1.jsonl.gz"
    path.write_bytes(broken)
    with pytest.raises(UsageError, match=r"cannot read .*/traces\.1\.jsonl\.gz: \w"):
        list(egress_spans(path, pytest.fail))


@pytest.mark.parametrize("name", ["traces.jsonl", "traces.1.jsonl.gz"])
def test_progress_adds_up_to_the_size_on_disk(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    lines = line(attributes={"process.command_line": "x" * 8000}) * 400
    path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)
    told: list[int] = []
    assert len(list(egress_spans_in(path, say=pytest.fail, on_read=told.append))) == 400
    assert sum(told) == path.stat().st_size
    assert len(told) > 2


def test_a_folder_has_the_rotated_files_too(tmp_path: Path) -> None:
    for name in ("traces.jsonl", "traces.1.jsonl", "traces.2.jsonl.gz", "metrics.jsonl"):
        (tmp_path / name).touch()
    single = tmp_path / "other.jsonl"
    assert span_files([tmp_path, single, tmp_path / "traces.jsonl"]) == [
        tmp_path / "traces.1.jsonl",
        tmp_path / "traces.2.jsonl.gz",
        tmp_path / "traces.jsonl",
        single,
    ]


def test_folders_below_are_searched_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    folders = [tmp_path / "runs" / name for name in ("2", "10/logs", ".")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "traces.jsonl").touch()
        (folder / "logs.jsonl").touch()
    (tmp_path / "else").mkdir()
    (tmp_path / "else/traces.jsonl").touch()
    (tmp_path / "runs/back").symlink_to(tmp_path)
    assert span_files([tmp_path / "runs"]) == [
        tmp_path / "runs/10/logs/traces.jsonl",
        tmp_path / "runs/2/traces.jsonl",
        tmp_path / "runs/traces.jsonl",
    ]


def test_a_folder_of_too_much_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LOOKED_MAX", 2)
    for name in "abc":
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match="has more than 2 files and folders below it; name those of runs"):
        span_files([tmp_path])


def test_a_line_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(line() + line())
    monkeypatch.setattr(files, "LINE_MAX", len(line()) - 2)
    with pytest.raises(UsageError, match=r"traces\.jsonl:1:1: not a line of OTLP spans"):
        next(egress_spans(path, pytest.fail))


def test_a_line_that_would_take_gigabytes_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(line())
    nodes = line().count(b"{") + line().count(b"[")
    monkeypatch.setattr(files, "NODES_MAX", nodes)
    assert next(egress_spans(path, pytest.fail)) == ATTRIBUTES
    monkeypatch.setattr(files, "NODES_MAX", nodes - 1)
    with pytest.raises(UsageError, match=r"traces\.jsonl:1:1: not a line of OTLP spans"):
        next(egress_spans(path, pytest.fail))


def test_a_folder_without_spans_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no traces\*\.jsonl or traces\*\.jsonl\.gz, nor has a folder"):
        span_files([tmp_path])


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*/none: No such file or directory"):
        list(egress_spans(tmp_path / "none", pytest.fail))


@pytest.mark.parametrize("broken", [b"x", b"[]", b"{}", b'{"resourceSpans": 1}', b"[" * 100_000, b"\xff"])
def test_a_line_of_something_else_is_told_with_its_place(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(line() + broken)
    spans = egress_spans(path, pytest.fail)
    assert next(spans) == ATTRIBUTES
    with pytest.raises(UsageError, match=r"traces\.jsonl:2:1: not a line of OTLP spans"):
        next(spans)


@pytest.mark.parametrize("name", ["traces.jsonl", "traces.1.jsonl.gz"])
@pytest.mark.parametrize("length", [1, 20, len(line()) // 2, len(line()) - 2])
def test_a_last_line_that_is_still_written_is_left_out_and_told(
    tmp_path: Path, name: str, length: int
) -> None:
    path, told = tmp_path / name, list[str]()
    data = line() + line()[:length]
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    assert list(egress_spans(path, told.append)) == [ATTRIBUTES]
    assert told == [f"{path}: the last line isn't complete: left out"]


def test_an_unfinished_line_before_others_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(line()[:20] + b"\n" + line())
    with pytest.raises(UsageError, match=r"traces\.jsonl:1:1: not a line of OTLP spans"):
        list(egress_spans(path, pytest.fail))


def test_a_last_line_needs_no_line_end(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(line().rstrip(b"\n"))
    assert list(egress_spans(path, pytest.fail)) == [ATTRIBUTES]


@pytest.mark.parametrize(
    "value",
    [
        *(None, 1, "x", {}, {"stringValue": 1}, {"intValue": "1e3"}, {"intValue": "9" * 5000}),
        *({"boolValue": "true"}, {"arrayValue": {}}, {"arrayValue": {"values": {}}}, {"kvlistValue": {}}),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_left_out(tmp_path: Path, value: object) -> None:
    attributes = [{"key": "a", "value": value}, {"key": 7, "value": {"stringValue": "x"}}, 7]
    spans = [{"kind": 3, "attributes": attributes}, {"kind": 3, "attributes": 7}, 7]
    path = tmp_path / "traces.jsonl"
    path.write_text(
        json.dumps(
            {"resourceSpans": [{"scopeSpans": [{"scope": {"name": SCOPE_NAME}, "spans": spans}, 7]}, 7]}
        )
    )
    assert list(egress_spans(path, pytest.fail)) == [{}, {}]


@pytest.mark.parametrize(
    ("resource", "repository"),
    [
        ({}, None),
        ({"vcs.owner.name": "bank"}, None),
        ({"vcs.repository.name": "ledger"}, "ledger"),
        (
            {
                "vcs.owner.name": "bank/eu",
                "vcs.repository.name": "ledger",
                "vcs.repository.url.full": "https://git.example/bank/eu/ledger",
            },
            "bank/eu/ledger",
        ),
        (
            {"vcs.owner.name": "bank", "vcs.repository.url.full": "https://git.example/l"},
            "https://git.example/l",
        ),
        ({"vcs.repository.name": "x" * 2000}, None),
    ],
)
@pytest.mark.parametrize("is_well_formed", [True, False])
def test_a_span_has_the_repository_of_its_resource(
    tmp_path: Path, resource: dict[str, str], repository: str | None, is_well_formed: bool
) -> None:
    path = tmp_path / "traces.jsonl"
    told = line(resource=resource)
    path.write_bytes(
        told if is_well_formed else told.replace(b'"kind":3', b'"flags":"x","events":7,"kind":3')
    )
    assert [span.repository for span in egress_spans_in(path, say=pytest.fail)] == [repository]
