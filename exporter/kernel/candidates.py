"""Processes of no job that turn out to be a job's: told to the kernel without a gap for what they forked.

Each process of no job has the key of the program by which its job would show: its own last exec that was
told, or its creator's. So one entry moves a root and all that was forked from it: whoever acts, forks or
executes next is of that scope, and what it makes from then on is so from its beginning.
"""

from __future__ import annotations

import errno
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable, Container

from exporter import wire
from exporter.events import HOST, ProcessKey
from exporter.kernel.bpf import Map

_SCOPE = struct.Struct("=I")
KEPT = 256
"""Entries that each scope has room for, as long as there is any; half of the room is for who needs more."""


class Candidates:
    """Which of them are of which scope."""

    def __init__(self, candidates: Map) -> None:
        """Those that `candidates` has: an exporter that ended may have found some."""
        self._map, self._room = candidates, candidates.max_entries
        self._known: defaultdict[int, set[bytes]] = defaultdict(set)
        self._scopes: dict[bytes, int] = {}
        self.refused = 0
        """For which there was no room."""
        for key, scope in all_of(candidates).items():
            self._note(key, scope)

    def adopt(self, process: ProcessKey, exec_id: int, scope: int) -> None:
        """Let the `exec_id`th program of `process`, and what was made by it, be of `scope` from now on.

        When there are too many, of this scope or of all, it stays of none, and is counted.
        """
        key = candidate_key(process, exec_id)
        if len(self._known[scope]) >= KEPT and len(self._scopes) >= self._room // 2:
            self.refused += 1
            return
        try:
            self._map.update(key, _SCOPE.pack(scope))
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            self.refused += 1
            return
        self._note(key, scope)

    def release(self, process: ProcessKey, exec_id: int) -> None:
        """Let that, which was held because it might have been a job's, be of none; unless it is one's."""
        if self._scopes.get(candidate_key(process, exec_id), HOST) == HOST:
            self.adopt(process, exec_id, HOST)

    def scope_of(self, proc: wire.ProcValue) -> int:
        """Of a process; HOST for what is of no job, as far as is known."""
        return known_scope(proc, self._scopes.get) or HOST

    def __len__(self) -> int:
        return len(self._scopes)

    def forget_all_but(self, needed: Container[bytes]) -> None:
        """Forget what no process goes by any more: whoever had acted since has its scope itself."""
        for key, scope in list(self._scopes.items()):
            if key not in needed:
                self._map.delete(key)
                self._known[scope].discard(key)
                del self._scopes[key]

    def forget(self, scope: int) -> None:
        """No process of `scope` is left."""
        for key in self._known.pop(scope, ()):
            self._map.delete(key)
            self._scopes.pop(key, None)

    def _note(self, key: bytes, scope: int) -> None:
        self._known[scope].add(key)
        self._scopes[key] = scope


def known_scope(proc: wire.ProcValue, found: Callable[[bytes], int | None]) -> int | None:
    """The scope of a process, whether or not it has acted since that was found; HOST for one of no job.

    None: it isn't known yet. `found` gives the scope under a key. As `scope_of` in bpf/process.bpf.c, which
    writes it down when the process acts next.
    """
    return proc.scope if proc.scope != HOST else found(root_key(proc))


def root_key(proc: wire.ProcValue) -> bytes:
    """Of what the job of a process without scope may be known by."""
    return wire.CANDIDATE_KEY.pack(proc.born_ns, proc.tgid, proc.program)


def candidate_key(process: ProcessKey, exec_id: int) -> bytes:
    """As the map has it."""
    return wire.CANDIDATE_KEY.pack(process.started_ns, process.pid, exec_id)


def all_of(candidates: Map) -> dict[bytes, int]:
    """Every key with its scope. To be read before the processes: who acts meanwhile has its scope itself."""
    return {key: _SCOPE.unpack(scope)[0] for key, scope in candidates.items()}


def one_of(candidates: Map, key: bytes) -> int | None:
    """The scope under a key; None where there is none."""
    scope = candidates.lookup(key)
    return None if scope is None else int(_SCOPE.unpack(scope)[0])


def early_of(process: ProcessKey, standing: int) -> int:
    """The number of the step that begins with `process`; 0 where none does."""
    is_step = standing >= wire.STANDING_STEP
    return wire.SCOPE_EARLY | zlib.crc32(candidate_key(process, 0)) if is_step else 0


def found_value(process: ProcessKey, standing: int = wire.STANDING_NONE, agent: int = 0) -> bytes:
    """The entry of `process`, which was there before the programs, as one of no job."""
    none = [0] * 6
    own = (process.started_ns, process.pid, 0)
    return wire.PROC_VALUE.pack(
        process.started_ns, HOST, *none, *own, 0, standing, agent, early_of(process, standing)
    )
