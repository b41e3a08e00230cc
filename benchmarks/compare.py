"""Compare with and without tracing on a machine that is never still: in turns, by medians, with a control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median, quantiles
from typing import NamedTuple

from benchmarks.figures import Figure


class Round(NamedTuple):
    """Measurements that were made one right after the other, all in the same unit."""

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
    """Return the median over the rounds of with ÷ without; its note has the spread, and the control's."""
    ratios = [one.with_tracing / one.without for one in rounds]
    control = [one.again_without / one.without for one in rounds]
    beside = f"quartiles {_quartiles(ratios)}; control ×{median(control):.3f}, {_quartiles(control)}"
    return Figure(name, median(ratios), "×", f"{beside}{'; ' if note else ''}{note}", limit)


def _quartiles(values: Sequence[float]) -> str:
    low, _, high = quantiles(values, n=4, method="inclusive")
    return f"{low:.3f} to {high:.3f}"


def middle(name: str, values: Sequence[float], unit: str, *, limit: float | None = None) -> Figure:
    """Return the median of `values`; its note has the extremes."""
    note = f"{min(values):.3g} to {max(values):.3g} in {len(values)}"
    return Figure(name, median(values), unit, note, limit)
