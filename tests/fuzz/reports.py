"""Files of spans and metrics of any content: a report in bounds, with trees that are some and right sums."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from exporter.otlp.reading.metrics import points_in_any, points_in_request, read_points
from exporter.otlp.reading.spans import read_whole_spans, whole_in_any, whole_in_request
from exporter.report.accounts import KINDS, Accounts
from exporter.report.gathering import ATTRIBUTES, Gathering, Limits
from exporter.report.html import render as render_page
from exporter.report.markdown import render
from exporter.report.model import Report
from exporter.report.sheet import sheet_of_report
from tests.fuzz.draw import Draw
from tests.fuzz.readers import agreed
from tests.unit.report.span_files import account_line, act, is_a_tree, job, line, pairs, program

_NAMES = tuple(sorted(ATTRIBUTES))
_DICTIONARY = (
    b'{"',
    b'"}',
    b"[[",
    b"]",
    b":",
    b",",
    b"\\ud800",
    b"\xff",
    b"null",
    b'"kind":3',
    b'"9"',
    b"1e999",
)
_WRONG: tuple[Any, ...] = (None, 7, -1.5, True, "x", [], {}, [[]], "0" * 16, "F" * 32, "9" * 40)
_FIELDS = ("traceId", "spanId", "parentSpanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano")
_MARKDOWN_MAX = 20_000
_PAGES = 0.01
"""Of the inputs: one takes as long as all the rest."""


def check(draw: Draw) -> None:
    """Sane ones in whatever order and number, with values of other types in places, or changed."""
    spans, limits = _spans(draw), _limits(draw)
    if draw.chance(0.5):
        _tells_every_attempt(spans, limits)
    hostile = [_hostile(draw, span) for span in spans]
    data = json.dumps(json.loads(line(hostile))).encode()
    if draw.chance(0.3):
        data = draw.mutated(data, _DICTIONARY)
    report = _report(agreed(data, ATTRIBUTES, whole_in_request, whole_in_any, read_whole_spans), limits, draw)
    _is_sound(report, limits)
    text = render(
        [sheet_of_report(found) for found in report.jobs],
        account=report.account,
        trace_url="https://traces.example/{trace_id}",
        notes=report.notes,
        limit_bytes=_MARKDOWN_MAX,
    )
    assert len(text.encode()) <= _MARKDOWN_MAX
    if draw.chance(_PAGES):
        assert render_page(report)


def _report(spans: Iterable[Any], limits: Limits, draw: Draw) -> Report:
    gathering = Gathering(limits)
    for span in spans:
        gathering.add(span)
    accounts = Accounts()
    for _ in range(draw.length(3)):
        counts = [draw.unsigned(63) for _ in range(7)]
        metrics = account_line(draw.choice(("one", "two")), *counts[:3], spool=counts[3], dropped=counts[4])
        if draw.chance(0.3):
            metrics = draw.mutated(metrics, _DICTIONARY)
        for point in agreed(metrics, KINDS, points_in_request, points_in_any, read_points):
            accounts.add(point)
    account = accounts.account(gathering.instances)
    if account is not None:
        settled = account.exported + account.aggregated + sum(account.dropped.values())
        assert account.attempts >= settled + sum(account.pending.values())
        assert min((0, *account.pending.values())) == 0
    return gathering.report(account)


def every_attempt_is_told(draw: Draw) -> None:
    """Whatever the tree, or it is counted as left out."""
    _tells_every_attempt(_spans(draw), _limits(draw))


def _spans(draw: Draw) -> list[dict[str, Any]]:
    return [_span(draw) for _ in range(draw.length(30))]


def _limits(draw: Draw) -> Limits:
    return Limits(1 + draw.length(10), 1 + draw.length(10), draw.length(20), 1 + draw.length(3))


def _tells_every_attempt(spans: list[dict[str, Any]], limits: Limits) -> None:
    gathering = Gathering(limits)
    for span in read_whole_spans(line(spans), ATTRIBUTES):
        gathering.add(span)
    report = gathering.report()
    once = {(span["traceId"], span["spanId"]): span for span in reversed(spans)}
    told = [each for found in report.jobs for each in found.acts]
    expected = sum(_attempts_of(span) for span in once.values())
    assert sum(each.attempts for each in told) + report.left_out == expected
    _is_sound(report, limits)


def _attempts_of(span: dict[str, Any]) -> int:
    known = {pair["key"]: pair["value"] for pair in span["attributes"]}
    return int(known["egress.attempts"]["intValue"]) if span["kind"] == 3 else 0


def _is_sound(report: Report, limits: Limits) -> None:
    assert sum(len(found.acts) for found in report.jobs) <= limits.acts
    assert sum(len(found.programs) for found in report.jobs) <= limits.programs
    assert len(report.jobs) <= limits.jobs
    for found in report.jobs:
        is_a_tree(found)


def _span(draw: Draw) -> dict[str, Any]:
    """With few ids, so that they meet."""
    number, parent = 1 + draw.randrange(12), draw.choice((None, *range(1, 13)))
    trace, at_ms = draw.choice(("1" * 32, "2" * 32)), draw.randrange(100)
    way = draw.randrange(5)
    if way == 0:
        return job(number, trace=trace, at_ms=at_ms)
    if way == 1:
        return program(number, parent, trace=trace, at_ms=at_ms)
    host = draw.choice(("a.example", "192.0.2.1", "::1", draw.text(9)))
    attempts = 1 + draw.randrange(5)
    return act(number, parent, trace=trace, at_ms=at_ms, server__address=host, egress__attempts=attempts)


def _hostile(draw: Draw, span: dict[str, Any]) -> dict[str, Any]:
    more = {draw.choice(_NAMES): _value(draw) for _ in range(draw.length(4))}
    changed = {**span, "attributes": [*span["attributes"], *pairs(more)]}
    if draw.chance(0.2):
        changed[draw.choice(_FIELDS)] = draw.choice(_WRONG)
    return changed


def _value(draw: Draw) -> Any:
    texts = draw.some(lambda: draw.text(9), 4)
    return draw.choice((draw.text(20), draw.unsigned(63), draw.chance(0.5), texts))
