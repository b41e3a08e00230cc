"""With and without, on a machine that is never quite still: interleaved, medians, and a control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median, quantiles
from typing import NamedTuple

from benchmarks.figures import Figure


class Round(NamedTuple):
    """Measurements that were made one right after the other, in whatever unit."""

    without: float
    with_tracing: float
    again_without: float
    """The control: it differs from `without` only by what the machine did meanwhile."""


Measure = Callable[[], float]


def alternate(count: int, without: Measure, with_tracing: Measure) -> list[Round]:
    """Measure `count` rounds; each begins with another of the three, so that no place is favoured."""
    return [_round(number, (without, with_tracing, without)) for number in range(count)]


def _round(number: int, measures: tuple[Measure, Measure, Measure]) -> Round:
    order = [(number + place) % len(measures) for place in range(len(measures))]
    measured = {index: measures[index]() for index in order}
    return Round(*(measured[index] for index in range(len(measures))))


def ratio(name: str, rounds: Sequence[Round], *, limit: float | None = None, note: str = "") -> Figure:
    """The median over the rounds of with ÷ without; beside it the spread, and the same of the control."""
    ratios = [one.with_tracing / one.without for one in rounds]
    control = [one.again_without / one.without for one in rounds]
    beside = f"quartiles {_quartiles(ratios)}; control ×{median(control):.3f}, {_quartiles(control)}"
    return Figure(name, median(ratios), "×", f"{beside}{'; ' if note else ''}{note}", limit)


def _quartiles(values: Sequence[float]) -> str:
    low, _, high = quantiles(values, n=4, method="inclusive")
    return f"{low:.3f} to {high:.3f}"


def middle(name: str, values: Sequence[float], unit: str, *, limit: float | None = None) -> Figure:
    """The median; beside it the extremes."""
    note = f"{min(values):.3g} to {max(values):.3g} in {len(values)}"
    return Figure(name, median(values), unit, note, limit)
