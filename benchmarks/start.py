"""How long a job waits for its first command.

What: the time from the exec of `ci-egress` to the main function of COMMAND. In it lie Python's start, the
compiler's run (Clang, in a child), the kernel's verifier, attaching, and the import of OpenTelemetry.

How: COMMAND prints the monotonic clock; the median of the runs. The first run comes after the page cache was
dropped, as on a machine that just booted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.compare import middle
from benchmarks.figures import LIMITS, Figure
from benchmarks.workshop import Workshop

_RUNS = 15
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")


def measure(shop: Workshop) -> Iterator[Figure]:
    """First and later runs."""
    _start_s(shop)  # compiles the Python sources, which an installer has done
    os.sync()
    _DROP_CACHES.write_text("3")
    yield Figure("start to tracing, first", _start_s(shop), "s", "nothing in the page cache")
    runs = [_start_s(shop) for _ in range(shop.rounds(_RUNS))]
    yield middle("start to tracing", runs, "s", limit=LIMITS.start_s)


def _start_s(shop: Workshop) -> float:
    with shop.traced("connect") as load:
        return (load.started_ns - load.asked_ns) / 1e9
