"""How long a job waits for its first command.

What: the time from the exec of `ci-egress` to the main function of COMMAND. It includes Python's start, the
kernel's verifier, attaching, and the import of OpenTelemetry; with `--compile` also the compiler's time
(Clang, in a child).

How: COMMAND prints the monotonic clock; the median of the runs. Before the first of all, the page cache was
dropped, as on a machine that just booted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.compare import middle
from benchmarks.figures import LIMITS, Figure
from benchmarks.workshop import Workshop

_COMPILING_RUNS, _RUNS = 5, 15
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield the times of first and later runs."""
    _start_s(shop)  # compiles the Python sources, as an installer does
    os.sync()
    _DROP_CACHES.write_text("3")
    yield Figure("start to tracing, first", _start_s(shop), "s", "nothing in the page cache")
    runs = [_start_s(shop, "--compile") for _ in range(shop.rounds(_COMPILING_RUNS))]
    yield middle("start to tracing, compiling", runs, "s")
    runs = [_start_s(shop) for _ in range(shop.rounds(_RUNS))]
    yield middle("start to tracing", runs, "s", limit=LIMITS.start_s)


def _start_s(shop: Workshop, *options: str) -> float:
    with shop.traced("connect", options=options) as load:
        return (load.started_ns - load.asked_ns) / 1e9
