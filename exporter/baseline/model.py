"""A baseline as data: for each task of each pipeline the destinations that are known, and by whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import NamedTuple

from exporter.addresses import endpoint
from exporter.policy.model import Address, Name
from exporter.programs import Lineage


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


class Subject(NamedTuple):
    """What an entry is about: one destination of a task."""

    task: Task
    host: Name | Address
    port: int | None
    transport: str

    @property
    def order(self) -> tuple[object, ...]:
        """What entries are sorted by: pipeline, task, destination, port, transport; what is missing first."""
        pipeline, task = self.task
        port = -1 if self.port is None else self.port
        has_names = (pipeline is not None, pipeline or "", task is not None, task or "")
        return (*has_names, str(self.host), port, self.transport)

    @property
    def shown(self) -> str:
        """`registry.example:443`, `udp://192.0.2.53:53`, `icmp://192.0.2.1`; names may be hostile."""
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
    """Chains that were seen; None for `any`."""
    first_seen: date | None = None
    """In UTC; None where the file doesn't tell."""
    last_seen: date | None = None
    runs: int | None = None
    """In how many runs it was met; None where that isn't known."""
    folded: tuple[str, ...] = field(default=(), compare=False)
    """Names that a wildcard stands for, sorted; empty where it wasn't made of names. Told in a comment."""
    line: int | None = field(default=None, compare=False)
    """Where it stands in its file; None for what was just learnt."""

    @property
    def subject(self) -> Subject:
        """What no two entries of a baseline have in common."""
        return Subject(self.task, self.host, self.port, self.transport)


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
