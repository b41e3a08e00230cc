"""The map `procs`: the kernel's table of processes, by their pids."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator

from exporter.events import wire
from exporter.events.facts import ProcessKey
from exporter.kernel.bpf import U32, Map


def all_procs(procs: Map) -> Iterator[tuple[int, wire.ProcValue]]:
    """Iterate over the processes, each with its pid and its entry; a thousand are read at once."""
    return ((U32.unpack(key)[0], wire.ProcValue.unpack(value)) for key, value in procs.items())


def latest_procs(procs: Map, keys: Iterable[bytes]) -> Iterator[tuple[int, wire.ProcValue]]:
    """Iterate over the processes under `keys` that are still there; each is read when its turn comes."""
    pids = (U32.unpack(key)[0] for key in keys)
    return ((pid, entry) for pid in pids if (entry := proc_at(procs, pid)))


def proc_at(procs: Map, pid: int) -> wire.ProcValue | None:
    """Return the entry of the process that has `pid` now; None when it has none."""
    value = procs.lookup(U32.pack(pid))
    return None if value is None else wire.ProcValue.unpack(value)


def proc_of(procs: Map, process: ProcessKey) -> wire.ProcValue | None:
    """Return the entry of `process`; None when it has none, as when it has ended."""
    entry = proc_at(procs, process.pid)
    return entry if entry and entry.started_ns == process.started_ns else None


def is_there(pid: int) -> bool:
    """Whether some process has `pid`.

    The table may have a process that ended before it was entered, or whose end was missed.
    """
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True
