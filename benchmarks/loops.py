"""How much longer connects, sends and a download take for the program that does them.

What: the time of 4,000 connects over loopback (socket, connect, accept, close: a few microseconds, as short
as a connect can be; across a network it takes a hundred times that), of 6,000 datagrams, each sent by an
unconnected sendto and received again, of 8,000 connects to a Unix socket of the program's own, which cause
no record, and of a download of 1 GiB over one connection.

How: load.c by itself, with nothing attached to the kernel, against load.c under `ci-egress run`, which
exports to files at the same time. One after the other, again and again, the order changing; each process
first does acts that don't count.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.compare import alternate, ratio
from benchmarks.figures import LIMITS, Figure
from benchmarks.workshop import Load, Workshop

_ROUNDS = 41
_NAMES = {
    "connect": "loop of connects over loopback",
    "send": "loop of sends over loopback",
    "unix": "loop of connects to its own Unix socket",
    "bulk": "download over loopback",
}


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield the ratios."""
    yield _loop(shop, "connect", 4_000, limit=LIMITS.connect_loop_ratio)
    yield _loop(shop, "send", 6_000, limit=LIMITS.send_loop_ratio)
    yield _loop(shop, "unix", 8_000, limit=None)
    yield _loop(shop, "bulk", 64, limit=LIMITS.bulk_ratio)


def _loop(shop: Workshop, verb: str, acts: int, limit: float | None) -> Figure:
    losses: list[int] = []

    def traced() -> float:
        load = shop.traced(verb)
        took_ns = _time(load, acts)
        losses.append(load.lost())
        return took_ns

    def plain() -> float:
        return _time(shop.load(verb), acts)

    rounds = alternate(shop.rounds(_ROUNDS), plain, traced)
    each_us = sorted(one.without for one in rounds)[len(rounds) // 2] / acts / 1000
    note = f"{each_us:.2f} µs each without"
    if any(losses):
        note += f"; {sum(losses)} attempts didn't fit into the queue"
    return ratio(_NAMES[verb], rounds, limit=limit, note=note)


def _time(load: Load, acts: int) -> float:
    with load:
        load.do(acts // 8)  # warms up
        return load.do(acts)
