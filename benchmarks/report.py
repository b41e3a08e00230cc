"""The figures as a table on a terminal, in Markdown, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.figures import Figure

_HEADINGS = ("figure", "measured", "limit", "kept", "beside it")


def as_table(machine: Mapping[str, str], figures: Sequence[Figure]) -> None:
    """Print the figures for a person."""
    console = Console(width=None if Console().is_terminal else 200)
    console.print(Text("\n".join(_lines(machine))))
    table = Table(box=None, pad_edge=False)
    for heading, justify in zip(_HEADINGS, ("left", "right", "right", "left", "left"), strict=True):
        table.add_column(heading, justify="right" if justify == "right" else "left")
    for figure in figures:
        style = "" if figure.is_kept else "red"
        table.add_row(*(Text(cell, style) for cell in _cells(figure)))
    console.print(table)


def as_markdown(machine: Mapping[str, str], figures: Sequence[Figure]) -> str:
    """Return the figures for docs/benchmarks.md."""
    rows = [_HEADINGS, ("---", "---:", "---:", "---", "---"), *map(_cells, figures)]
    table = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*(f"- {line}" for line in _lines(machine)), "", *table])


def as_json(machine: Mapping[str, str], figures: Sequence[Figure]) -> str:
    """Return `{"machine": {…}, "figures": [{"name", "value", "unit", "note", "limit", "is_kept"}]}`."""
    listed = [{**asdict(figure), "is_kept": figure.is_kept} for figure in figures]
    return json.dumps({"machine": machine, "figures": listed}, indent=2, ensure_ascii=False)


def _lines(machine: Mapping[str, str]) -> list[str]:
    return [f"{name}: {value}" for name, value in machine.items()]


def _cells(figure: Figure) -> tuple[str, ...]:
    measured = shown(figure.value, figure.unit)
    if figure.limit is None:
        return figure.name, measured, "", "", figure.note
    kept = "yes" if figure.is_kept else "NO"
    return figure.name, measured, shown(figure.limit, figure.unit), kept, figure.note


def shown(value: float, unit: str) -> str:
    """Format a value with as many digits as mean something."""
    if unit == "×":
        return f"×{value:.3f}"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}" if unit else f"{value:,.0f}"
