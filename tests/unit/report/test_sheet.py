"""A job comes out the same, from what was counted while it ran and from its spans."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import date

from exporter.events.destinations import SOCKET, destination
from exporter.events.facts import Outcome
from exporter.pipeline.ruling import Ruling
from exporter.pipeline.summary import Summary
from exporter.pipeline.summary_table import SummaryKey, Traffic
from exporter.report.markdown import render
from exporter.report.model import JobReport, ReportedAct
from exporter.report.sheet import sheet_of_report, sheet_of_run
from tests.unit.records import ACT
from tests.unit.samples import JOB, attempt, bash, program

ENDED_NS = 1_795_651_200_000_000_000  # 2026-11-26 in UTC
RECORDED = ReportedAct(
    span_id="0" * 16,
    parent_id=None,
    started_ns=1,
    ended_ns=2,
    host="registry.example",
    port=443,
    transport="tcp",
    address="192.0.2.7",
    is_loopback=False,
    question=None,
    attempts=1,
    outcome="established",
    error=None,
    bytes_sent=10,
    bytes_received=20,
    verdict="audit",
    rule="default",
    novel=True,
    step="install",
    pid=1,
    chain=("bash", "curl"),
    command_line="curl",
    ancestors=("bash",),
)
JOB_REPORT = JobReport(
    trace_id=f"{JOB.ids.trace_id:032x}",
    span_id="1" * 16,
    title="build",
    pipeline="release",
    task="build",
    run_id="987",
    repository=None,
    mode="audit",
    started_ns=1,
    ended_ns=ENDED_NS,
)


def test_spans_and_the_counts_of_a_run_give_the_same_sheet() -> None:
    summary = Summary({})
    acting = program(parent=bash())
    acting.step = "install"
    said = Ruling("audit", "audit", "default", None, is_novel=True)
    met = attempt(destination(ACT, "registry.example"), acting, said)
    for outcome in (Outcome.ESTABLISHED, Outcome.REFUSED):
        summary.connected(met)
        summary.ended(met, outcome)
        summary.transferred(met, 10, 20)
    acts = (RECORDED, replace(RECORDED, outcome="refused"))
    read = sheet_of_report(replace(JOB_REPORT, acts=acts))
    ran = sheet_of_run("build", JOB, summary, mode="audit", day=date(2026, 11, 26))
    assert read == ran
    row = SummaryKey("registry.example", 443, "tcp", ("bash", "curl"), False, "audit", True, "install")
    assert read.tally.rows == [(row, Traffic(2, 1, 20, 40, "default"))]


def test_what_another_name_s_rule_allowed_is_told_by_the_counts_of_a_run_and_by_spans() -> None:
    rule, summary = "{host: deb.example, ports: [443]}", Summary({})
    acting = program(parent=bash())
    said = Ruling("allow", "enforce", rule)
    allowed = replace(
        RECORDED, verdict="allow", rule=rule, novel=None, step=None, bytes_sent=None, bytes_received=None
    )
    for host, attempts in (("registry.example", 2), ("deb.example", 1)):
        summary.connected(attempt(destination(ACT, host), acting, said, attempts=attempts))
    acts = (replace(allowed, attempts=2), replace(allowed, host="deb.example"))
    read = sheet_of_report(replace(JOB_REPORT, mode="enforce", acts=acts))
    ran = sheet_of_run("build", JOB, summary, mode="enforce", day=date(2026, 11, 26))
    assert replace(read, began_ns=0) == ran
    told = "2 attempts to registry.example:443 were allowed by the rule for another name of its address"
    assert read.tally.notes == (f"{told}: {rule}",)
    markdown = render([read], account=None, trace_url=None)
    assert "⚠️" in markdown
    assert "1 destination is allowed by another name's rule only" in markdown
    assert f"{told}: {rule}" in printed(summary)


def printed(summary: Summary) -> list[str]:
    stream = io.StringIO()
    summary.print(stream, account="", title="")
    return stream.getvalue().splitlines()


def test_a_socket_without_an_address_has_no_host_but_a_host_may_be_called_so() -> None:
    acts = (
        replace(RECORDED, host=SOCKET, address=None, port=None, transport="icmp"),
        replace(RECORDED, host=SOCKET, address=None, port=None, transport=None),
        replace(RECORDED, host=SOCKET),
    )
    rows = sheet_of_report(replace(JOB_REPORT, acts=acts)).tally.rows
    shown = {"icmp socket", "raw unknown socket", "_socket:443"}
    assert {row.destination for row, _ in rows} == {act.destination for act in acts} == shown


def test_rows_are_bounded_and_the_rest_is_counted() -> None:
    acts = [replace(RECORDED, host=f"h{number}.example", attempts=2) for number in range(10_005)]
    sheet = sheet_of_report(replace(JOB_REPORT, acts=acts))
    assert len(sheet.tally.rows) == 10_000
    assert sheet.tally.uncounted == 10
    assert sheet.attempts == sheet.tally.novel == 20_010


def test_a_time_that_no_calendar_has_is_none() -> None:
    assert sheet_of_report(replace(JOB_REPORT, ended_ns=1 << 80)).day is None
