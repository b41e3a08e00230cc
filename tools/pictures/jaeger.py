"""A trace as Jaeger's query interface gives it, drawn as a waterfall: not a picture of Jaeger's own pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

from exporter.common.text import printable

JsonObject = Mapping[str, Any]

_BAR = 26
_COMMAND_MAX = 48
_US_PER_MS = 1000
_VERDICTS = {"audit": "would deny", "deny": "denied"}


class _Line(NamedTuple):
    guides: str
    span: JsonObject
    tags: JsonObject


def waterfall(trace: JsonObject, query: str) -> Group:
    """Draw `trace`, an element of `data` in the answer to `query`."""
    spans = trace["spans"]
    began_us = min(span["startTime"] for span in spans)
    took_us = max(span["startTime"] + span["duration"] for span in spans) - began_us
    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold", expand=True)
    table.add_column("span", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(f"0 … {took_us / 1e6:.2f} s", no_wrap=True, width=_BAR)
    table.add_column("took", justify="right", no_wrap=True)
    for line in _lines(spans):
        at_us = line.span["startTime"] - began_us
        table.add_row(_name(line), _bar(at_us, line.span["duration"], took_us, line.tags), _took(line.span))
    head = Text.assemble(("GET ", "bold"), query, (f"  → {len(spans)} spans", "dim"))
    return Group(head, Text(), table)


def _lines(spans: list[JsonObject]) -> Iterator[_Line]:
    below = defaultdict(list)
    known = {span["spanID"] for span in spans}
    for span in sorted(spans, key=lambda span: int(span["startTime"])):
        parents = [each["spanID"] for each in span["references"] if each["refType"] == "CHILD_OF"]
        below[parents[0] if parents and parents[0] in known else ""].append(span)

    def grow(parent: str, guides: str) -> Iterator[_Line]:
        for index, span in enumerate(below[parent]):
            is_last = index == len(below[parent]) - 1
            branch = "" if parent == "" else ("└─ " if is_last else "├─ ")
            yield _Line(guides + branch, span, {tag["key"]: tag["value"] for tag in span["tags"]})
            yield from grow(span["spanID"], guides + ("" if parent == "" else ("   " if is_last else "│  ")))

    yield from grow("", "")


def _name(line: _Line) -> Text:
    guides, span, tags = line
    style = _style(tags) if tags.get("span.kind") == "client" else "bold"
    text = Text.assemble((guides, "dim"), (printable(span["operationName"]), style))
    if tags.get("span.kind") == "client":
        marks = ["new"] if tags.get("egress.novel") is True else []
        marks += [_VERDICTS[tags["egress.verdict"]]] if tags.get("egress.verdict") in _VERDICTS else []
        return text.append(f"  {', '.join(marks)}" if marks else "", "red")
    command = printable(str(tags.get("process.command_line", "")), limit=_COMMAND_MAX)
    return text.append(f"  {command}", "dim")


def _bar(at_us: int, duration_us: int, took_us: int, tags: JsonObject) -> Text:
    per_cell = max(1, took_us) / _BAR
    first = min(_BAR - 1, int(at_us / per_cell))
    cells = max(1, min(_BAR - first, round(duration_us / per_cell)))
    return Text(" " * first + "━" * cells, _style(tags))


def _style(tags: JsonObject) -> str:
    if tags.get("egress.verdict") in _VERDICTS or tags.get("egress.novel") is True:
        return "bold red"
    return "green" if tags.get("span.kind") == "client" else "blue"


def _took(span: JsonObject) -> str:
    return f"{span['duration'] / _US_PER_MS:,.1f} ms"
