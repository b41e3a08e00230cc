"""Fold names that vary from run to run, as a content-delivery network's do, into one wildcard.

Names are folded only where at least three of one owner vary for the same task, port and transport. A name
varies if it was reached in less than half of the runs (or of the days, in a history of days). The public
suffix list, its private section included, shows the owner of a name, so that customers of one cloud never
count as one owner. A name that most runs reach isn't there by chance, and stays an entry of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from exporter.policy.hosts import parse_single_host
from exporter.policy.model import Address, Name

from .model import NamedDestination
from .seen import Contact, TaskSeen

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

NAMES_MIN = 3

Labels = tuple[str, ...]
"""The labels of a name, the last one first."""


class FoldedEntry(NamedTuple):
    """A destination, or a wildcard for several, that becomes an entry."""

    host: Name | Address
    port: int | None
    transport: str
    met: Contact
    folded: tuple[str, ...] = ()
    """The names that a wildcard replaces, sorted."""


def fold(task: TaskSeen) -> Iterator[FoldedEntry]:
    """Yield the entries of `task`: each destination is part of exactly one."""
    hosts = {where: parse_single_host(where.host) for where in task.destinations}
    owners: dict[tuple[str, int | None, str], list[NamedDestination]] = defaultdict(list)
    for where, host in hosts.items():
        if isinstance(host, Name) and _varies(task.destinations[where], task):
            owner = registrable(host.text)
            if owner is not None and owner != host.text:
                owners[owner, where.port, where.transport].append(where)
    left = dict(task.destinations)
    for (_, port, transport), wheres in owners.items():
        by_name = {where.host: where for where in wheres}
        for parent, names in folds([*by_name]).items():
            met = together([left.pop(by_name[name]) for name in names])
            yield FoldedEntry(Name(parent, is_wildcard=True), port, transport, met, tuple(sorted(names)))
    for where, met in left.items():
        yield FoldedEntry(hosts[where], where.port, where.transport, met)


def folds(names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Group names that vary, all of one owner, below parents whose wildcards replace them.

    A parent is as low as possible: where one has fewer than three branches, each branch is tried by itself.
    So some names may be in no group.
    """
    labels = {tuple(reversed(name.split("."))): name for name in names}
    return {
        ".".join(reversed(parent)): [labels[below] for below in found]
        for parent, found in _folds(sorted(labels))
    }


def registrable(name: str) -> str | None:
    """Return the part of `name` that one owner registered. None: it is a public suffix."""
    found = _suffixes().privatesuffix(name)
    return str(found) if found else None


def _folds(names: Sequence[Labels]) -> Iterator[tuple[Labels, Sequence[Labels]]]:
    if len(names) < NAMES_MIN:
        return
    parent = _common_parent(names)
    branches: dict[str, list[Labels]] = defaultdict(list)
    for name in names:
        branches[name[len(parent)]].append(name)
    if len(branches) < NAMES_MIN:
        depth = len(parent) + 1  # a name that is itself the branch is below no narrower wildcard
        branches_alone = ([name for name in branch if len(name) > depth] for branch in branches.values())
        narrower = [found for branch in branches_alone for found in _folds(branch)]
        if narrower:
            yield from narrower
            return
    yield parent, names


def _common_parent(names: Sequence[Labels]) -> Labels:
    """Return the longest parent of all `names`, which are sorted: so the first and the last differ most."""
    shortest = min(len(name) for name in names) - 1
    first, last = names[0], names[-1]
    length = 0
    while length < shortest and first[length] == last[length]:
        length += 1
    return first[:length]


def _varies(met: Contact, task: TaskSeen) -> bool:
    """Return whether the destination was met in less than half of the task's runs, and of its days.

    Where the task has no runs, only days count, and the other way round. A destination that was met only in
    runs that aren't counted doesn't vary.
    """
    if not met.runs and not met.days:
        return False
    is_rare_in_runs = 2 * met.runs.bit_count() < max(task.runs.bit_count(), 1)
    return is_rare_in_runs and 2 * len(met.days) < max(len(task.days), 1)


def together(several: Sequence[Contact]) -> Contact:
    """Merge `several` into a new one."""
    made = Contact()
    for met in several:
        made.merge(met)
    return made


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    """Load the public suffix list of the package, its private section included."""
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()
