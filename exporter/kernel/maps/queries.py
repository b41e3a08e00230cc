"""Remove DNS questions that nobody answered; the kernel keeps each until it is answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from exporter.common.clock import Rhythm, boot_ns
from exporter.events import wire
from exporter.kernel.bpf import U32, Map

from .removed_counts import ALL_SCOPES, RemovedCounts, counted_under

PATIENCE_NS = 15_000_000_000
"""The longest time an answer may take: clients wait 5 s for a resolver, and ask again with the same id."""

_INTERVAL_S = 5.0


class Queries:
    """The questions that wait in the kernel, and each scope's room for them."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        """`maps` has the instance's maps, by their names in bpf/."""
        self._waiting, self._noted = maps["queries"], maps["queries_noted"]
        self._expired = RemovedCounts(maps["queries_expired"])
        self._rhythm = Rhythm(_INTERVAL_S)

    def turn(self) -> None:
        """Remove questions that are too old, every few seconds. Cheap to call at any time in between."""
        if self._rhythm.is_time():
            self.expire(boot_ns())

    def expire(self, now_ns: int) -> int:
        """Remove questions asked longer than PATIENCE_NS before `now_ns` (since boot); return how many.

        The kernel counts the questions that it noted, and those that were answered; from these counts and the
        removed ones (`queries_expired`) it knows how much room is left.
        """
        removed = Counter[int]()
        for key in list(self._waiting):
            query = self._query(key)
            if query and query.at_ns < now_ns - PATIENCE_NS and self._waiting.delete(key):
                removed.update(counted_under(query.scope))
        return self._expired.add(removed)

    def forget(self, *scopes: int) -> None:
        """Remove the questions and the counts of scopes whose jobs are over."""
        removed, over = Counter[int](), set(scopes)
        for key in list(self._waiting):
            query = self._query(key)
            if query and query.scope in over and self._waiting.delete(key):
                removed[ALL_SCOPES] += 1
        self._expired.add(removed)
        for scope in scopes:
            self._noted.delete(U32.pack(scope))
            self._expired.forget(scope)

    def _query(self, key: bytes) -> wire.QueryValue | None:
        """Return a question that waits; None for one that was answered meanwhile."""
        value = self._waiting.lookup(key)
        return None if value is None else wire.QueryValue.unpack(value)
