"""Time: the kernel stamps records in boot time, spans need wall time; loops do some things now and then."""

from __future__ import annotations

import time
from typing import NamedTuple

_SAMPLES = 5


class Clock(NamedTuple):
    """A converter of nanoseconds since boot (CLOCK_BOOTTIME, as in records) to Unix nanoseconds.

    The offset is taken once, so that spans of one run keep their order when the wall clock is set meanwhile,
    and a recording keeps the offset it was made with.
    """

    offset_ns: int
    """Wall time minus boot time, in nanoseconds."""

    def wall_ns(self, at_ns: int) -> int:
        """Return the Unix time in nanoseconds of a moment given in nanoseconds since boot."""
        return at_ns + self.offset_ns


def boot_ns() -> int:
    """Return the nanoseconds since boot, suspended time included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def system_clock() -> Clock:
    """Measure the offset of this host: the sample with the shortest reading is the least disturbed."""
    best = (1 << 62, 0)
    for _ in range(_SAMPLES):
        before = boot_ns()
        wall = time.time_ns()
        after = boot_ns()
        best = min(best, (after - before, wall - (before + after) // 2))
    return Clock(offset_ns=best[1])


class Rhythm:
    """A timer for work that a loop does every so many seconds. Cheap to ask; for one thread."""

    def __init__(self, every_s: float, *, at_once: bool = True) -> None:
        """It is time at once or after `every_s` seconds, then `every_s` seconds after `is_time` said so."""
        self._every_s = every_s
        self._next_s = 0.0 if at_once else time.monotonic() + every_s

    def is_time(self) -> bool:
        """Whether it is time; if so, the seconds until the next time begin now."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + self._every_s
        return True
