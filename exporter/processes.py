"""The process table: which program did it, made by whom. Made of the kernel's records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container
from dataclasses import replace
from typing import NamedTuple

from exporter.events import (
    HOST,
    Acted,
    Aggregated,
    Environment,
    Execed,
    Exited,
    Forked,
    Found,
    ProcessKey,
    Tampered,
)
from exporter.procfs import container_in
from exporter.programs import Image, Lookup, Program

ENDED_MAX = 4096
"""Programs remembered after their end: what the kernel counted of them comes a second or two later."""
ENDED_MAX_BYTES = 16 << 20
"""Of their arguments: one may have 32 KiB."""


class AllBut(Container[int]):
    """All scopes but those of other jobs."""

    def __init__(self, others: Collection[int]) -> None:
        """`others` are theirs."""
        self._others = others

    def __contains__(self, scope: object) -> bool:
        return scope not in self._others


class Census(NamedTuple):
    """What runs of a scope."""

    running: int
    """Programs."""
    youngest_ns: int
    """When the last of them began, since boot."""


class Ended:
    """The programs that ended last, ENDED_MAX of them and ENDED_MAX_BYTES of arguments at most."""

    def __init__(self) -> None:
        self._programs: dict[tuple[ProcessKey, int], Program] = {}
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._programs)

    def add(self, program: Program) -> None:
        """Remember it; the oldest make room."""
        self._forget((program.process, program.exec_id))
        self._programs[program.process, program.exec_id] = program
        self._size_bytes += _own_bytes(program)
        while len(self._programs) > ENDED_MAX or self._size_bytes > ENDED_MAX_BYTES:
            self._forget(next(iter(self._programs)))

    def get(self, process: ProcessKey, exec_id: int) -> Program | None:
        """The program that the process ran, if it is remembered."""
        return self._programs.get((process, exec_id))

    def _forget(self, key: tuple[ProcessKey, int]) -> None:
        program = self._programs.pop(key, None)
        if program is not None:
            self._size_bytes -= _own_bytes(program)


def _own_bytes(program: Program) -> int:
    """Of arguments that aren't its creator's: those are there as long as it is."""
    creator = program.parent
    is_shared = creator is not None and creator.arguments is program.arguments
    return 0 if is_shared else program.arguments.size_bytes


class ProcessTable:
    """Every live process of the jobs, and through `parent` whatever a live or reported one descends from."""

    def __init__(self, lookup: Lookup, on_end: Callable[[Program], None]) -> None:
        """`on_end` is called with each program that ends, `ended_ns` set."""
        self._programs: dict[int, Program] = {}
        self._ended = Ended()
        self._missing: dict[int, Program] = {}
        self._last_end_ns: dict[int, int] = {}
        self._lookup = lookup
        self._on_end = on_end

    def seed(self, process: ProcessKey, scope: int, at_ns: int, step: str | None = None) -> Program:
        """Enter a job's root, which no record announces."""
        image = self._lookup.image(process)
        root = Program(process, 0, scope, None, 0, at_ns, image.path, image.arguments, step=step)
        self._programs[process.pid] = root
        return root

    def found(self, event: Found) -> Program:
        """Enter a process that was there already: of its parent's job, else of none."""
        image = self._lookup.image(event.process)
        parent = self._programs.get(event.parent_pid)
        scope = parent.scope if parent else HOST
        program = Program(
            event.process, 0, scope, parent, event.parent_pid, event.at_ns, image.path, image.arguments
        )
        self._programs[event.process.pid] = program
        return program

    def adopt(self, process: ProcessKey, exec_id: int, scope: int, parent_pid: int, image: Image) -> Program:
        """Enter a process of which another ci-egress was told, which is gone: what it told hangs on these."""
        above = self._programs.get(parent_pid)
        parent = above if above is not None and above.scope == scope else None
        program = Program(
            process, exec_id, scope, parent, parent_pid, process.started_ns, image.path, image.arguments
        )
        program.has_egress = scope != HOST
        self._programs[process.pid] = program
        return program

    def of(self, process: ProcessKey) -> Program | None:
        """The program that `process` runs now."""
        program = self._programs.get(process.pid)
        return program if program is not None and program.process == process else None

    def at(self, pid: int) -> Program | None:
        """The program that runs under `pid` now."""
        return self._programs.get(pid)

    def make_root(self, program: Program, scope: int, attribution: str, step: str | None = None) -> Program:
        """Let a program be the root of the job `scope`, whoever created it; what it creates is the job's."""
        root = replace(program, parent=None, scope=scope, attribution=attribution, step=step)
        self._programs[program.process.pid] = root
        return root

    def forked(self, event: Forked) -> Program:
        """Enter a new process: until it execs, it is another instance of its creator's program."""
        creator = self._find(event.creator, event.creator_exec_id, event.scope, event.at_ns)
        child = Program(
            event.process,
            0,
            event.scope or creator.scope,
            creator,
            event.parent_pid,
            event.at_ns,
            creator.path,
            creator.arguments,
            creator.is_cut,
            creator.container,
        )
        self._replace(child)
        return child

    def execed(self, event: Execed) -> Program:
        """Let a process become another program; whoever created the process created that too."""
        before = self.of(event.process)
        program = Program(
            event.process,
            event.exec_id,
            event.scope or (before.scope if before else HOST),
            before.parent if before else None,
            event.parent_pid,
            event.at_ns,
            event.path,
            event.arguments,
            event.arguments_cut,
            container_in(event.cgroup),
        )
        _go_on(program, before)
        self._replace(program)
        return program

    def exited(self, event: Exited) -> None:
        """Let go of a process; its program lives on where something still refers to it."""
        program = self._programs.get(event.process.pid)
        if program is not None and program.process == event.process:
            del self._programs[event.process.pid]
            self._end(program, event.at_ns, event.wait_status)

    def missed(self, event: Environment) -> Program | None:
        """The program of a process whose own records were lost; None where it is over."""
        program = self._find(event.process, event.exec_id, HOST, event.at_ns)
        return program if program.ended_ns is None else None

    def acted(self, event: Acted | Aggregated | Tampered) -> Program:
        """The program that did it, with its facts; of what was counted, it may have ended meanwhile."""
        program = self._find(event.process, event.exec_id, event.scope, event.at_ns)
        if program.facts is None:
            program.facts = self._lookup.facts(event.process)
        return program

    def end_all(self, scopes: Container[int], at_ns: int) -> None:
        """End what still runs of `scopes`, as when the job is over and leaves processes behind."""
        for program in self.live(scopes):
            del self._programs[program.process.pid]
            self._end(program, at_ns, None)

    def report_all(self, scopes: Container[int], at_ns: int) -> None:
        """Tell of what runs of `scopes` as it is now: the job is over, and they go on."""
        for program in self.live(scopes):
            program.ended_ns = at_ns
            self._on_end(program)
            if not program.is_reported:
                program.ended_ns = None

    def census(self) -> dict[int, Census]:
        """How many programs run now, and when the youngest began, by scope."""
        found: dict[int, Census] = {}
        for program in self._programs.values():
            running, youngest_ns = found.get(program.scope, (0, 0))
            found[program.scope] = Census(running + 1, max(youngest_ns, program.started_ns))
        return found

    def reap(self, pids: Collection[int], at_ns: int) -> None:
        """End programs whose pid has twice not been among `pids`, those of this host: their exit was lost.

        Not at once: the record of an exit may still be on its way.
        """
        missing = {pid: program for pid, program in self._programs.items() if pid not in pids}
        for pid, program in missing.items():
            if self._missing.get(pid) is program:
                del self._programs[pid]
                self._end(program, at_ns, None)
        self._missing = missing

    def live(self, scopes: Container[int]) -> list[Program]:
        """The programs of `scopes` that run now."""
        return [program for program in self._programs.values() if program.scope in scopes]

    def take_last_end_ns(self, scope: int) -> int | None:
        """When the last program of `scope` that is over ended, and forget it; None when none is."""
        return self._last_end_ns.pop(scope, None)

    def _find(self, process: ProcessKey, exec_id: int, scope: int, at_ns: int) -> Program:
        known = self._programs.get(process.pid)
        if known is not None and known.process == process and known.exec_id == exec_id:
            return known
        ended = self._ended.get(process, exec_id)
        if ended is not None:
            return ended
        return self._recover(process, exec_id, scope, at_ns)

    def _recover(self, process: ProcessKey, exec_id: int, scope: int, at_ns: int) -> Program:
        """Enter a program whose own record was lost (the kernel counted it), with what /proc still knows."""
        before = self.of(process)
        is_over = before is not None and before.exec_id > exec_id  # /proc shows the program after it
        image = Image() if is_over else self._lookup.image(process)
        program = Program(
            process,
            exec_id,
            scope or (before.scope if before else HOST),
            before.parent if before else None,
            0,
            at_ns,
            image.path,
            image.arguments,
            is_recovered=True,
        )
        _go_on(program, before)
        if image.path is None:  # the process is gone, so there may be another process under its pid
            self._end(program, at_ns, None)
        else:
            self._replace(program)
        return program

    def _replace(self, program: Program) -> None:
        before = self._programs.get(program.process.pid)
        self._programs[program.process.pid] = program
        if before is not None:
            before.became_another = before.process == program.process
            self._end(before, program.started_ns, None)

    def _end(self, program: Program, at_ns: int, wait_status: int | None) -> None:
        program.ended_ns = at_ns
        program.wait_status = wait_status
        self._last_end_ns[program.scope] = at_ns
        self._ended.add(program)
        self._on_end(program)


def _go_on(program: Program, before: Program | None) -> None:
    """What holds of a process whatever it executes."""
    if before is not None:
        program.has_gap |= before.has_gap
        program.step = before.step
