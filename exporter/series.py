"""What attempts are counted by in metrics, and how much of what a job can make up stands for itself."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from exporter.destinations import OTHER
from exporter.programs import Lineage

DESTINATIONS_MAX = 200
"""Of a pipeline."""
LINEAGES_MAX = 32
"""Chains of processes of one destination."""

_LINEAGE_CHARACTERS_MAX = 1024
_ARROW = ">"

UNKNOWN_LINEAGE: Lineage = (OTHER,)
"""Stands for chains that can't be told apart, or aren't known: without any, all would do."""


class Where(NamedTuple):
    """A destination."""

    host: str
    port: int | None
    transport: str | None


class Series(NamedTuple):
    """One of `cicd.egress.connections`."""

    where: Where
    verdict: str
    is_novel: bool | None
    """None without a baseline."""
    lineage: Lineage | None
    """None where it isn't wanted."""

    def attributes(self) -> dict[str, str | int | bool]:
        """What tells it from others of its pipeline and task."""
        host, port, transport = self.where
        return {
            "server.address": host,
            **({} if port is None else {"server.port": port}),
            **({"network.transport": transport} if transport else {}),
            "egress.verdict": self.verdict,
            **({} if self.is_novel is None else {"egress.novel": self.is_novel}),
            **({} if self.lineage is None else {"egress.lineage": _ARROW.join(self.lineage)}),
        }


class Cap:
    """Lets the first of whatever a job can make up without end stand for themselves."""

    def __init__(self, largest: int) -> None:
        """At most `largest`."""
        self._largest = largest
        self._known: set[Hashable] = set()

    def admits(self, name: Hashable) -> bool:
        """Whether `name` is one of them."""
        if name not in self._known and len(self._known) < self._largest:
            self._known.add(name)
        return name in self._known


class Caps:
    """Those of one pipeline's connections."""

    def __init__(self) -> None:
        """None was met."""
        self._destinations = Cap(DESTINATIONS_MAX)
        self._lineages: dict[Where, Cap] = {}

    def capped(self, series: Series) -> Series:
        """It, or what counts in its stead."""
        where, lineage = series.where, series.lineage
        if not self._destinations.admits(where):
            where = Where(OTHER, None, where.transport)
        if lineage is not None:
            known = self._lineages.setdefault(where, Cap(LINEAGES_MAX))
            if not _can_be_told(lineage) or not known.admits(lineage):
                lineage = UNKNOWN_LINEAGE
        return Series(where, series.verdict, series.is_novel, lineage)


def _can_be_told(lineage: Lineage) -> bool:
    """Whether no other one reads like it when it is joined, and it is no longer than a label should be."""
    joined = _ARROW.join(lineage)
    return len(joined) <= _LINEAGE_CHARACTERS_MAX and joined.count(_ARROW) < len(lineage)
