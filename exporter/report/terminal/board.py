"""The contents of a watch's screen, made to fit it. Every text may come from an attacker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from exporter.common.text import counted, printable

from .new_destinations import First, drawn

_SAID = 4
"""The most lines for the latest messages."""
_AROUND = 3
"""Lines for headings: the screen's, the table's and that of the new acts."""
_MINUTE_S, _HOUR_S = 60, 3600


class BoardRow(NamedTuple):
    """A job's row in the table."""

    title: str
    run_id: str
    destinations: str
    novel: int
    denied: int
    would_be_denied: int
    attempts: int
    idle_s: float
    """Seconds since the job's latest act."""
    is_over: bool


class Latest(NamedTuple):
    """An act that was new in its job."""

    first: First
    title: str
    """The job's title."""


@dataclass(frozen=True)
class Board:
    """Everything that the screen shows."""

    running: int
    """The number of running jobs."""
    rows: Sequence[BoardRow]
    """The rows in the order in which they are shown, with one for acts that belong to no job."""
    latest: Sequence[Latest]
    """New acts, the newest first."""
    said: Sequence[str]
    """Lines of messages, the newest last; printable."""

    def lines(self, columns: int, lines: int) -> list[str]:
        """Return at most `lines` lines of `columns` columns each."""
        said = list(self.said)[-min(_SAID, max(lines // 5, 1)) :]
        rest = max(lines - len(said) - _AROUND, 2)
        jobs = min(len(self.rows), max(rest // 2, 1, rest - len(self.latest)))
        shown = [
            drawn(self._heading(), columns),
            *drawn(self._table(jobs), columns).splitlines(),
            drawn(Text("first seen, the newest on top", style="italic dim"), columns),
            *(drawn(_line(latest), columns) for latest in self.latest[: max(rest - jobs, 0)]),
        ][: max(lines - len(said), 1)]
        blank = [""] * (lines - len(said) - len(shown))
        told = [drawn(Text(line, style="dim"), columns) for line in said]
        return [*shown, *blank, *told][:lines]

    def _heading(self) -> Text:
        attempts = sum(row.attempts for row in self.rows)
        words = f"ci-egress watch: {counted(self.running, 'job')}, {attempts:,} attempts; ^C ends it"
        return Text(words, style="bold")

    def _table(self, number: int) -> Table:
        table = Table(box=None, pad_edge=False, expand=True)
        table.add_column("job", no_wrap=True, overflow="ellipsis", ratio=3)
        table.add_column("run", no_wrap=True, overflow="ellipsis", ratio=1)
        for name in ("destinations", "new", "denied", "would be", "attempts", "last seen"):
            table.add_column(name, no_wrap=True, justify="right")
        for row in self.rows[:number]:
            table.add_row(*_cells(row), style="dim" if row.is_over else None)
        hidden = len(self.rows) - number
        if hidden > 0:
            table.columns[0].header = Text(f"job (and {hidden} more)")
        return table


def _line(latest: Latest) -> Text:
    return Text.assemble(latest.first.line(), (f"  in {printable(latest.title)}", "dim"))


def _cells(row: BoardRow) -> Iterator[Text]:
    yield Text(printable(row.title))
    yield Text(printable(row.run_id))
    yield Text(row.destinations)
    yield _alarming(row.novel, "bold yellow")
    yield _alarming(row.denied, "bold red")
    yield _alarming(row.would_be_denied, "magenta")
    yield Text(f"{row.attempts:,}")
    yield Text("over" if row.is_over else _ago(row.idle_s))


def _alarming(number: int, style: str) -> Text:
    return Text(f"{number:,}", style=style) if number else Text("")


def _ago(seconds: float) -> str:
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s ago"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min ago"
    return f"{seconds / _HOUR_S:.0f} h ago"
