"""Make a baseline of recorded runs, with notes for the person who reviews it."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from exporter.common.errors import UsageError

from .fold import FoldedEntry
from .merge import BaselineMerge, firsts, widened
from .model import Baseline, Entry, History, Task
from .notes import Made, notes
from .parse import ENTRIES_MAX, KIND
from .seen import Run, Runs, Seen, day_of


class Learnt(NamedTuple):
    """A baseline, and notes on facts that its file doesn't have."""

    baseline: Baseline
    notes: tuple[str, ...]
    """One line each; names in them may be hostile."""


def conclude(seen: Seen, onto: Baseline | None = None) -> Learnt:
    """Add recorded runs to `onto`, if given. Raises UsageError if the result is more than a file may hold."""
    before = BaselineMerge(onto or Baseline())
    made = [
        _made(before, _entry(name, each), each)
        for name, task in seen.tasks.items()
        for each in before.known(name, task)
    ]
    entries = {**before.entries, **{each.entry.subject: each.entry for each in made}}
    if len(entries) > ENTRIES_MAX:
        raise UsageError(f"together they are more than {ENTRIES_MAX:,} entries", hint=KIND.smaller)
    ordered = tuple(entries[subject] for subject in sorted(entries, key=lambda subject: subject.order))
    return Learnt(Baseline(ordered, _histories(seen, before, made)), tuple(notes(seen, made)))


def _made(before: BaselineMerge, learnt: Entry, known: FoldedEntry) -> Made:
    own = before.entries.get(learnt.subject)
    return Made(widened(own, learnt), known.met, own)


def _histories(seen: Seen, before: BaselineMerge, made: list[Made]) -> dict[str | None, History]:
    brought: dict[str | None, set[Run]] = {}
    for entry, met, own in made:
        brought.setdefault(entry.task.pipeline, set()).update(run for _, run in firsts(own, met))
    learnt = {
        pipeline: before.history(pipeline, _history(runs, brought.get(pipeline, set())))
        for pipeline, runs in seen.runs.items()
        if runs.places  # else there was no room for its runs
    }
    return {**before.histories, **learnt}


def _entry(task: Task, known: FoldedEntry) -> Entry:
    met = known.met
    days = set(met.days)
    if met.first is not None:
        days |= {day_of(met.first[0]), day_of(met.last_ns)}
    return Entry(
        task,
        known.host,
        known.port,
        known.transport,
        None if met.chains is None else frozenset(met.chains),
        date.fromordinal(min(days)),
        date.fromordinal(max(days)),
        met.runs.bit_count() or None,
        known.folded,
    )


def _history(runs: Runs, brought: set[Run]) -> History:
    """Make a pipeline's history; `brought` are the runs that did something for the first time."""
    ordered = runs.in_order()
    quiet_runs = 0
    for run in reversed(ordered):
        if run in brought:
            break
        quiet_runs += 1
    last_ns = runs.last_ns[runs.places[ordered[-1]]]
    return History(len(ordered), quiet_runs, date.fromordinal(day_of(last_ns)))
