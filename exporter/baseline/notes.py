"""Notes for the person who reviews a learnt baseline, a line each; names in them may be hostile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import NamedTuple

from exporter.common.text import counted

from .model import Entry
from .sections import shown_task
from .seen import CHAINS_MAX, NO_ROOM, Contact, Seen

_NOTES_MAX = 20
"""The most notes of one kind; further ones are only counted."""
_REPOSITORIES_SHOWN = 5


class Made(NamedTuple):
    """An entry, and the facts that it was made of."""

    entry: Entry
    met: Contact
    before: Entry | None = None
    """The entry in the baseline to which the runs are added; None where it had none."""

    @property
    def is_news(self) -> bool:
        """Whether the entry is new, or has other chains than before."""
        return self.before is None or self.before.lineages != self.entry.lineages


def notes(seen: Seen, made: Sequence[Made]) -> Iterator[str]:
    """Yield the notes of all kinds."""
    yield from seen.notes
    for why, attempts in sorted(seen.left_out.items()):
        yield f"not learnt: {counted(attempts, 'attempt')} {why}"
    if seen.unkept:
        yield f"not learnt: {counted(seen.unkept, 'destination')} of some files, {NO_ROOM}"
    if seen.uncounted:
        acts = counted(seen.uncounted, "act")
        yield f"only {seen.counted_runs:,} runs are counted; {acts} of others are learnt all the same"
    yield from _first_of(_shared(seen), "pipelines of several repositories")
    yield from _first_of(_novel(made), "destinations that were novel when they were recorded")
    yield from _first_of(_folded(made), "wildcards for names that vary")
    yield from _first_of(_crowded(made), "destinations with `lineage: any`")


def _shared(seen: Seen) -> Iterator[str]:
    for pipeline, repositories in seen.repositories.items():
        names = sorted(repositories)
        if len(names) == 1:
            continue
        told = ", ".join(names[:_REPOSITORIES_SHOWN]) + (", …" if len(names) > _REPOSITORIES_SHOWN else "")
        who = "what has no pipeline's name" if pipeline is None else f"pipeline {pipeline}"
        others = "the others" if names[2:] else "the other"
        yield (
            f"{who} is of {len(names)} repositories ({told}): what one of them reaches isn't novel for "
            f"{others}; learn each by itself with --repository"
        )


def _novel(made: Iterable[Made]) -> Iterator[str]:
    for each in made:
        if each.met.novel is not None and each.is_news:
            day, run_id = each.met.novel
            when = f"run {run_id}" if run_id else f"on {date.fromordinal(day)}"
            yield (
                f"{each.entry.subject.shown} of {shown_task(each.entry.task)} was novel when it was recorded "
                f"({when}): look at it before it is known"
            )


def _folded(made: Iterable[Made]) -> Iterator[str]:
    for entry, *_ in made:
        if entry.folded:
            yield (
                f"{_shown(entry)} stands for {len(entry.folded)} names that vary from run to run; list these "
                "in its place if others below it should be novel"
            )


def _crowded(made: Iterable[Made]) -> Iterator[str]:
    for each in made:
        was_any = each.before is not None and each.before.lineages is None
        if (
            each.entry.lineages is None
            and not was_any
            and (each.met.is_crowded or each.met.chains is not None)
        ):
            yield f"{_shown(each.entry)}: `lineage: any`, since more than {CHAINS_MAX} chains reached it"


def _shown(entry: Entry) -> str:
    names = "/".join(filter(None, entry.task)) or "a job without a name"
    return f"{names}: {entry.subject.shown}"


def _first_of(found: Iterable[str], what: str) -> Iterator[str]:
    listed = sorted(found)
    yield from listed[:_NOTES_MAX]
    if len(listed) > _NOTES_MAX:
        yield f"and {len(listed) - _NOTES_MAX:,} more {what}"
