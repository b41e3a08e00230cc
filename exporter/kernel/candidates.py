"""Processes of no job that turn out to be a job's: told to the kernel, without a gap for what they forked.

Each process of no job has the key of the program by which its job would show: its own last exec that was told,
or its creator's. So one entry moves a root and all that was forked from it, and whoever acts, forks or executes
has the scope from then on. Until it is settled, what the policy denies is only told: an answer that came just
before has to be granted first.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from exporter import wire
from exporter.events import HOST, ProcessKey
from exporter.kernel.bpf import Map
from exporter.kernel.grace import Grace


@dataclass
class _Unsettled:
    keys: dict[bytes, int]
    """With their scopes."""
    grace: Grace = field(default_factory=Grace)
    is_seen: bool = False
    """Whether everything that was told before the end of the grace has been handled."""


class Candidates:
    """Which of them are of which scope."""

    def __init__(self, candidates: Map) -> None:
        """None is of any."""
        self._map = candidates
        self._known: defaultdict[int, set[bytes]] = defaultdict(set)
        self._fresh: dict[bytes, int] = {}
        self._waiting: _Unsettled | None = None

    def adopt(self, process: ProcessKey, exec_id: int, scope: int, *, at_once: bool) -> None:
        """Let the `exec_id`th program of `process`, and what was made by it, be of `scope` from now on.

        What the scope's policy denies is denied `at_once`, or else once all that happened before is known.
        Raises OSError (E2BIG) when there are too many.
        """
        key = candidate_key(process, exec_id)
        if key in self._known[scope]:
            return
        self._map.update(key, wire.CANDIDATE_VALUE.pack(scope, at_once))
        self._known[scope].add(key)
        if not at_once:
            self._fresh[key] = scope

    def turn(self) -> None:
        """Settle what can be. Call it whenever the rings are drained; never waits."""
        waiting = self._waiting
        if waiting is not None and waiting.is_seen:
            for key, scope in waiting.keys.items():
                if key in self._known.get(scope, ()):
                    self._map.update(key, wire.CANDIDATE_VALUE.pack(scope, 1))
            self._waiting = None
        elif waiting is not None:
            waiting.is_seen = waiting.grace.is_over()
        if self._waiting is None and self._fresh:
            self._waiting, self._fresh = _Unsettled(self._fresh), {}

    def forget(self, scope: int) -> None:
        """No process of `scope` is left."""
        for key in self._known.pop(scope, ()):
            self._map.delete(key)
            self._fresh.pop(key, None)


def candidate_key(process: ProcessKey, exec_id: int) -> bytes:
    """As the map has it."""
    return wire.CANDIDATE_KEY.pack(process.started_ns, process.pid, exec_id)


def found_value(process: ProcessKey) -> bytes:
    """The entry of `process`, which was there before the programs, as one of no job."""
    none = [0] * 6
    return wire.PROC_VALUE.pack(process.started_ns, HOST, *none, process.started_ns, process.pid, 0)
