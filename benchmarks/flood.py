"""What a flood costs the exporter: acts that repeat are counted in the kernel, not reported one by one.

What: CPU time of `ci-egress run` for each of a million sends to one peer, and the most memory it ever had.

How: load.c sends a million datagrams as fast as it can; /proc/PID/stat before and after, the last window
included. Nothing may get lost on the way: the account is checked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.figures import LIMITS, Figure
from benchmarks.workshop import BenchmarkError, Workshop
from exporter.kernel.maps.windows import WINDOW_S

_SENDS = 1_000_000
_SENDS_QUICKLY = 50_000


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield CPU time and memory."""
    sends = _SENDS_QUICKLY if shop.is_quick else _SENDS
    with shop.traced("send") as load:
        before_s = load.cpu_s()
        took_s = load.do(sends) / 1e9
        time.sleep(2 * WINDOW_S)
        cpu_s = load.cpu_s() - before_s
        peak_mb = load.memory_mb("VmHWM")
    if load.lost():
        raise BenchmarkError(f"{load.lost()} of {sends} sends were not told")
    note = f"{cpu_s:.2f} s of CPU time while {sends:,} were sent in {took_s:.1f} s, and 2 s after"
    yield Figure("counted, a flood of sends", cpu_s / sends * 1e6, "µs", note, LIMITS.counted_us)
    yield Figure("memory, a flood of sends", peak_mb, "MB", "the most at any moment", LIMITS.exporter_mb)
