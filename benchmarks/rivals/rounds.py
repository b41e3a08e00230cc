"""Rounds: each tool once in each, in a random order, and the cells of the table that they make."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from random import Random
from statistics import median, median_low, quantiles
from typing import TypeVar

from benchmarks.workshop import BenchmarkError

_SEED = 1
_FEWEST = 2
"""Quartiles need as many."""

Subject = TypeVar("Subject")
Found = TypeVar("Found")


def in_rounds(
    name: str, subjects: Sequence[Subject], rounds: int, measure: Callable[[Subject], Found]
) -> dict[Subject, list[Found | None]]:
    """Measure each subject once a round, and return what was found, by round: None where that failed.

    The order of a round is random, and the same whenever `name` is the same. Failures go to stderr.
    """
    order = Random(f"{_SEED} {name}")  # noqa: S311 - it keeps no secret
    found: dict[Subject, list[Found | None]] = {each: [] for each in subjects}
    for _ in range(rounds):
        for each in order.sample(subjects, len(subjects)):
            found[each].append(_unless_it_fails(measure, each))
    return found


def _unless_it_fails(measure: Callable[[Subject], Found], subject: Subject) -> Found | None:
    try:
        return measure(subject)
    except BenchmarkError as error:
        print(error, file=sys.stderr, flush=True)
        return None


def cell(series: Sequence[Found | None], write: Callable[[Sequence[Found]], str]) -> str:
    """Write the rounds that didn't fail, and say how many did."""
    done = [one for one in series if one is not None]
    if len(done) < _FEWEST:
        return "failed"
    failed = len(series) - len(done)
    return write(done) + (f"; failed in {failed} of {len(series)} rounds" if failed else "")


def ratio(series: Sequence[float | None], without: Sequence[float | None]) -> str:
    """Compare each round with the same one without any tool."""
    pairs = zip(series, without, strict=True)
    ratios = [None if one is None or other is None else one / other for one, other in pairs]
    return cell(ratios, lambda done: f"×{middle(done, '.2f')}")


def middle(series: Sequence[float], form: str) -> str:
    """Return the median and the quartiles."""
    low, _, high = quantiles(series, n=4, method="inclusive")
    return f"{median(series):{form}} ({low:{form}}–{high:{form}})"


def count(series: Sequence[int]) -> str:
    """Return the median, and the worst round."""
    return f"{median_low(series):,} ({min(series):,})"
