"""The series by which metrics count attempts, and caps on the values that a job can make up."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from exporter.events.destinations import OTHER
from exporter.events.programs import Lineage

DESTINATIONS_MAX = 200
"""The most destinations of one pipeline."""
LINEAGES_MAX = 32
"""The most chains of processes of one destination."""

_LINEAGE_CHARACTERS_MAX = 1024
_ARROW = ">"

UNKNOWN_LINEAGE: Lineage = (OTHER,)
"""The lineage in place of chains that are unknown, or can't be told apart. A series without a lineage would
mean all chains."""


class CountedDestination(NamedTuple):
    """A destination, as metrics count it."""

    host: str
    port: int | None
    transport: str | None


class Series(NamedTuple):
    """One series of `cicd.egress.connections`."""

    where: CountedDestination
    verdict: str
    is_novel: bool | None
    """`egress.novel`; None without a baseline."""
    lineage: Lineage | None
    """`egress.lineage`; None where lineages aren't counted."""

    def attributes(self) -> dict[str, str | int | bool]:
        """Return the attributes that tell this series from others of its pipeline and task."""
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
    """A limit on values that a job can make up without end: the first ones are admitted, others aren't."""

    def __init__(self, largest: int) -> None:
        """`largest` is the number of values that are admitted."""
        self._largest = largest
        self._known: set[Hashable] = set()

    def admits(self, name: Hashable) -> bool:
        """Whether `name` is one of the admitted values; it becomes one while there is room."""
        if name not in self._known and len(self._known) < self._largest:
            self._known.add(name)
        return name in self._known


class Caps:
    """The caps on the connections of one pipeline."""

    def __init__(self) -> None:
        """Start with no value met."""
        self._destinations = Cap(DESTINATIONS_MAX)
        self._lineages: dict[CountedDestination, Cap] = {}

    def capped(self, series: Series) -> Series:
        """Return `series`, or the series under which to count its attempts when a cap is reached."""
        where, lineage = series.where, series.lineage
        if not self._destinations.admits(where):
            where = CountedDestination(OTHER, None, where.transport)
        if lineage is not None:
            known = self._lineages.setdefault(where, Cap(LINEAGES_MAX))
            if not _can_be_told(lineage) or not known.admits(lineage):
                lineage = UNKNOWN_LINEAGE
        return Series(where, series.verdict, series.is_novel, lineage)


def _can_be_told(lineage: Lineage) -> bool:
    """Whether `lineage`, joined, is short enough for a label and can't be taken for another chain."""
    joined = _ARROW.join(lineage)
    return len(joined) <= _LINEAGE_CHARACTERS_MAX and joined.count(_ARROW) < len(lineage)
