"""Acts that the kernel only counts: collected window by window, once no program can count there any more."""

from __future__ import annotations

import mmap
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from exporter.events import wire
from exporter.kernel.bpf import U32, U64, Map
from exporter.kernel.compilation.sources import edition
from exporter.kernel.grace_period import NAME, Grace, thread, wait_for_programs

from .rings import Handler

WINDOW_S = 1.0

_SLOT = wire.AGGREGATE_RECORD.size
_KIND_AT = wire.OFFSETS["aggregate_record"][1]["header.kind"]
_EMPTY = wire.AggregateRecord.unpack(bytes(_SLOT))
_ATTEMPTS_AT = wire.OFFSETS["aggregate_record"][1]["attempts"]
_SCOPE_AT = wire.OFFSETS["act_value"][1]["scope"]
_NO_NUMBER = bytes(U64.size)
_REMOVED = U32.pack(1)
"""Where `open_of_all` has the number of connects that were removed here."""
_NO_PLACES = bytes(wire.PLACES_VALUE.size)
_WINDOW_AT = wire.OFFSETS["aggregate_record"][1]["window"]


class Coverage(NamedTuple):
    """The processes that are followed, and whether jobs are found among them."""

    is_host: bool = False
    """Whether processes of no job are followed, too."""
    reads_environments: bool = False
    """Whether the environments with which processes of no job execute come as events, to find jobs by."""


class Windows:
    """Acts that got no record of their own, handed over as aggregate records.

    The kernel's programs count in the maps of the current window, odd or even. Once another window has begun,
    and every program that may still be in the old one has ended, the old one's numbers are final.
    """

    def __init__(self, maps: Mapping[str, Map], coverage: Coverage, *, goes_on: bool = False) -> None:
        """Begin the first window, or with `goes_on` continue where an exporter that ended stopped."""
        thread(NAME)  # started now, while there is room for a thread
        self._coverage = coverage
        self._config, self._others, self._others_told = maps["config"], maps["others"], maps["others_told"]
        self._flows = (maps["flows_even"], maps["flows_odd"])
        self._places, self._places_of_all = (maps["places_even"], maps["places_odd"]), maps["places_of_all"]
        self._open_connects, self._open_noted = maps["open_connects"], maps["open_noted"]
        self._open_of_all = maps["open_of_all"]
        self._free_slots, self._free_other_slots = maps["free_slots"], maps["free_other_slots"]
        number = maps["slots"].max_entries
        self._first_other = number - self._free_other_slots.max_entries
        self._slots = mmap.mmap(maps["slots"].fileno(), -(-number * _SLOT // mmap.PAGESIZE) * mmap.PAGESIZE)
        self._end = number * _SLOT
        self._told_others: Counter[bytes] = Counter()
        self._grace: Grace | None = None
        self._number = 0
        self._has_policies = self._has_executables = False
        self._undecided = 0
        self._knows_everyone = False
        if goes_on:
            self._go_on()
        else:
            self._free_slots.push(U32.pack(index) for index in range(self._first_other - 1, 0, -1))
            self._free_other_slots.push(
                U32.pack(index) for index in range(number - 1, self._first_other - 1, -1)
            )
            self._begin_next()

    @property
    def number(self) -> int:
        """The number of the current window."""
        return self._number

    @property
    def attempts(self) -> int:
        """The number of attempts that are counted in the maps now, and weren't handed over."""
        starts = (
            index * _SLOT for index, kind in enumerate(self._slots[_KIND_AT : self._end : _SLOT]) if kind
        )
        slots = sum(U64.unpack_from(self._slots, at + _ATTEMPTS_AT)[0] for at in starts)
        others = sum(U64.unpack(value)[0] - self._told_others[key] for key, value in self._others.items())
        return int(slots + others) + sum(1 for _ in self._open_connects.items())

    def close(self) -> None:
        """Unmap."""
        self._slots.close()

    def follow(self, scope: int) -> None:
        """Let acts of `scope` be counted: by slots and, where no slot is free, by counters of last resort."""
        for key in _others_keys(scope):
            self._others.insert(key, U64.pack(0))
        self._open_noted.insert(U32.pack(scope), U64.pack(0))
        for places in self._places:
            places.insert(U32.pack(scope), _NO_PLACES)

    def forget(self, scope: int, handle: Handler) -> None:
        """Hand over what the counters of `scope` still have, and remove them: no process of it is left."""
        self.give_up_open(scope, handle)
        for record in self._further_others(_others_keys(scope)):
            handle(memoryview(record), 0, _SLOT)
        for key in _others_keys(scope):
            self._others.delete(key)
            self._others_told.delete(key)
            del self._told_others[key]
        for each in (self._open_noted, *self._places):
            each.delete(U32.pack(scope))

    def give_up_open(self, scope: int, handle: Handler) -> None:
        """Hand over, and remove, counted connects of `scope` whose outcome isn't known yet: it is over.

        Processes of no job may have their sockets for ever.
        """
        if self._open_noted.lookup(U32.pack(scope)) in (None, _NO_NUMBER):
            return
        own = U32.pack(scope)
        left = [item for item in self._open_connects.items() if item[1].startswith(own, _SCOPE_AT)]
        given_up = [wire.ActValue.unpack(value) for key, value in left if self._open_connects.delete(key)]
        (removed,) = U64.unpack(self._open_of_all.lookup(_REMOVED) or _NO_NUMBER)
        self._open_of_all.update(_REMOVED, U64.pack(removed + len(given_up)))
        for act in given_up:
            handle(memoryview(_still_open(act)), 0, _SLOT)

    def judge(self, *, has_executables: bool) -> None:
        """Make the kernel judge acts from now on; with `has_executables`, some policy names executables."""
        self._has_policies, self._has_executables = True, has_executables
        self._configure()

    def hold_undecided(self, scope: int) -> None:
        """Hold possible members of jobs to the policy of `scope` until their job is known; 0: to none."""
        if scope != self._undecided:
            self._undecided = scope
            self._configure()

    def know_everyone(self) -> None:
        """Hold a process without a known ancestor as a step from now on, since all others are known."""
        self._knows_everyone = True
        self._configure()

    def follow_jobs_alone(self) -> None:
        """Follow only processes of jobs from now on: no other is added, and no environment is sent."""
        self._coverage = Coverage()
        self._configure()

    def turn(self, handle: Handler) -> None:
        """Hand over the counts of a window that is over; begin another when this one was long enough.

        Never waits. Call it when the rings are drained, so that the processes behind the counts are known.
        """
        if self._grace is not None:
            if self._grace.is_over():
                self._grace = None
                self._collect(handle)
        elif time.monotonic() - self._began_s >= WINDOW_S and self._is_used():
            self._begin_next()
            self._grace = Grace()

    def finish(self, handle: Handler) -> None:
        """Hand over all counts. Call it when the programs are detached; it waits until none runs any more."""
        if self._grace is not None:
            self._grace.wait()
            self._grace = None
            self._collect(handle)
        self._begin_next()
        wait_for_programs()
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

    def _go_on(self) -> None:
        """Continue the current window; the one before may not have been collected, or only in part."""
        config = wire.ConfigValue.unpack(self._config.lookup(U32.pack(0)) or b"")
        self._number, self._began_s = config.window, time.monotonic()
        self._has_policies, self._has_executables = bool(config.has_policies), bool(config.has_executables)
        self._undecided, self._knows_everyone = config.undecided, bool(config.knows_everyone)
        self._told_others.update({key: U64.unpack(value)[0] for key, value in self._others_told.items()})
        self._configure()
        self._grace = Grace()

    def _configure(self) -> None:
        policies = (self._has_policies, self._has_executables)
        rest = (edition(), self._undecided, self._knows_everyone)
        values = (wire.LAYOUT, self._number, os.getpid(), *self._coverage, *policies, *rest)
        self._config.update(U32.pack(0), wire.CONFIG_VALUE.pack(*values))

    def _collect(self, handle: Handler) -> None:
        kinds = self._slots[_KIND_AT : self._end : _SLOT]
        for at in (index * _SLOT for index, kind in enumerate(kinds) if kind):
            if U32.unpack_from(self._slots, at + _WINDOW_AT)[0] != self._number:
                record = self._slots[at : at + _SLOT]
                self._slots[at : at + _SLOT] = bytes(_SLOT)
                index = at // _SLOT
                free = self._free_slots if index < self._first_other else self._free_other_slots
                free.push([U32.pack(index)])
                handle(memoryview(record), 0, _SLOT)
        before = self._number + 1 & 1
        self._flows[before].clear()
        taken = [scope for scope, places in self._places[before].items() if places != _NO_PLACES]
        self._places[before].update_all((scope, _NO_PLACES) for scope in taken)
        self._places_of_all.update(U32.pack(before), _NO_PLACES)
        for record in self._further_others(self._others):
            handle(memoryview(record), 0, _SLOT)

    def _further_others(self, keys: Iterable[bytes]) -> Iterator[bytes]:
        for key in keys:
            (number,) = U64.unpack(self._others.lookup(key) or bytes(8))
            further = number - self._told_others[key]
            if further > 0:
                self._told_others[key] = number
                self._others_told.update(key, U64.pack(number))
                yield _aggregate(attempts=further, **_of_others(key), other=1)

    def _still_open(self) -> Iterator[bytes]:
        for key in self._open_connects:
            value = self._open_connects.lookup(key)
            if value is not None:
                yield _still_open(wire.ActValue.unpack(value))


def _others_keys(scope: int) -> list[bytes]:
    acts = range(wire.ACT_CONNECT, wire.ACTS)
    return [U64.pack(scope << 16 | verdict << 8 | act) for verdict in range(wire.VERDICTS) for act in acts]


def _of_others(key: bytes) -> dict[str, int]:
    (packed,) = U64.unpack(key)
    return {"scope": packed >> 16, "verdict": packed >> 8 & 0xFF, "act": packed & 0xFF}


def _still_open(act: wire.ActValue) -> bytes:
    # A field of both structs has the same name in both.
    members = {name: value for name, value in act._asdict().items() if name in wire.AggregateRecord._fields}
    return _aggregate(**{**members, "outcome": wire.OUTCOME_OPEN, "attempts": 1})


def _aggregate(**members: int | bytes) -> bytes:
    record = _EMPTY._replace(layout=wire.LAYOUT, kind=wire.KIND_AGGREGATE, **members)  # type: ignore[arg-type]
    return wire.AGGREGATE_RECORD.pack(*record)
