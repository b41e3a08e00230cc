"""What the kernel only counts: collected window by window, when no program can be counting there any more."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from exporter import wire
from exporter.kernel.bpf import Map
from exporter.kernel.rings import Handler

WINDOW_S = 1.0

_KEY = struct.Struct("=I")
_SCOPE_KEY = struct.Struct("=Q")
_COUNT = struct.Struct("=Q")
_SLOT = wire.AGGREGATE_RECORD.size
_WINDOW = struct.Struct("=I")
_KIND_AT = wire.OFFSETS["aggregate_record"][1]["header.kind"]
_EMPTY = wire.AggregateRecord._make(wire.AGGREGATE_RECORD.unpack(bytes(_SLOT)))
_WINDOW_AT = wire.OFFSETS["aggregate_record"][1]["window"]

_MEMBARRIER = {"x86_64": 324, "aarch64": 283}
_MEMBARRIER_CMD_GLOBAL = 1
_PATIENCE_S = 1.0


class Coverage(NamedTuple):
    """Which processes are followed."""

    is_host: bool = False
    """Those of no job, too."""
    reads_environments: bool = False
    """What those execute with comes as events, to find jobs by."""


class Windows:
    """Acts that got no record of their own, handed over as aggregate records.

    The kernel's programs count in the maps of the current window, odd or even. Once another one has begun and
    every program that may still be in the old one has ended, that one's numbers are final.
    """

    def __init__(self, maps: Mapping[str, Map], coverage: Coverage) -> None:
        """Begin the first window."""
        self._coverage = coverage
        self._config, self._others = maps["config"], maps["others"]
        self._flows = (maps["flows_even"], maps["flows_odd"])
        self._open_connects = maps["open_connects"]
        self._free_slots = maps["free_slots"]
        number = maps["slots"].max_entries
        self._slots = mmap.mmap(maps["slots"].fileno(), -(-number * _SLOT // mmap.PAGESIZE) * mmap.PAGESIZE)
        self._end = number * _SLOT
        self._free_slots.push(_KEY.pack(index) for index in range(number - 1, 0, -1))
        self._told_others: Counter[bytes] = Counter()
        self._grace: threading.Thread | None = None
        self._number = 0
        self._has_policies = False
        self._begin_next()

    @property
    def number(self) -> int:
        """Of the current window."""
        return self._number

    def close(self) -> None:
        """Unmap."""
        self._slots.close()

    def follow(self, scope: int) -> None:
        """Have a count for those acts of `scope` for which there is nothing else."""
        for act in (wire.ACT_CONNECT, wire.ACT_SEND):
            for verdict in range(wire.VERDICTS):
                self._others.update(_others_key(scope, verdict, act), _COUNT.pack(0))

    def judge(self) -> None:
        """Have acts held against the policies from now on: some scope has one."""
        self._has_policies = True
        self._configure()

    def turn(self, handle: Handler) -> None:
        """Hand over what was counted in a window that is over; begin another when this one was long enough.

        Never waits. Call it when the rings are drained, so that whoever is counted is known.
        """
        if self._grace is not None:
            if not self._grace.is_alive():
                self._grace = None
                self._collect(handle)
        elif time.monotonic() - self._began_s >= WINDOW_S and self._is_used():
            self._begin_next()
            self._grace = threading.Thread(target=_wait_for_programs, name="windows", daemon=True)
            self._grace.start()

    def finish(self, handle: Handler) -> None:
        """Hand over all that was counted. Call it when the programs are detached; waits for them to end."""
        if self._grace is not None:
            self._grace.join()
            self._grace = None
            self._collect(handle)
        self._begin_next()
        _wait_for_programs()
        self._collect(handle)
        for record in self._still_open():
            handle(memoryview(record), 0, _SLOT)

    def has_open(self) -> bool:
        """Whether there are counted connects whose outcome isn't known yet."""
        return any(True for _ in self._open_connects)

    def _is_used(self) -> bool:
        return any(True for _ in self._flows[self._number & 1])

    def _begin_next(self) -> None:
        self._number += 1
        self._began_s = time.monotonic()
        self._configure()

    def _configure(self) -> None:
        values = (wire.LAYOUT, self._number, os.getpid(), *self._coverage, self._has_policies)
        self._config.update(_KEY.pack(0), wire.CONFIG_VALUE.pack(*values))

    def _collect(self, handle: Handler) -> None:
        kinds = self._slots[_KIND_AT : self._end : _SLOT]
        for at in (index * _SLOT for index, kind in enumerate(kinds) if kind):
            if _WINDOW.unpack_from(self._slots, at + _WINDOW_AT)[0] != self._number:
                record = self._slots[at : at + _SLOT]
                self._slots[at : at + _SLOT] = bytes(_SLOT)
                self._free_slots.push([_KEY.pack(at // _SLOT)])
                handle(memoryview(record), 0, _SLOT)
        self._flows[self._number + 1 & 1].clear()
        for record in self._further_others():
            handle(memoryview(record), 0, _SLOT)

    def _further_others(self) -> Iterator[bytes]:
        for key in self._others:
            (number,) = _COUNT.unpack(self._others.lookup(key) or bytes(8))
            if number > self._told_others[key]:
                yield _aggregate(
                    attempts=number - self._told_others[key],
                    **_of_others(key),
                    other=1,
                )
                self._told_others[key] = number

    def _still_open(self) -> Iterator[bytes]:
        for key in self._open_connects:
            value = self._open_connects.lookup(key)
            if value is not None:
                yield _still_open(wire.ActValue._make(wire.ACT_VALUE.unpack(value)))


def _others_key(scope: int, verdict: int, act: int) -> bytes:
    return _SCOPE_KEY.pack(scope << 16 | verdict << 8 | act)


def _of_others(key: bytes) -> dict[str, int]:
    (packed,) = _SCOPE_KEY.unpack(key)
    return {"scope": packed >> 16, "verdict": packed >> 8 & 0xFF, "act": packed & 0xFF}


def _still_open(act: wire.ActValue) -> bytes:
    members = {name: value for name, value in act._asdict().items() if name in wire.AggregateRecord._fields}
    return _aggregate(**{**members, "outcome": wire.OUTCOME_OPEN, "attempts": 1})


def _aggregate(**members: int | bytes) -> bytes:
    record = _EMPTY._replace(layout=wire.LAYOUT, kind=wire.KIND_AGGREGATE, **members)  # type: ignore[arg-type]
    return wire.AGGREGATE_RECORD.pack(*record)


def _wait_for_programs() -> None:
    """Return once every program that runs now has ended: they run as RCU readers do."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    if call(_MEMBARRIER[platform.machine()], _MEMBARRIER_CMD_GLOBAL, 0, 0) != 0:
        time.sleep(_PATIENCE_S)  # a sandbox may forbid the call; a program runs for microseconds
