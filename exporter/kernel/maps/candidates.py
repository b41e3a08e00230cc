"""Processes of no job that turn out to be a job's: how the kernel learns it, descendants included.

Each process of no job carries the key of the program whose environment would show its job: its own last exec
that was reported, or its creator's. So one entry under that key puts a root and all that was forked from it
into a scope. Each of these processes takes the scope when it next acts, forks or executes, and whatever it
makes from then on has the scope from its beginning.
"""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Callable, Container

from exporter.events import wire
from exporter.events.facts import HOST, ProcessKey
from exporter.kernel.bpf import U32, Map

_MIXER, _ALL_64_BITS = 0x9E3779B97F4A7C15, (1 << 64) - 1
KEPT = 256
"""The entries that a scope may have while the map has room; it gets more while less than half is in use."""


class Candidates:
    """The scopes that were found for processes of no job, by the keys that these carry."""

    def __init__(self, candidates: Map) -> None:
        """Read the entries that `candidates` has: an exporter that ended may have made some."""
        self._map, self._room = candidates, candidates.max_entries
        self._known: defaultdict[int, set[bytes]] = defaultdict(set)
        self._scopes: dict[bytes, int] = {}
        self.refused = 0
        """The number of programs for which there was no room."""
        for key, scope in all_of(candidates).items():
            self._note(key, scope)

    def adopt(self, process: ProcessKey, exec_id: int, scope: int) -> None:
        """Put the `exec_id`th program of `process`, and the processes made by it, into `scope` from now on.

        When the scope, or the whole map, has too many entries, they stay in no scope, and are counted in
        `refused`.
        """
        key = candidate_key(process, exec_id)
        if len(self._known[scope]) >= KEPT and len(self._scopes) >= self._room // 2:
            self.refused += 1
            return
        try:
            self._map.update(key, U32.pack(scope))
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            self.refused += 1
            return
        self._note(key, scope)

    def release(self, process: ProcessKey, exec_id: int) -> None:
        """Stop holding a program that was held because it might be a job's, unless its job was found."""
        if self._scopes.get(candidate_key(process, exec_id), HOST) == HOST:
            self.adopt(process, exec_id, HOST)

    def scope_of(self, proc: wire.ProcValue) -> int:
        """Return the scope of a process; HOST when it is of no job, as far as is known."""
        return known_scope(proc, self._scopes.get) or HOST

    def held_as(self, proc: wire.ProcValue, undecided: int) -> int:
        """Return the scope to whose policy a process is held; see the function `held_as`."""
        return held_as(proc, self._scopes.get, undecided)

    def __len__(self) -> int:
        return len(self._scopes)

    def forget_all_but(self, needed: Container[bytes]) -> None:
        """Remove the entries whose keys aren't `needed`: no process looks its scope up there any more.

        A process that has acted since its scope was found has the scope in its own entry.
        """
        for key, scope in list(self._scopes.items()):
            if key not in needed:
                self._map.delete(key)
                self._known[scope].discard(key)
                del self._scopes[key]

    def forget(self, scope: int) -> None:
        """Remove the entries of `scope`, of which no process is left."""
        for key in self._known.pop(scope, ()):
            self._map.delete(key)
            self._scopes.pop(key, None)

    def _note(self, key: bytes, scope: int) -> None:
        self._known[scope].add(key)
        self._scopes[key] = scope


def known_scope(proc: wire.ProcValue, found: Callable[[bytes], int | None]) -> int | None:
    """Return the scope of a process, also one that was found since it acted last; HOST: it is of no job.

    None: it isn't known yet. `found` returns the scope under a key. `scope_of` in bpf/process.bpf.c does the
    same, and writes the scope into the process's entry when the process acts next.
    """
    return proc.scope if proc.scope != HOST else found(root_key(proc))


def held_as(proc: wire.ProcValue, found: Callable[[bytes], int | None], undecided: int) -> int:
    """Return the scope to whose policy a process is held: its job's, or `undecided` until that is known.

    HOST: it is held as a process of no job. A step whose variables turn out to be no job's stays held to
    `undecided`. In bpf/process.bpf.c, `scope_of` and `held_as` do the same.
    """
    scope = known_scope(proc, found)
    is_released = scope == HOST and proc.standing == wire.STANDING_MARKED
    is_step = proc.standing >= wire.STANDING_STEP and not is_released
    return scope or (undecided if is_step else HOST)


def root_key(proc: wire.ProcValue) -> bytes:
    """Return the key under which the scope of a process without one may be found."""
    return wire.CANDIDATE_KEY.pack(proc.born_ns, proc.tgid, proc.program)


def candidate_key(process: ProcessKey, exec_id: int) -> bytes:
    """Return the key, as in the map, of the `exec_id`th program of `process`."""
    return wire.CANDIDATE_KEY.pack(process.started_ns, process.pid, exec_id)


def all_of(candidates: Map) -> dict[bytes, int]:
    """Return every key with its scope.

    Call it before reading the processes: one that acts in between has the scope in its own entry.
    """
    return {key: U32.unpack(scope)[0] for key, scope in candidates.items()}


def one_of(candidates: Map, key: bytes) -> int | None:
    """Return the scope under `key`; None where there is none."""
    scope = candidates.lookup(key)
    return None if scope is None else int(U32.unpack(scope)[0])


def step_number(process: ProcessKey) -> int:
    """Return the number of the step that begins with `process`: its descendants have it, too.

    `begin_step` in bpf/process.bpf.c computes the same.
    """
    mixed = (process.started_ns ^ process.pid << 40) * _MIXER & _ALL_64_BITS
    return wire.SCOPE_EARLY | mixed >> 33


def early_of(process: ProcessKey, standing: int) -> int:
    """Return the number of the step that begins with `process`; 0 where no step begins."""
    return step_number(process) if standing >= wire.STANDING_STEP else 0


def found_value(process: ProcessKey, standing: int = wire.STANDING_NONE, agent: int = 0) -> bytes:
    """Return the entry in `procs` for a process of no job that ran before the programs were attached."""
    none = [0] * 7
    own = (process.started_ns, process.pid, 0)
    return wire.PROC_VALUE.pack(
        process.started_ns, HOST, *none, *own, 0, standing, agent, 0, early_of(process, standing)
    )
