"""From files of spans to a report: what is there comes back; what is missing or wrong costs nothing else."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from exporter.common.errors import UsageError
from exporter.otlp.reading.spans import read_whole_spans
from exporter.report.gathering import ATTRIBUTES, Gathering, Limits
from exporter.report.model import JobReport, Report, ReportedAct
from exporter.report.read import read
from exporter.report.texts import NAME_MAX
from tests.fuzz import reports
from tests.fuzz.draw import Draw
from tests.fuzz.strategies import draws
from tests.unit.pipelines import BUILD, run
from tests.unit.report.span_files import (
    BEGAN_NS,
    MS,
    Span,
    act,
    job,
    line,
    lines,
    pairs,
    program,
    span_id,
    written,
)

JOB = 0xA0
OTHER_TRACE = "0" * 31 + "1"


def gathered(spans: list[Span], limits: Limits = Limits()) -> Report:  # noqa: B008 - immutable
    gathering = Gathering(limits)
    for span in read_whole_spans(line(spans), ATTRIBUTES):
        gathering.add(span)
    return gathering.report()


def only_job(report: Report) -> JobReport:
    (found,) = report.jobs
    return found


def only_act(report: Report) -> ReportedAct:
    (found,) = only_job(report).acts
    return found


def parents(job: JobReport) -> dict[str, str | None]:
    """Of each program and act, by what it is called."""
    names = {each.span_id: each.name for each in job.programs} | {job.span_id: "the job"}
    told = [(each.name, each.parent_id) for each in job.programs]
    told += [(each.destination, each.parent_id) for each in job.acts]
    return {name: names.get(parent or "") for name, parent in told}


def test_what_the_pipeline_wrote_comes_back_as_a_tree_with_its_account(tmp_path: Path) -> None:
    account = run(BUILD, tmp_path)
    report = read([tmp_path], say=pytest.fail)
    assert report.account == account
    assert (report.left_out, report.notes) == (0, ())
    found = only_job(report)
    assert found.title == "build"
    destination = found.acts[0].destination
    assert parents(found) == {"bash": "the job", "npm": "bash", "curl": "npm", destination: "curl"}
    assert found.acts[0].chain == ("bash", "npm", "curl")
    assert found.started_ns <= found.acts[0].started_ns <= found.acts[0].ended_ns <= found.ended_ns


@pytest.mark.parametrize(
    ("spans", "title"),
    [
        ([job(1, name="run"), program(2, 1, "make"), program(3, 2, "sh"), act(4, 3)], "make"),
        ([job(1, name="run"), act(4, 1)], "sh"),
        ([program(2, 1, "make"), act(4, 2)], "make"),
        ([job(1, name="run")], "run"),
    ],
    ids=["programs", "no-programs", "no-job", "nothing"],
)
def test_a_job_that_no_ci_system_names_is_called_as_its_first_program(
    spans: list[dict[str, Any]], title: str, tmp_path: Path
) -> None:
    for span in spans:
        span["attributes"] = [each for each in span["attributes"] if not each["key"].startswith("cicd.")]
    written(tmp_path, lines(spans))
    assert only_job(read([tmp_path], say=str)).title == title


def test_each_attribute_is_told(tmp_path: Path) -> None:
    more: dict[str, Any] = {
        "egress__novel": True,
        "egress__rule": "registry.example:443",
        "egress__job__step": "__run_2",
        "egress__bytes_sent": 7,
        "egress__bytes_received": 9,
        "egress__ancestors": ["sh -e"],
        "error__type": "ECONNRESET",
        "egress__mode": "enforce",
        "dns__question__name": "a.example",
        "egress__dns__names": ["a.example", "b.example"],
    }
    file = written(
        tmp_path, line([job(JOB), act(2, JOB, **more)], vcs__owner__name="g", vcs__repository__name="a")
    )
    report = read([file], say=pytest.fail)
    assert only_act(report) == ReportedAct(
        span_id=span_id(2),
        parent_id=span_id(JOB),
        started_ns=BEGAN_NS + 20 * MS,
        ended_ns=BEGAN_NS + 25 * MS,
        host="registry.example",
        port=443,
        transport="tcp",
        address="192.0.2.80",
        is_loopback=False,
        question="a.example",
        attempts=1,
        outcome="established",
        error="ECONNRESET",
        bytes_sent=7,
        bytes_received=9,
        verdict="allow",
        rule="registry.example:443",
        novel=True,
        step="__run_2",
        pid=4001,
        chain=("sh", "npm"),
        command_line="npm ci",
        ancestors=("sh -e",),
        names=("a.example", "b.example"),
    )
    found = only_job(report)
    told = (found.pipeline, found.task, found.run_id, found.repository, found.mode)
    assert told == ("release", "build", "987", "g/a", "enforce")


def test_a_trace_with_several_jobs_has_them_one_by_one(tmp_path: Path) -> None:
    other: dict[str, Any] = {"cicd__pipeline__task__name": "test"}
    spans = [job(JOB), job(0xB0, name="test", at_ms=5), act(2, JOB), act(3, 0xB0, **other)]
    report = read([written(tmp_path, lines(spans))], say=pytest.fail)
    assert [(found.title, len(found.acts)) for found in report.jobs] == [("build", 1), ("test", 1)]


def test_parts_of_a_job_are_one_job_whatever_their_order(tmp_path: Path) -> None:
    parts = [job(0xA1, at_ms=5000, took_ms=100), job(JOB, took_ms=900)]
    spans = [program(1, JOB), act(2, 1), program(3, 0xA1, "make", at_ms=5010), act(4, 0xA1, at_ms=5020)]
    found = only_job(read([written(tmp_path, lines(parts, spans))], say=pytest.fail))
    assert found.span_id == span_id(JOB)
    assert (found.started_ns, found.ended_ns) == (BEGAN_NS, BEGAN_NS + 5110 * MS)
    assert [each.parent_id for each in found.programs] == [span_id(JOB)] * 2
    assert [each.parent_id for each in found.acts] == [span_id(1), span_id(JOB)]


def test_without_the_job_s_span_what_ran_is_there(tmp_path: Path) -> None:
    found = only_job(read([written(tmp_path, line([act(2, 1), program(1, JOB)]))], say=pytest.fail))
    assert (found.span_id, found.title, found.task) == ("", "build", "build")
    assert [each.parent_id for each in found.programs] == [None]
    assert [each.parent_id for each in found.acts] == [span_id(1)]


@pytest.mark.parametrize("parent", [0x77, None, 2])
def test_what_has_no_parent_or_hangs_on_itself_hangs_on_the_job(parent: int | None) -> None:
    found = only_job(gathered([job(JOB), program(2, parent), act(3, 9)]))
    assert parents(found) == {"sh": "the job", "registry.example:443": "the job"}


def test_a_circle_of_programs_is_opened() -> None:
    circle = [program(1, 3, "a"), program(2, 1, "b"), program(3, 2, "c"), program(4, 3, "d")]
    found = parents(only_job(gathered([job(JOB), *circle])))
    assert list(found.values()).count("the job") == 1
    assert found["d"] == "c"


def test_a_span_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    request = [job(JOB), program(1, JOB), act(2, 1)]
    written(tmp_path / "a", lines(request, request))
    written(tmp_path / "b", lines(request))
    found = only_job(read([tmp_path], say=pytest.fail))
    assert (len(found.programs), len(found.acts)) == (1, 1)


def test_rotated_and_compressed_files_belong_to_it(tmp_path: Path) -> None:
    written(tmp_path, gzip.compress(lines([job(JOB)])), "traces.1.jsonl.gz")
    written(tmp_path, lines([act(2, JOB)]), "traces.jsonl")
    found = only_job(read([tmp_path], say=pytest.fail))
    assert (found.title, len(found.acts)) == ("build", 1)


def test_an_unfinished_last_line_is_left_out_and_told(tmp_path: Path) -> None:
    file, told = written(tmp_path, lines([job(JOB)]) + lines([act(2, JOB)])[:-30]), list[str]()
    report = read([file], say=told.append)
    assert [*report.notes] == told == [f"{file}: the last line isn't complete: left out"]
    assert [*only_job(report).acts] == []


def test_another_thing_than_spans_is_an_error_with_its_place(tmp_path: Path) -> None:
    file = written(tmp_path, lines([job(JOB)]) + b'{"resourceMetrics": []}\n')
    with pytest.raises(UsageError, match=r"traces.jsonl:2:1: not a line of OTLP spans"):
        read([file], say=pytest.fail)


def test_wrong_types_cost_what_is_wrong_and_nothing_else() -> None:
    hostile = act(
        2, JOB, server__port=70_000, egress__verdict="ALLOW", egress__lineage="sh", egress__attempts=-1
    )
    hostile["startTimeUnixNano"] = "9" * 20
    hostile["name"] = 7  # the whole line is read in the tolerant way
    found = only_act(gathered([job(JOB), hostile]))
    assert (found.port, found.verdict, found.chain, found.attempts) == (None, "allow", (), 1)
    assert (found.started_ns, found.ended_ns) == (0, BEGAN_NS + 25 * MS)


@pytest.mark.parametrize("wrong", ["", "x" * 16, "0" * 16, 7, None, "1" * 17])
def test_spans_without_an_id_are_left_out_and_told(wrong: Any) -> None:
    report = gathered([job(JOB), {**act(2, JOB), "spanId": wrong}])
    assert [*only_job(report).acts] == []
    assert report.notes == ("1 span without an id left out",)


def test_an_act_without_an_address_is_one_of_a_socket() -> None:
    span = act(2, JOB)
    span["attributes"] = pairs({"network.transport": "icmp", "egress.verdict": "deny"})
    (found,) = gathered([span]).jobs[0].acts
    assert (found.destination, found.port, found.verdict) == ("icmp socket", None, "deny")


def test_what_runs_on_this_machine_alone_is_loopback() -> None:
    spans = [act(2, JOB, network__peer__address="::1"), act(3, JOB, server__address="127.0.0.9")]
    assert [each.is_loopback for each in gathered(spans).jobs[0].acts] == [True, True]


def test_acts_beyond_the_limit_are_counted_with_those_of_their_kind() -> None:
    many = [act(10 + n, JOB, at_ms=n, egress__bytes_sent=2) for n in range(50)]
    rare = [
        act(90, JOB, at_ms=60, server__address="rare.example"),
        act(91, JOB, at_ms=61, egress__novel=True),
    ]
    report = gathered([job(JOB), *many, *rare], Limits(acts=4))
    acts = only_job(report).acts
    assert len(acts) == 4
    assert sum(each.attempts for each in acts) == 52
    assert sum(each.bytes_sent or 0 for each in acts) == 100
    assert {(each.host, each.novel) for each in acts} == {
        ("registry.example", None),
        ("rare.example", None),
        ("registry.example", True),
    }
    assert report.left_out == 0
    assert report.notes == (
        "48 further acts counted with another of the same destination, chain, verdict and outcome",
    )


def test_kinds_beyond_the_limit_are_left_out_and_counted() -> None:
    spans = [act(10 + n, JOB, server__address=f"{n}.example", egress__attempts=3) for n in range(9)]
    report = gathered(spans, Limits(acts=4))
    assert [each.host for each in only_job(report).acts] == [f"{n}.example" for n in range(4)]
    assert report.left_out == 15
    assert report.notes == ("15 attempts found no room here: only the account has them",)


def test_of_too_many_programs_those_that_did_something_are_kept() -> None:
    idle = [program(100 + n, JOB, f"idle-{n}", at_ms=1) for n in range(50)]
    spans = [job(JOB), *idle, program(1, JOB, "npm"), program(2, 1, "node"), act(3, 2)]
    report = gathered(spans, Limits(programs=5))
    found = only_job(report)
    assert len(found.programs) == 5
    assert parents(found)["registry.example:443"] == "node"
    assert parents(found)["node"] == "npm"
    assert report.notes == ("47 further programs without a line of its own",)


def test_jobs_beyond_the_limit_are_told_with_their_attempts() -> None:
    spans = [act(n, None, trace=f"{n:032x}") for n in range(1, 9)]
    report = gathered(spans, Limits(jobs=3))
    assert len(report.jobs) == 3
    assert report.left_out == 5
    assert "more than 3 jobs: name fewer files to see the others" in report.notes


def test_instances_are_bounded_and_so_are_their_names() -> None:
    gathering, names = Gathering(Limits(instances=3)), ["a", "b", "x" * 100_000, "c", "d"]
    for number, name in enumerate(names):
        for span in read_whole_spans(line([act(number + 2, JOB)], name), ATTRIBUTES):
            gathering.add(span)
    assert gathering.instances == {"a", "b", "x" * NAME_MAX}
    told = "more than 3 runs and watches made these spans: the account is of the first ones"
    assert told in gathering.report().notes


def test_texts_have_bounds() -> None:
    long = "x" * 100_000
    span = act(2, JOB, server__address=long, process__command_line=long, egress__lineage=[long] * 100)
    found = only_act(gathered([job(JOB), span]))
    assert len(found.host) == 1024
    assert len(found.command_line) == 8192
    assert (len(found.chain), len(found.chain[0])) == (64, 1024)


@given(draws())
def test_whatever_the_tree_every_attempt_is_told_or_left_out(draw: Draw) -> None:
    reports.every_attempt_is_told(draw)


def test_lines_are_read_the_same_way_whether_all_their_types_are_right_or_not() -> None:
    spans = [job(JOB), program(1, JOB), act(2, 1)]
    wrong = line([*spans, {"kind": "none of OTLP's"}])
    assert json.loads(wrong)
    told = read_whole_spans(wrong, ATTRIBUTES)
    assert told[:3] == read_whole_spans(line(spans), ATTRIBUTES)
