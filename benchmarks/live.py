"""What --live costs the program that is watched.

What: the time of 4,000 connects over loopback, all alike, as those of a build mostly are; and of 20,000
datagrams to as many destinations, the worst case: a few are shown each second, and the rest is counted.

How: load.c under `ci-egress run` on a pseudo-terminal that is read all the time, with --live against without
it. One after the other, again and again, the order changing; each process first does acts that don't count.
"""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from benchmarks.compare import alternate, ratio
from benchmarks.figures import LIMITS, Figure
from benchmarks.workshop import Workshop

_ROUNDS = 15
_CHUNK = 65536


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield the ratios."""
    yield _compared(shop, "connect", 4_000, "loop of connects, live")
    yield _compared(shop, "scan", 20_000, "scan of destinations, live")


def _compared(shop: Workshop, verb: str, acts: int, name: str) -> Figure:
    with _terminal() as terminal:

        def traced(*options: str) -> float:
            with shop.traced_on(terminal, verb, options=options) as load:
                load.do(acts // 8)  # warms up
                return load.do(acts)

        rounds = alternate(shop.rounds(_ROUNDS), traced, lambda: traced("--live"))
    each_us = sorted(one.without for one in rounds)[len(rounds) // 2] / acts / 1000
    return ratio(name, rounds, limit=LIMITS.live_ratio, note=f"{each_us:.2f} µs each without")


@contextmanager
def _terminal() -> Iterator[int]:
    """Yield a terminal whose output is read all the time."""
    ours, theirs = pty.openpty()
    reader = Thread(target=_read, args=(ours,))
    reader.start()
    try:
        yield theirs
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)


def _read(terminal: int) -> None:
    try:
        while os.read(terminal, _CHUNK):
            pass
    except OSError:  # EIO: nobody holds the other side any more
        return
