"""How much memory the exporter needs.

What: its resident set (all of it, shared libraries and the kernel's rings included) when COMMAND starts, and
when 20,000 connects were exported; beside it the most it had at any moment.

How: /proc/PID/status of `ci-egress run`, exporting to a collector in another process, by HTTP and by gRPC.
The connects come in portions, each exported before the next, so that every one of them passes through.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.figures import LIMITS, Figure
from benchmarks.sink import collector
from benchmarks.workshop import BenchmarkError, Load, Workshop

_PORTIONS = 10
_PORTION = 2_000
_SETTLED_S = 1.0
_POLL_S = 0.2
_LOOKS_MAX = 300
_IDLE_S = 0.05


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield two figures for each protocol."""
    for protocol in ("http/protobuf", "grpc"):
        with collector(protocol) as environment:
            yield from _figures(shop, protocol, environment)


def _figures(shop: Workshop, protocol: str, environment: dict[str, str]) -> Iterator[Figure]:
    portions = shop.rounds(_PORTIONS)
    with shop.traced("connect", environment=environment) as load:
        _settle(load)
        idle_mb = load.memory_mb("VmRSS")
        for _ in range(portions):
            load.do(_PORTION)
            _settle(load)
        steady_mb, peak_mb = load.memory_mb("VmRSS"), load.memory_mb("VmHWM")
    if load.lost():
        raise BenchmarkError(f"{load.lost()} attempts were not exported: the machine is too busy")
    yield Figure(f"memory, {protocol}, idle", idle_mb, "MB", limit=LIMITS.exporter_mb)
    after = f"memory, {protocol}, {portions * _PORTION:,} events"
    yield Figure(after, steady_mb, "MB", f"{peak_mb:.1f} MB at most meanwhile", LIMITS.exporter_mb)


def _settle(load: Load) -> None:
    """Wait until the exporter has nothing to do: then it uses only some ticks of CPU time a second."""
    for _ in range(_LOOKS_MAX):
        before_s = load.cpu_s()
        time.sleep(_SETTLED_S)
        if load.cpu_s() - before_s <= _IDLE_S:
            return
    raise BenchmarkError("the exporter doesn't come to rest")
