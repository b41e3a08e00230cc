"""The process table, built from kernel records: the program that each process runs, and its ancestors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Container
from dataclasses import replace
from typing import NamedTuple

from exporter.events.facts import (
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
from exporter.events.programs import Image, Lookup, Program

from .procfs import container_in

ENDED_MAX = 4096
"""The most ended programs that are remembered: counted acts of theirs arrive a second or two later."""
ENDED_MAX_BYTES = 16 << 20
"""The most bytes that the arguments of remembered programs may have; one program may have 32 KiB."""


class AllBut(Container[int]):
    """A container of all scopes except those of some other jobs."""

    def __init__(self, others: Collection[int]) -> None:
        """`others` are the scopes that it doesn't contain."""
        self._others = others

    def __contains__(self, scope: object) -> bool:
        return scope not in self._others


class Census(NamedTuple):
    """The number and the age of a scope's running programs."""

    running: int
    """Number of programs."""
    youngest_ns: int
    """When the youngest of these programs began, in nanoseconds since boot."""


class EndedPrograms:
    """A store of the programs that ended last, bounded by ENDED_MAX and ENDED_MAX_BYTES."""

    def __init__(self) -> None:
        self._programs: dict[tuple[ProcessKey, int], Program] = {}
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._programs)

    def add(self, program: Program) -> None:
        """Remember `program`; the oldest ones make room."""
        self._forget((program.process, program.exec_id))
        self._programs[program.process, program.exec_id] = program
        self._size_bytes += _own_bytes(program)
        while len(self._programs) > ENDED_MAX or self._size_bytes > ENDED_MAX_BYTES:
            self._forget(next(iter(self._programs)))

    def get(self, process: ProcessKey, exec_id: int) -> Program | None:
        """Return the program that `process` ran after its exec `exec_id`; None when it isn't remembered."""
        return self._programs.get((process, exec_id))

    def _forget(self, key: tuple[ProcessKey, int]) -> None:
        program = self._programs.pop(key, None)
        if program is not None:
            self._size_bytes -= _own_bytes(program)


def _own_bytes(program: Program) -> int:
    """Return the bytes of arguments that `program` has for itself.

    That is 0 if it shares its creator's arguments: the creator stays in memory as long as `program`.
    """
    creator = program.parent
    is_shared = creator is not None and creator.arguments is program.arguments
    return 0 if is_shared else program.arguments.size_bytes


class ProcessTable:
    """A table of all live processes; `Program.parent` leads from their programs to all ancestors."""

    def __init__(self, lookup: Lookup, on_end: Callable[[Program], None]) -> None:
        """`on_end` is called with each program that ends, after its `ended_ns` was set."""
        self._programs: dict[int, Program] = {}
        self._members: defaultdict[int, dict[int, Program]] = defaultdict(dict)
        """The same programs by scope: hundreds of jobs may end at once, and each looks up its own."""
        self._ended = EndedPrograms()
        self._missing: dict[int, Program] = {}
        self._last_end_ns: dict[int, int] = {}
        self._lookup = lookup
        self._on_end = on_end

    def seed(self, process: ProcessKey, scope: int, at_ns: int, step: str | None = None) -> Program:
        """Enter a job's root, for which the kernel sends no record; `step` is its `egress.job.step`."""
        image = self._lookup.image(process)
        root = Program(process, 0, scope, None, 0, at_ns, image.path, image.arguments, step=step)
        self._enter(root)
        return root

    def found(self, event: Found) -> Program:
        """Enter a process that ran before anything was traced. It belongs to its parent's job, or to none."""
        image = self._lookup.image(event.process)
        parent = self._programs.get(event.parent_pid)
        scope = parent.scope if parent else HOST
        program = Program(
            event.process, 0, scope, parent, event.parent_pid, event.at_ns, image.path, image.arguments
        )
        self._enter(program)
        return program

    def adopt(self, process: ProcessKey, exec_id: int, scope: int, parent_pid: int, image: Image) -> Program:
        """Enter a process that an earlier ci-egress, which is gone, has traced.

        The earlier one may have exported spans below the program's span. So in a job, the program counts as
        having egress.
        """
        above = self._programs.get(parent_pid)
        parent = above if above is not None and above.scope == scope else None
        program = Program(
            process, exec_id, scope, parent, parent_pid, process.started_ns, image.path, image.arguments
        )
        program.has_egress = scope != HOST
        self._enter(program)
        return program

    def of(self, process: ProcessKey) -> Program | None:
        """Return the program that `process` runs now; None when the process isn't in the table."""
        program = self._programs.get(process.pid)
        return program if program is not None and program.process == process else None

    def at(self, pid: int) -> Program | None:
        """Return the program that runs under `pid` now; None when there is none."""
        return self._programs.get(pid)

    def make_root(self, program: Program, scope: int, attribution: str, step: str | None = None) -> Program:
        """Make `program` the root of the job `scope`, whoever created it; its children belong to that job."""
        root = replace(program, parent=None, scope=scope, attribution=attribution, step=step)
        self._enter(root)
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
        """Enter the program that a process became by an exec; its parent is the process's creator."""
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
        """Remove a process that exited; its program stays in memory while something refers to it."""
        program = self._programs.get(event.process.pid)
        if program is not None and program.process == event.process:
            self._leave(program)
            self._end(program, event.at_ns, event.wait_status)

    def missed(self, event: Environment) -> Program | None:
        """Find or recover the program of a process whose own records were lost; None when it has ended."""
        program = self._find(event.process, event.exec_id, HOST, event.at_ns)
        return program if program.ended_ns is None else None

    def acted(self, event: Acted | Aggregated | Tampered) -> Program:
        """Find the program behind `event`, and look up its facts. After counted acts, it may have ended."""
        program = self._find(event.process, event.exec_id, event.scope, event.at_ns)
        if program.facts is None:
            program.facts = self._lookup.facts(event.process)
        return program

    def end_all(self, scopes: Container[int], at_ns: int) -> None:
        """End the programs of `scopes` that still run, as when a job is over and leaves processes behind."""
        for program in self.live(scopes):
            self._leave(program)
            self._end(program, at_ns, None)

    def report_all(self, scopes: Container[int], at_ns: int) -> None:
        """Report the running programs of `scopes`, whose job is over, as if they ended at `at_ns`.

        They go on and stay in the table.
        """
        for program in self.live(scopes):
            program.ended_ns = at_ns
            self._on_end(program)
            if not program.is_reported:
                program.ended_ns = None

    def census(self) -> dict[int, Census]:
        """Count the running programs of each scope, and find when the youngest one began."""
        return {
            scope: Census(len(members), max(program.started_ns for program in members.values()))
            for scope, members in self._members.items()
        }

    def reap(self, pids: Collection[int], at_ns: int) -> None:
        """End programs whose pid isn't among `pids`, all pids of the host, in two calls in a row.

        The records of their exits were lost; at the first call, they may still have been on their way.
        """
        missing = {pid: program for pid, program in self._programs.items() if pid not in pids}
        for pid, program in missing.items():
            if self._missing.get(pid) is program:
                self._leave(program)
                self._end(program, at_ns, None)
        self._missing = missing

    def live(self, scopes: Container[int]) -> list[Program]:
        """Return the programs of `scopes` that run now."""
        found = (members for scope, members in self._members.items() if scope in scopes)
        return [program for members in found for program in members.values()]

    def take_last_end_ns(self, scope: int) -> int | None:
        """Return when the latest ended program of `scope` ended, and forget it.

        Returns None when none has ended since the last call.
        """
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
        """Enter a program whose own record was lost, as the kernel counted, with facts from /proc."""
        before = self.of(process)
        is_over = before is not None and before.exec_id > exec_id  # /proc shows a later program
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
        self._enter(program)
        if before is not None:
            before.became_another = before.process == program.process
            self._end(before, program.started_ns, None)

    def _enter(self, program: Program) -> None:
        """Enter `program` as the program that its pid runs, in place of the program before it."""
        before = self._programs.get(program.process.pid)
        if before is not None:
            self._leave(before)
        self._programs[program.process.pid] = self._members[program.scope][program.process.pid] = program

    def _leave(self, program: Program) -> None:
        del self._programs[program.process.pid]
        members = self._members[program.scope]
        del members[program.process.pid]
        if not members:
            del self._members[program.scope]

    def _end(self, program: Program, at_ns: int, wait_status: int | None) -> None:
        program.ended_ns = at_ns
        program.wait_status = wait_status
        self._last_end_ns[program.scope] = at_ns
        self._ended.add(program)
        self._on_end(program)


def _go_on(program: Program, before: Program | None) -> None:
    """Carry over from `before`, the process's last program, the facts that an exec doesn't change."""
    if before is not None:
        program.has_gap |= before.has_gap
        program.step = before.step
