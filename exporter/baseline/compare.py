"""Compare the destinations and chains of two baselines; dates and numbers of runs make no difference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from exporter.common.text import first_of, printable
from exporter.events.programs import Lineage
from exporter.policy.model import Name
from exporter.policy.rule_texts import chains_text

from .entries import ANY
from .model import Baseline, Entry, Task
from .sections import shown_task

NAMES_SHOWN = 5


class Change(NamedTuple):
    """A destination that both baselines have, with different chains of processes."""

    before: Entry
    after: Entry

    @property
    def gained(self) -> list[Lineage] | None:
        """The chains that only the new entry has, sorted. None: it accepts any chain, unlike the old one."""
        return _beyond(self.after.lineages, self.before.lineages)

    @property
    def lost(self) -> list[Lineage] | None:
        """The chains that only the old entry has, sorted. None: it accepted any chain, unlike the new one."""
        return _beyond(self.before.lineages, self.after.lineages)


class Fold(NamedTuple):
    """A new wildcard, with the removed entries for names below it."""

    wildcard: Entry
    names: tuple[Entry, ...]

    @property
    def gained(self) -> list[Lineage] | None:
        """The chains that none of the names had, sorted. None: the wildcard accepts any, and no name did."""
        known = [entry.lineages for entry in self.names]
        chains = None if None in known else frozenset[Lineage]().union(*(each for each in known if each))
        return _beyond(self.wildcard.lineages, chains)


@dataclass(frozen=True)
class Difference:
    """The difference between two baselines; each part is sorted as entries are."""

    added: tuple[Entry, ...]
    removed: tuple[Entry, ...]
    changed: tuple[Change, ...]
    folded: tuple[Fold, ...]
    """New wildcards in place of names; their entries are neither in `added` nor in `removed`."""

    @property
    def is_none(self) -> bool:
        """Whether both baselines have the same destinations and chains."""
        return not (self.added or self.removed or self.changed or self.folded)


def compare(old: Baseline, new: Baseline) -> Difference:
    """Find the differences between `old` and `new`."""
    before = {entry.subject: entry for entry in old.entries}
    after = {entry.subject: entry for entry in new.entries}
    removed = [entry for entry in old.entries if entry.subject not in after]
    folded = list(_folds([entry for entry in new.entries if entry.subject not in before], removed))
    in_folds = {entry.subject for fold in folded for entry in (fold.wildcard, *fold.names)}
    told = in_folds | set(before)
    changed = (
        Change(before[entry.subject], entry)
        for entry in new.entries
        if entry.subject in before and before[entry.subject].lineages != entry.lineages
    )
    return Difference(
        tuple(entry for entry in new.entries if entry.subject not in told),
        tuple(entry for entry in removed if entry.subject not in in_folds),
        tuple(changed),
        tuple(folded),
    )


def difference_lines(difference: Difference) -> Iterator[str]:
    """Return one line for each difference, sorted as entries are; harmless on a terminal."""
    found: list[tuple[Entry, str]] = [
        *((entry, f"+ {_shown(entry)}  {_chains(entry.lineages)}") for entry in difference.added),
        *((entry, f"- {_shown(entry)}  {_chains(entry.lineages)}") for entry in difference.removed),
        *((change.after, f"~ {_shown(change.after)}  {_changed(change)}") for change in difference.changed),
        *((fold.wildcard, f"* {_shown(fold.wildcard)}  {_folded(fold)}") for fold in difference.folded),
    ]
    return (line for _, line in sorted(found, key=lambda item: item[0].subject.order))


def difference_fields(difference: Difference) -> dict[str, object]:
    """Return the difference as fields for `--json`."""
    return {
        "added": [_fields(entry) for entry in difference.added],
        "removed": [_fields(entry) for entry in difference.removed],
        "changed": [
            {**_fields(change.after), "gained": _listed(change.gained), "lost": _listed(change.lost)}
            for change in difference.changed
        ],
        "folded": [
            {**_fields(fold.wildcard), "names": [str(entry.host) for entry in fold.names]}
            for fold in difference.folded
        ],
    }


def _folds(added: Iterable[Entry], removed: Iterable[Entry]) -> Iterator[Fold]:
    """Match new wildcards with the removed names below them; a name goes to the first wildcard around it."""
    gone: defaultdict[tuple[Task, int | None, str], list[Entry]] = defaultdict(list)
    for entry in removed:
        gone[entry.task, entry.port, entry.transport].append(entry)
    for entry in added:
        host = entry.host
        if isinstance(host, Name) and host.is_wildcard:
            beside = gone[entry.task, entry.port, entry.transport]
            covered = [each for each in beside if isinstance(each.host, Name) and _is_below(each.host, host)]
            if covered:
                taken = {each.subject for each in covered}
                gone[entry.task, entry.port, entry.transport] = [
                    each for each in beside if each.subject not in taken
                ]
                yield Fold(entry, tuple(covered))


def _is_below(name: Name, wildcard: Name) -> bool:
    """Return whether `wildcard` covers `name`, which may itself be a narrower wildcard."""
    return wildcard.covers(name.text)


def _beyond(chains: frozenset[Lineage] | None, known: frozenset[Lineage] | None) -> list[Lineage] | None:
    if known is None:
        return []
    return None if chains is None else sorted(chains - known)


def _shown(entry: Entry) -> str:
    return f"{shown_task(entry.task)}: {printable(entry.subject.shown, limit=300)}"


def _chains(chains: Iterable[Lineage] | None) -> str:
    if chains is None:
        return "any program"
    return chains_text(sorted(" > ".join(chain) for chain in chains))


def _changed(change: Change) -> str:
    parts = (("now also", change.gained), ("no longer", change.lost))
    return ", ".join(f"{word} {_chains(chains)}" for word, chains in parts if chains != [])


def _folded(fold: Fold) -> str:
    names = [str(entry.host) for entry in fold.names]
    by = f"; now also {_chains(fold.gained)}" if fold.gained != [] else ""
    zone = str(fold.wildcard.host).removeprefix("*.")
    return f"any name below {zone} is known now, in place of {first_of(names, NAMES_SHOWN)}{by}"


def _fields(entry: Entry) -> dict[str, object]:
    return {
        "pipeline": entry.task.pipeline,
        "task": entry.task.task,
        "destination": str(entry.host),
        "port": entry.port,
        "transport": entry.transport,
        "lineage": ANY if entry.lineages is None else _listed(sorted(entry.lineages)),
    }


def _listed(chains: list[Lineage] | None) -> object:
    return ANY if chains is None else [list(chain) for chain in chains]
