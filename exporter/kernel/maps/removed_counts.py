"""Counts of the entries that this process removed, by scope.

The kernel counts those that it made; with these counts it knows how much room is left.
"""

from __future__ import annotations

from collections import Counter

from exporter.events import wire
from exporter.kernel.bpf import U32, U64, Map

ALL_SCOPES = (1 << 32) - 1
_ALL_64_BITS = (1 << 64) - 1


def counted_under(scope: int) -> tuple[int, int]:
    """Return what a question or grant of `scope` is counted under: its scope, and all scopes.

    Steps whose job isn't known have one scope in common.
    """
    return wire.SCOPE_EARLY if scope & wire.SCOPE_EARLY else scope, ALL_SCOPES


class RemovedCounts:
    """The map that has these counts."""

    def __init__(self, counts: Map) -> None:
        """`counts` is the map; the counts that an earlier exporter left in it are continued."""
        self._map = counts

    def add(self, removed: Counter[int]) -> int:
        """Add numbers, which may be negative; return the one of all scopes."""
        for scope, number in removed.items():
            before = self._map.lookup(U32.pack(scope))
            total = number + (U64.unpack(before)[0] if before else 0)
            self._map.update(U32.pack(scope), U64.pack(total & _ALL_64_BITS))
        return removed[ALL_SCOPES]

    def forget(self, scope: int) -> None:
        """Remove the count of `scope`, whose job is over."""
        self._map.delete(U32.pack(scope))
