"""Novelty through the pipeline: spans, metrics, log records and lines of what the baseline doesn't have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.baseline.model import Baseline, Entry, Task
from exporter.events.facts import RULE_OF_ANSWERS, Acted, Aggregated, Event, Verdict
from exporter.events.programs import Lineage
from exporter.pipeline.ruling import ruling
from exporter.policy.model import Name
from tests.launch import spans_in
from tests.unit.dns_samples import mapped
from tests.unit.pipeline.name_events import NAME, OTHER, OTHER_ROOT, connected, looked_up, started
from tests.unit.pipelines import ROOT, log_records, run
from tests.unit.records import ACT, AGGREGATE, ENDED, ESTABLISHED, EXEC
from tests.unit.samples import JOB

BUILD = Task("release", "build")
CURL: Lineage = ("curl",)
LOOPBACK = mapped("127.0.0.1")
NOVEL = "cicd.egress.novel"


def known(*hosts: str, port: int = 443, lineage: Lineage | None = CURL, task: Task = BUILD) -> list[Entry]:
    chains = None if lineage is None else frozenset({lineage})
    return [Entry(task, Name(host), port, "tcp", chains) for host in hosts]


class Seen:
    """What a job of `events` told."""

    def __init__(
        self, events: Sequence[Event], directory: Path, entries: Sequence[Entry], **how: Any
    ) -> None:
        self.lines: list[str] = []
        self.fields: list[dict[str, Any]] = []
        self._directory = directory
        baseline = Baseline(tuple(entries))
        self.account = run(events, directory, baseline=baseline, say=self._say, **how)
        self.egress = [span for span in spans_in(directory) if span["kind"] == 3]

    def _say(self, _job: object, line: str, **fields: Any) -> None:
        self.lines.append(line)
        self.fields.append(fields)

    @property
    def novel(self) -> list[tuple[str, bool]]:
        """Of each act where it went and `egress.novel`."""
        return [
            (span["attributes"]["server.address"], span["attributes"]["egress.novel"]) for span in self.egress
        ]

    @property
    def records(self) -> list[dict[str, Any]]:
        return log_records(self._directory)

    @property
    def counted(self) -> dict[tuple[str, Any], int]:
        """Attempts by where they went and `egress.novel`, at the end."""
        *_, last = self._requests("metrics.jsonl")
        points = [
            point
            for resource in last["resourceMetrics"]
            for scope in resource["scopeMetrics"]
            for metric in scope["metrics"]
            if metric["name"] == "cicd.egress.connections"
            for point in metric["sum"]["dataPoints"]
        ]
        return {
            (told(point)["server.address"], told(point)["egress.novel"]): int(point["asInt"])
            for point in points
        }

    def _requests(self, name: str) -> list[dict[str, Any]]:
        path = self._directory / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def told(point: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in point["attributes"]}


def test_what_the_baseline_does_not_have_is_told_on_span_metric_record_and_line(tmp_path: Path) -> None:
    events = [started(), *looked_up(NAME, "192.0.2.7"), connected(), connected(peer=mapped("192.0.2.9"))]
    seen = Seen(events, tmp_path, known(NAME))
    assert seen.novel == [(NAME, False), ("192.0.2.9", True)]
    assert seen.counted == {(NAME, False): 1, ("192.0.2.9", True): 1}
    line = "novel: curl (curl) → 192.0.2.9:443, not in the baseline"
    assert seen.lines == [line]
    span = seen.egress[1]
    (record,) = seen.records
    assert record["eventName"] == NOVEL
    assert (record["severityText"], record["body"]) == ("WARN", {"stringValue": line})
    assert (record["traceId"], record["spanId"]) == (span["traceId"], span["spanId"])
    assert record["timeUnixNano"] == span["startTimeUnixNano"]
    assert told(record)["egress.novel"] is True
    assert told(record).keys() == span["attributes"].keys() - {"egress.attempts"}
    ids = {"trace_id": span["traceId"], "span_id": span["spanId"]}
    where = {"destination": "192.0.2.9:443", "transport": "tcp"}
    (fields,) = seen.fields
    assert {"event": NOVEL, "why": "not in the baseline", **where, **ids}.items() <= fields.items()


def test_it_is_told_at_once_and_not_when_the_connection_ends(tmp_path: Path) -> None:
    """Whatever else becomes of it, no span says anything else."""
    act = ACT._replace(process=ROOT)
    seen = Seen([started(), act, ESTABLISHED, ENDED], tmp_path, [])
    assert seen.novel == [("192.0.2.7", True)]
    assert "egress.bytes_sent" in seen.egress[0]["attributes"]
    (record,) = seen.records
    assert not told(record).keys() & {"egress.outcome", "egress.bytes_sent"}


def test_a_known_host_reached_by_another_chain_is_novel_and_said_to_be_known(tmp_path: Path) -> None:
    events = [started(), *looked_up(NAME, "192.0.2.7"), connected()]
    seen = Seen(events, tmp_path, known(NAME, lineage=("bash", "npm")))
    assert seen.novel == [(NAME, True)]
    assert seen.lines == [f"novel: curl (curl) → {NAME}:443, known, but not from this chain"]


def test_without_a_baseline_nothing_says_anything_of_it(tmp_path: Path) -> None:
    run([started(), connected()], tmp_path)
    (span,) = (span for span in spans_in(tmp_path) if span["kind"] == 3)
    assert "egress.novel" not in span["attributes"]
    assert "egress.novel" not in (tmp_path / "metrics.jsonl").read_text()


def test_a_name_counts_from_when_it_is_learnt(tmp_path: Path) -> None:
    """A connect before the lookup is one to an address, whatever name that gets later."""
    events = [started(), connected(at_ns=900), *looked_up(NAME, "192.0.2.7"), connected()]
    assert Seen(events, tmp_path, known(NAME)).novel == [("192.0.2.7", True), (NAME, False)]


def test_acts_that_were_only_counted_are_judged_alike(tmp_path: Path) -> None:
    flood = AGGREGATE._replace(process=ROOT, attempts=1_000)
    others = flood._replace(is_other=True, peer=bytes(16), attempts=7)
    unknown = Entry(BUILD, Name("any.example"), 53, "udp", None)
    seen = Seen([started(), flood, others], tmp_path, [unknown])
    assert seen.novel == [("192.0.2.7", True), ("_other", True)]
    assert seen.counted == {("192.0.2.7", True): 1_000, ("_other", True): 7}
    assert [told(record).get("egress.attempts") for record in seen.records] == [None, None]


def test_a_chain_and_a_destination_are_told_once_and_counted_each_time(tmp_path: Path) -> None:
    """By its name: the address behind it, and which process it was, make no difference."""
    first, second = looked_up(NAME, "192.0.2.7"), looked_up(NAME, "192.0.2.8", at_ns=1100)
    acts = [connected(), connected(peer=mapped("192.0.2.8")), connected(at_ns=2001)]
    seen = Seen([started(), *first, *second, *acts], tmp_path, [])
    assert seen.novel == [(NAME, True)] * 3
    assert seen.counted == {(NAME, True): 3}
    assert len(seen.records) == len(seen.lines) == 1


def test_the_loopback_and_the_answers_of_a_server_are_never_novel(tmp_path: Path) -> None:
    itself = connected(peer=LOOPBACK)
    answer = connected(rule=RULE_OF_ANSWERS, verdict=Verdict.ALLOW, peer_port=40_000)
    seen = Seen([started(), itself, answer], tmp_path, [])
    assert seen.novel == [("127.0.0.1", False), ("192.0.2.7", False)]
    assert seen.records == []


@pytest.mark.parametrize("verdict", [Verdict.DENY, Verdict.AUDIT, Verdict.ALLOW])
def test_what_a_policy_says_is_another_matter(tmp_path: Path, verdict: Verdict) -> None:
    seen = Seen([started(), connected(verdict=verdict)], tmp_path, [])
    assert seen.egress[0]["attributes"]["egress.verdict"] == ruling(None, connected(verdict=verdict)).verdict
    assert seen.novel == [("192.0.2.7", True)]
    assert NOVEL in [record["eventName"] for record in seen.records]


def test_each_job_is_held_against_its_own_task(tmp_path: Path) -> None:
    deploy = replace(OTHER, job=replace(OTHER.job, task="deploy"))
    events: list[Event] = [started(), started(OTHER_ROOT, 2)]
    for scope, root in ((1, ROOT), (2, OTHER_ROOT)):
        for at_ns, name, peer in ((1000, NAME, "192.0.2.7"), (1100, "upload.example", "192.0.2.8")):
            events += looked_up(name, peer, process=root, scope=scope, at_ns=at_ns)
            events.append(connected(root, scope, peer=mapped(peer)))
    entries = [*known(NAME), *known("upload.example", task=Task(JOB.pipeline, "deploy"))]
    seen = Seen(events, tmp_path, entries, others=[deploy])
    by_task = {
        (span["traceId"] == f"{OTHER.job.ids.trace_id:032x}", *judged)
        for span, judged in zip(seen.egress, seen.novel, strict=True)
    }
    assert by_task == {
        (False, NAME, False),
        (False, "upload.example", True),
        (True, NAME, True),
        (True, "upload.example", False),
    }


def test_a_flood_of_novel_destinations_is_bounded_and_counted(tmp_path: Path) -> None:
    def act(number: int) -> Acted:
        return connected(peer=mapped(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))

    seen = Seen([started(), *map(act, range(10_000))], tmp_path, [])
    assert len(seen.records) == 4096
    assert len(seen.lines) == 52
    assert seen.lines[50:] == [
        "novel: further ones are told in the summary and the spans",
        "4096 novelties have a log record each; further ones have none, but spans as ever",
    ]
    assert sum(seen.counted.values()) == 10_000
    assert len(seen.counted) == 201
    assert {is_novel for _, is_novel in seen.counted} == {True}
    assert [is_novel for _, is_novel in seen.novel] == [True] * 10_000


def test_who_is_not_known_is_told_to_be_so(tmp_path: Path) -> None:
    nobody: Aggregated = AGGREGATE._replace(
        process=EXEC.process._replace(pid=0), is_other=True, peer=bytes(16)
    )
    seen = Seen([started(), nobody], tmp_path, [])
    assert seen.lines == ["novel: a program that isn't known → _other, not in the baseline"]


@pytest.mark.parametrize(("attempts", "is_told"), [(3, True), (0, False)])
def test_bytes_of_peers_that_arent_told_apart_are_no_new_destination(
    tmp_path: Path, attempts: int, is_told: bool
) -> None:
    others = AGGREGATE._replace(process=ROOT, is_other=True, attempts=attempts, bytes_sent=10)
    seen = Seen([started(), others], tmp_path, known(NAME))
    (span,) = seen.egress
    assert (span["attributes"].get("egress.novel"), len(seen.records)) == (is_told or None, int(is_told))
