"""What an exporter that ended leaves to the one that adopts its instance: counts, records, processes.

Its programs went on. What it hadn't read waits on the rings and in the tables of what is only counted, and
comes to whoever reads them next. What it had read is gone with it, unless it was exported; of how much that
was it kept a note, so that what is missing can be counted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from exporter import wire
from exporter.events import ProcessKey
from exporter.kernel.bpf import Map, possible_cpus
from exporter.kernel.rings import Ring
from exporter.kernel.windows import Windows

_KEY = struct.Struct("=I")
_TRIES = 50
_SEEN = wire.KIND_ACT * wire.COUNTS + wire.COUNT_SEEN
_LOST = wire.KIND_ACT * wire.COUNTS + wire.COUNT_LOST


class Inherited(NamedTuple):
    """Attempts that aren't this exporter's to tell, of those that the kernel counted; and others that are."""

    settled: int = 0
    """Told by exporters before, or given up by them."""
    lost: int = 0
    """Besides, by the rings."""
    gone: int = 0
    """Neither: taken from the kernel by exporters that were killed before they told. Nobody can any more."""
    waiting: int = 0
    """Nobody has taken them yet."""


class Running(NamedTuple):
    """A process that goes on."""

    process: ProcessKey
    exec_id: int
    """Of the program that it ran when the oldest record was written that nobody has taken."""
    scope: int
    is_past: bool
    """Whether it runs another one now: that is among the records."""


def inherited(maps: Mapping[str, Map], rings: Sequence[Ring], windows: Windows) -> Inherited:
    """As of now; where more is counted all the time, `gone` may be too small by what was meanwhile."""
    noted = wire.AccountValue._make(wire.ACCOUNT_VALUE.unpack(maps["account"].lookup(_KEY.pack(0)) or b""))
    counters = maps["counters"]
    for _ in range(_TRIES):
        seen, lost = total(counters, _SEEN), total(counters, _LOST)
        waiting = sum(header.kind == wire.KIND_ACT for ring in rings for header in ring.waiting())
        waiting += windows.attempts
        if (seen, lost) == (total(counters, _SEEN), total(counters, _LOST)):
            break
    taken = max(0, seen - lost - waiting)
    # It may have told what it hadn't let go of: then that comes once more.
    settled = min(noted.settled, taken)
    return Inherited(settled, noted.lost, taken - settled, waiting)


def running(procs: Map, lineage: Ring, scope_of: Callable[[wire.ProcValue], int]) -> Iterator[Running]:
    """What `procs` has now, less what records on `lineage` announce; oldest first."""
    entries = [
        (_KEY.unpack(key)[0], wire.ProcValue._make(wire.PROC_VALUE.unpack(value)))
        for key, value in procs.items()
    ]
    born, execs = set(), dict[ProcessKey, int]()
    for header in lineage.waiting():
        process = ProcessKey(header.pid, header.started_ns)
        if header.kind == wire.KIND_FORK:
            born.add(process)
        elif header.kind == wire.KIND_EXEC:
            execs.setdefault(process, header.exec_id)
    for pid, proc in sorted(entries, key=lambda entry: entry[1].started_ns):
        process = ProcessKey(pid, proc.started_ns)
        if process not in born:
            first = execs.get(process)
            exec_id = proc.exec_id if first is None else first - 1
            yield Running(process, exec_id, scope_of(proc), is_past=first is not None)


def total(counters: Map, index: int) -> int:
    """One of the counters, over all CPUs."""
    value = counters.lookup(_KEY.pack(index)) or b""
    return sum(struct.unpack_from(f"={possible_cpus()}Q", value))
