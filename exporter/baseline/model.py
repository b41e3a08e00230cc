"""A baseline as data: the destinations known for each task of each pipeline, and the chains to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import NamedTuple

from exporter.common.net.addresses import endpoint
from exporter.events.programs import Lineage
from exporter.policy.model import Address, Name


class Task(NamedTuple):
    """A task of a pipeline, for which destinations are known; None for a name that the job doesn't have."""

    pipeline: str | None
    """`cicd.pipeline.name`"""
    task: str | None
    """`cicd.pipeline.task.name`"""


class NamedDestination(NamedTuple):
    """A destination as a span names it."""

    host: str
    """`server.address`: a name in lower case, or an address."""
    port: int | None
    """None for a protocol without ports."""
    transport: str
    """`network.transport`"""


class Subject(NamedTuple):
    """The subject of an entry: one destination of a task."""

    task: Task
    host: Name | Address
    port: int | None
    transport: str

    @property
    def order(self) -> tuple[object, ...]:
        """The sort key of entries: pipeline, task, destination, port, transport; missing ones come first."""
        pipeline, task = self.task
        port = -1 if self.port is None else self.port
        has_names = (pipeline is not None, pipeline or "", task is not None, task or "")
        return (*has_names, str(self.host), port, self.transport)

    @property
    def shown(self) -> str:
        """The destination as `registry.example:443` or `udp://192.0.2.53:53`; its name may be hostile."""
        host = str(self.host)
        where = host if self.port is None else endpoint(host, self.port)
        return where if self.transport == "tcp" else f"{self.transport}://{where}"


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
    """The chains of programs that reached it; None for `any`."""
    first_seen: date | None = None
    """The date in UTC; None where the file lacks it."""
    last_seen: date | None = None
    runs: int | None = None
    """The number of runs that reached it; None where that isn't known."""
    folded: tuple[str, ...] = field(default=(), compare=False)
    """The names that a wildcard was made of, sorted; the file lists them in a comment. Empty for others."""
    line: int | None = field(default=None, compare=False)
    """The line of the file at which the entry begins; None for one that was just learnt."""

    @property
    def subject(self) -> Subject:
        """The key of the entry: no two entries of a baseline have the same."""
        return Subject(self.task, self.host, self.port, self.transport)


class History(NamedTuple):
    """The runs of one pipeline from which a baseline was learnt."""

    runs: int
    quiet_runs: int
    """The number of latest runs, in a row, that brought nothing new."""
    last_run: date
    """The date of the latest run, in UTC."""


@dataclass(frozen=True)
class Baseline:
    """A valid baseline file, or one that was just learnt."""

    entries: tuple[Entry, ...] = ()
    """Sorted; no two of them have task, host, port and transport in common."""
    histories: Mapping[str | None, History] = field(default_factory=dict)
    """The history of each pipeline, by its name; empty where the file has none."""

    @cached_property
    def tasks(self) -> Mapping[Task, tuple[Entry, ...]]:
        """The entries by task."""
        found: dict[Task, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.task, []).append(entry)
        return {task: tuple(entries) for task, entries in found.items()}
