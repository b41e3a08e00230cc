"""DNS questions that the kernel keeps until they are answered: those that never are, are removed here."""

from __future__ import annotations

import struct
from collections import Counter

from exporter import wire
from exporter.kernel.bpf import Map

PATIENCE_NS = 15_000_000_000
"""How long an answer may take: resolvers' clients wait 5 s, and ask again with the same id."""

_SCOPE = struct.Struct("=I")
_NUMBER = struct.Struct("=Q")


def expire(queries: Map, expired: Map, now_ns: int) -> int:
    """Remove the questions asked longer than PATIENCE_NS before `now_ns` (since boot); returns how many.

    `expired` counts them by scope: the kernel, which counts the others, then has their room again.
    """
    removed = Counter[int]()
    for key in list(queries):
        value = queries.lookup(key)
        if value is None:  # answered meanwhile
            continue
        query = wire.QueryValue._make(wire.QUERY_VALUE.unpack(value))
        if query.at_ns < now_ns - PATIENCE_NS and queries.delete(key):
            removed[query.scope] += 1
    for scope, number in removed.items():
        before = expired.lookup(_SCOPE.pack(scope))
        total = number + (_NUMBER.unpack(before)[0] if before else 0)
        expired.update(_SCOPE.pack(scope), _NUMBER.pack(total))
    return removed.total()
