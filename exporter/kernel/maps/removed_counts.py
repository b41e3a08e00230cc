"""Counts of the DNS questions, or of the grants, that user space removed from the kernel's maps, by scope.

The kernel counts the entries that it made; with the removed ones it knows how much room is left.
"""

from __future__ import annotations

from collections import Counter

from exporter.events import wire
from exporter.kernel.bpf import U32, U64, Map

ALL_SCOPES = (1 << 32) - 1
_ALL_64_BITS = (1 << 64) - 1


def counted_under(scope: int) -> tuple[int, int]:
    """Return the keys under which a question or grant of `scope` is counted: its scope, and ALL_SCOPES.

    Steps whose job isn't known have one scope in common.
    """
    return wire.SCOPE_EARLY if scope & wire.SCOPE_EARLY else scope, ALL_SCOPES


class RemovedCounts:
    """A map with counts of removed entries."""

    def __init__(self, counts: Map) -> None:
        """`counts` is the map; the counts that an earlier exporter left in it are continued."""
        self._map = counts

    def add(self, removed: Counter[int]) -> int:
        """Add numbers, by scope, which may be negative; return the number for ALL_SCOPES."""
        for scope, number in removed.items():
            before = self._map.lookup(U32.pack(scope))
            total = number + (U64.unpack(before)[0] if before else 0)
            self._map.update(U32.pack(scope), U64.pack(total & _ALL_64_BITS))
        return removed[ALL_SCOPES]

    def forget(self, scope: int) -> None:
        """Remove the count of `scope`, whose job is over."""
        self._map.delete(U32.pack(scope))
