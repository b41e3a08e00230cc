"""The comparison as Markdown, for docs/benchmarks.md."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

from benchmarks.rivals.compared import CONTROL, Row


def as_markdown(
    machine: Mapping[str, str], versions: Mapping[str, str], missing: Mapping[str, str], rows: Sequence[Row]
) -> str:
    """Return the table, with the day, the machine, and each tool's version or why it isn't there."""
    today = datetime.datetime.now(datetime.UTC).date()
    facts = {"day": today.isoformat(), **machine, **versions}
    absent = [f"- {name}: not measured; {_line(why)}" for name, why in missing.items()]
    columns = ["", CONTROL, *versions]
    lines = [_row(columns), _row(["---", *("---:" for _ in columns[1:])])]
    lines += [_row([row.name, *(row.cells.get(name, "") for name in columns[1:])]) for row in rows]
    return "\n".join([*(f"- {name}: {_line(fact)}" for name, fact in facts.items()), *absent, "", *lines])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _line(text: str) -> str:
    """Return the last line of a text: of a program's messages, the error."""
    return text.strip().splitlines()[-1]
