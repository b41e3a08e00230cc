"""The tables of a job's summary: as many whole rows as there is room for, and the number of the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from rich.filesize import decimal

from exporter.common.text import counted
from exporter.pipeline.ruling import DENIED, VERDICT_WORDS, WOULD_DENY
from exporter.pipeline.summary_table import NAME_MAX, Counted, SummaryKey, Traffic, shortened
from exporter.policy.model import DEFAULT

from .inert import code, size
from .sheet import attempts_of

NEW = "new"
_AGAINST = frozenset({DENIED, WOULD_DENY})
ALL_MARKS = _AGAINST | {NEW}
_MORE_MAX = 120
"""The most bytes of the line that says how many more rows there are."""


class _Column(NamedTuple):
    head: str
    cell: Callable[[SummaryKey, Traffic], str]
    attributes: str = ""


def table(rows: Sequence[Counted], limit_bytes: int, *, rows_max: int, marks: Collection[str] = ()) -> str:
    """Return an HTML table of `rows` of at most `limit_bytes`; empty if not even one row fits.

    `marks` are NEW and verdicts: a row that one of them applies to shows it.
    """
    columns = list(_columns(rows, marks))
    heads = "".join(f"<th{column.attributes}>{column.head}</th>" for column in columns)
    text = [f"<table>\n<tr>{heads}</tr>\n"]
    left = limit_bytes - size(text[0]) - len("</table>\n") - _MORE_MAX
    for row, traffic in rows[:rows_max]:
        cells = (f"<td{column.attributes}>{column.cell(row, traffic)}</td>" for column in columns)
        line = f"<tr>{''.join(cells)}</tr>\n"
        left -= size(line)
        if left < 0:
            break
        text.append(line)
    shown = len(text) - 1
    return "".join((*text, "</table>\n", _more(rows[shown:]))) if shown else ""


def _columns(rows: Sequence[Counted], marks: Collection[str]) -> Iterator[_Column]:
    """Yield three columns, since a phone has no room for more."""
    yield _Column("destination", partial(_where, marks))
    has_steps = any(row.step is not None for row, _ in rows)
    yield _Column("process chain, step" if has_steps else "process chain", _who)
    yield _Column("attempts", _attempts, ' align="right"')


def _where(marks: Collection[str], row: SummaryKey, traffic: Traffic) -> str:
    lines = [code(row.destination)]
    if row.host is not None and row.transport != "tcp":
        lines[0] += f" {code(row.transport)}" if row.transport else " ?"
    if row.novel and NEW in marks:
        lines.append("<b>new</b>")
    if row.verdict in _AGAINST:
        told = [f"<b>{VERDICT_WORDS[row.verdict]}</b>"] if row.verdict in marks else []
        told += [f"by {code(traffic.rule)}"] if traffic.rule not in (None, DEFAULT) else []
        lines += [" ".join(told)] if told else []
    return "<br>".join(lines)


def _who(row: SummaryKey, _: Traffic) -> str:
    """Format a process chain, each program as an element of its own, so that none can pass for two."""
    chain = " › ".join(code(name, limit=NAME_MAX) for name in shortened(row.chain)) or "?"
    return f"{chain}<br>in {code(row.step, limit=NAME_MAX)}" if row.step else chain


def _attempts(_: SummaryKey, traffic: Traffic) -> str:
    lines = [f"{traffic.attempts:,}"]
    lines += [f"{traffic.failed:,} failed"] if traffic.failed else []
    for arrow, number in (("↑", traffic.bytes_sent), ("↓", traffic.bytes_received)):
        lines += [f"{arrow} {decimal(number)}".replace(" ", "&nbsp;")] if number else []
    return "<br>".join(lines)


def _more(rows: Sequence[Counted]) -> str:
    if not rows:
        return ""
    hidden = counted(attempts_of(rows), "attempt")
    return f"<p>… and {counted(len(rows), 'more row', 'more rows')} with {hidden}: see the trace.</p>\n"
