"""The legacy of an exporter that ended, for the one that adopts its instance: counts, records, processes.

The programs of the ended exporter went on. Records that it hadn't read wait on the rings and in the tables of
aggregated acts, for the next reader. Records that it had read are gone with it, unless they were exported. It
noted the number of attempts that it had exported or given up, so that the missing ones can be counted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from exporter.events import wire
from exporter.events.facts import ProcessKey
from exporter.kernel.bpf import U32, Map, possible_cpus

from .procs import all_procs
from .rings import Ring
from .windows import Windows

_TRIES = 50


class Inherited(NamedTuple):
    """Attempts that the kernel counted before this exporter took over, by what became of them."""

    settled: int = 0
    """Attempts that earlier exporters reported, or gave up."""
    lost: int = 0
    """Attempts besides these that no record and no counter had room for, as the earlier exporter noted."""
    gone: int = 0
    """Attempts that killed exporters had read and not reported yet: nobody can report them any more."""
    waiting: int = 0
    """Attempts that nobody has read yet: they are this exporter's to report."""


class Running(NamedTuple):
    """A process that an earlier exporter followed, and that goes on."""

    process: ProcessKey
    exec_id: int
    """The number of the program that it ran when the oldest unread record was written."""
    scope: int
    is_past: bool
    """Whether it runs another program by now, whose exec is among the unread records."""


def inherited(maps: Mapping[str, Map], rings: Sequence[Ring], windows: Windows) -> Inherited:
    """Sum up the attempts so far. If the kernel goes on counting, `gone` may be too small by later ones."""
    noted = wire.AccountValue.unpack(maps["account"].lookup(U32.pack(0)) or b"")
    counters = maps["counters"]
    for _ in range(_TRIES):
        seen, lost = _seen_and_lost(counters)
        waiting = sum(header.kind == wire.KIND_ACT for ring in rings for header in ring.waiting())
        waiting += windows.attempts
        if (seen, lost) == _seen_and_lost(counters):
            break
    taken = max(0, seen - lost - waiting)
    # An exporter may have reported records that it hadn't freed yet: they are read once more.
    settled = min(noted.settled, taken)
    return Inherited(settled, noted.lost, taken - settled, waiting)


def running(procs: Map, lineage: Ring, scope_of: Callable[[wire.ProcValue], int]) -> Iterator[Running]:
    """Iterate over the processes in `procs`, oldest first, without those whose forks wait on `lineage`."""
    entries = list(all_procs(procs))
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


def _seen_and_lost(counters: Map) -> tuple[int, int]:
    """Return how many acts there were, and how many of them the rings had no room for."""
    act = wire.KIND_ACT
    return total(counters, act, wire.COUNT_SEEN), total(counters, act, wire.COUNT_LOST)


def total(counters: Map, kind: int, what: int) -> int:
    """Return one of the counters of a kind of record, summed up over all CPUs."""
    value = counters.lookup(U32.pack(kind * wire.COUNTS + what)) or b""
    return sum(struct.unpack_from(f"={possible_cpus()}Q", value))
