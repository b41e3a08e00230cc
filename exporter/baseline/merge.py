"""Add recorded runs to an existing baseline, which keeps all its entries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from exporter.policy.hosts import parse_single_host
from exporter.policy.model import Name, zones

from .fold import FoldedEntry, fold, together
from .model import Baseline, Entry, History, NamedDestination, Subject, Task
from .seen import CHAINS_MAX, Contact, First, TaskSeen


class BaselineMerge:
    """The baseline to which recorded runs are added; empty where there is none yet."""

    def __init__(self, baseline: Baseline) -> None:
        """`baseline` itself isn't changed."""
        self.histories = baseline.histories
        self.entries = {entry.subject: entry for entry in baseline.entries}

    def known(self, name: Task, task: TaskSeen) -> Iterator[FoldedEntry]:
        """Yield the destinations of `task`, each once: in its existing entry, else as `fold` yields it.

        No two of them have the same subject.
        """
        mets: defaultdict[Subject, list[Contact]] = defaultdict(list)
        rest = TaskSeen({}, task.runs, task.days)
        for where, met in task.destinations.items():
            entry = self._entry_of(name, where, met)
            if entry is None:
                rest.destinations[where] = met
            else:
                mets[entry.subject].append(met)
        for each in fold(rest):
            subject = Subject(name, each.host, each.port, each.transport)
            several = mets.pop(subject, None)  # an existing wildcard, reached by other chains
            yield each._replace(met=together([*several, each.met])) if several else each
        for subject, several in mets.items():
            yield FoldedEntry(subject.host, subject.port, subject.transport, together(several))

    def _entry_of(self, name: Task, where: NamedDestination, met: Contact) -> Entry | None:
        """Find the entry of `where`; else the narrowest wildcard above it that knows all chains of `met`."""
        host = parse_single_host(where.host)
        own = self.entries.get(Subject(name, host, where.port, where.transport))
        if own is not None or not isinstance(host, Name):
            return own
        for zone in zones(host.text):
            found = self.entries.get(Subject(name, Name(zone, is_wildcard=True), where.port, where.transport))
            if found is not None and _knows(found, met):
                return found
        return None

    def history(self, pipeline: str | None, learnt: History) -> History:
        """Add up both histories of a pipeline; the runs that were learnt count as the later ones."""
        before = self.histories.get(pipeline)
        if before is None:
            return learnt
        goes_on = learnt.quiet_runs == learnt.runs
        return History(
            before.runs + learnt.runs,
            learnt.quiet_runs + (before.quiet_runs if goes_on else 0),
            max(before.last_run, learnt.last_run),
        )


def widened(before: Entry | None, learnt: Entry) -> Entry:
    """Combine two entries of one subject: chains join, dates widen, runs add up."""
    if before is None:
        return learnt
    lineages = None
    if before.lineages is not None and learnt.lineages is not None:
        lineages = before.lineages | learnt.lineages
        if len(lineages) > max(CHAINS_MAX, len(before.lineages)):
            lineages = None
    first = [day for day in (before.first_seen, learnt.first_seen) if day is not None]
    last = [day for day in (before.last_seen, learnt.last_seen) if day is not None]
    return replace(
        learnt,
        lineages=lineages,
        first_seen=min(first, default=None),
        last_seen=max(last, default=None),
        runs=(before.runs or 0) + (learnt.runs or 0) or None,
    )


def firsts(before: Entry | None, met: Contact) -> Iterator[First]:
    """Yield the times at which the destination or a chain was seen first, if `before` lacks it."""
    if before is None:
        yield from met.firsts
    elif before.lineages is not None:
        if met.chains is None:
            yield from () if met.first is None else (met.first,)
        else:
            yield from (first for chain, first in met.chains.items() if chain not in before.lineages)


def _knows(entry: Entry, met: Contact) -> bool:
    if entry.lineages is None:
        return True
    return met.chains is not None and entry.lineages >= met.chains.keys()
