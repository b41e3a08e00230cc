"""From what was seen to a baseline, with what a person should know beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import NamedTuple

from exporter.baseline.fold import Known, fold
from exporter.baseline.model import Baseline, Entry, History, Task
from exporter.baseline.seen import CHAINS_MAX, Met, Run, Runs, Seen
from exporter.text import counted

_DAY_NS = 86_400 * 10**9
_EPOCH = date(1970, 1, 1).toordinal()
_NOTES_MAX = 20
"""Of one kind; the rest is only counted."""


class Learnt(NamedTuple):
    """A baseline, and what it doesn't say itself."""

    baseline: Baseline
    notes: tuple[str, ...]
    """One line each; names in them may be hostile."""


def conclude(seen: Seen) -> Learnt:
    """What was learnt."""
    known = [(name, each) for name, task in seen.tasks.items() for each in fold(task)]
    entries = [_entry(name, each) for name, each in known]
    brought: dict[str | None, set[Run]] = {}
    for name, each in known:
        brought.setdefault(name.pipeline, set()).update(run for _, run in each.met.firsts)
    histories = {
        pipeline: _history(runs, brought.get(pipeline, set()))
        for pipeline, runs in seen.runs.items()
        if runs.places  # else there was no room for any
    }
    notes = (
        *seen.notes,
        *(
            f"not learnt: {counted(attempts, 'attempt')} {why}"
            for why, attempts in sorted(seen.left_out.items())
        ),
        *_uncounted(seen),
        *_first_of(_folded(entries), "wildcards for names that vary"),
        *_first_of(_crowded(entries, [each.met for _, each in known]), "destinations with `lineage: any`"),
    )
    return Learnt(Baseline(tuple(sorted(entries, key=lambda entry: entry.subject.order)), histories), notes)


def _entry(task: Task, known: Known) -> Entry:
    met = known.met
    days = set(met.days)
    if met.first is not None:
        days |= {_day(met.first[0]), _day(met.last_ns)}
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
    """`brought` are the runs that did something for the first time."""
    ordered = runs.in_order()
    quiet_runs = 0
    for run in reversed(ordered):
        if run in brought:
            break
        quiet_runs += 1
    last_ns = runs.last_ns[runs.places[ordered[-1]]]
    return History(len(ordered), quiet_runs, date.fromordinal(_day(last_ns)))


def _day(at_ns: int) -> int:
    return _EPOCH + at_ns // _DAY_NS


def _uncounted(seen: Seen) -> Iterator[str]:
    if seen.uncounted:
        attempts = counted(seen.uncounted, "act")
        yield f"only {seen.counted_runs:,} runs are counted; {attempts} of others are learnt all the same"


def _folded(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        if entry.folded:
            yield (
                f"{_shown(entry)} stands for {len(entry.folded)} names that vary from run to run; list these "
                "in its place if others below it should be novel"
            )


def _crowded(entries: Iterable[Entry], mets: Iterable[Met]) -> Iterator[str]:
    for entry, met in zip(entries, mets, strict=True):
        if met.is_crowded:
            yield f"{_shown(entry)}: `lineage: any`, since more than {CHAINS_MAX} chains reached it"


def _shown(entry: Entry) -> str:
    names = "/".join(filter(None, entry.task)) or "a job without a name"
    return f"{names}: {entry.subject.shown}"


def _first_of(notes: Iterable[str], what: str) -> Iterator[str]:
    listed = sorted(notes)
    yield from listed[:_NOTES_MAX]
    if len(listed) > _NOTES_MAX:
        yield f"and {len(listed) - _NOTES_MAX:,} more {what}"
