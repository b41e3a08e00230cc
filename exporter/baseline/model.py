"""A baseline as data: for each task of each pipeline the destinations that are known, and by whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import NamedTuple

from exporter.policy.model import Address, Name

Lineage = tuple[str, ...]
"""Names of executables, from the job's root to the process: `egress.lineage`."""


class Task(NamedTuple):
    """What destinations are known for; None for a job that has no such name."""

    pipeline: str | None
    """`cicd.pipeline.name`"""
    task: str | None
    """`cicd.pipeline.task.name`"""


class Where(NamedTuple):
    """Where to, as a span names it."""

    host: str
    """`server.address`: a name in lower case, or an address."""
    port: int | None
    """None for a protocol without ports."""
    transport: str
    """`network.transport`"""


@dataclass(frozen=True)
class Entry:
    """One destination of a task."""

    task: Task
    host: Name | Address
    port: int | None
    """None for a protocol without ports."""
    transport: str
    """The IANA keyword in lower case, as in `network.transport`."""
    lineages: frozenset[Lineage] | None
    """Chains that were seen; None for `any`."""
    first_seen: date | None = None
    """In UTC; None where the file doesn't tell."""
    last_seen: date | None = None
    runs: int | None = None
    """In how many runs it was met; None where that isn't known."""
    folded: tuple[str, ...] = ()
    """Names that a wildcard stands for, sorted; empty where it wasn't made of names."""
    line: int | None = None
    """Where it stands in its file; None for what was just learnt."""


class History(NamedTuple):
    """What was learnt of one pipeline."""

    runs: int
    quiet_runs: int
    """How many runs in a row, the latest ones, brought nothing new."""
    last_run: date
    """Of the latest one, in UTC."""


@dataclass(frozen=True)
class Baseline:
    """A valid baseline file, or what was learnt."""

    entries: tuple[Entry, ...] = ()
    """Sorted; no two of them have task, host, port and transport in common."""
    histories: Mapping[str | None, History] = field(default_factory=dict)
    """By pipeline; empty for a file that doesn't tell."""

    @cached_property
    def tasks(self) -> Mapping[Task, tuple[Entry, ...]]:
        """Entries by what they are for."""
        found: dict[Task, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.task, []).append(entry)
        return {task: tuple(entries) for task, entries in found.items()}
