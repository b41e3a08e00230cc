"""Boot time, as the kernel stamps it, and wall time, as spans have it."""

from __future__ import annotations

import time

from exporter.common.clock import Clock, boot_ns, system_clock


def test_a_moment_since_boot_becomes_unix_time() -> None:
    assert Clock(offset_ns=1_700_000_000_000_000_000).wall_ns(5) == 1_700_000_000_000_000_005


def test_this_hosts_clock_agrees_with_its_wall_clock_to_a_millisecond() -> None:
    clock = system_clock()
    before = time.time_ns()
    now = clock.wall_ns(boot_ns())
    after = time.time_ns()
    assert before - 1_000_000 <= now <= after + 1_000_000


def test_boot_time_never_goes_back() -> None:
    moments = [boot_ns() for _ in range(100)]
    assert moments == sorted(moments)
