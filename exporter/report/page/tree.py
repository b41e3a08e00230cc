"""The tree of programs of one job: parents before children, whatever parents the files name.

Where an act's program has no span (`--process-spans none`), the tree has the programs that its lineage names.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from exporter.report.model import JobReport, ReportedAct, ReportedProgram

NONE = -1
"""The place that means no parent, or no program."""

_Lineage = tuple[int, str, str]
"""A parent's place, an executable's name and its command line: a program that only acts name."""


@dataclass
class Tree:
    """Programs as columns; each parent stands before its children."""

    parents: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    command_lines: list[str] = field(default_factory=list)
    """The command lines; empty where one isn't known."""
    pids: list[int | None] = field(default_factory=list)
    times_ns: list[tuple[int, int] | None] = field(default_factory=list)
    """Start and end in nanoseconds; None for a program that only acts name."""
    _by_span: dict[str, int] = field(default_factory=dict)
    _by_lineage: dict[_Lineage, int] = field(default_factory=dict)

    @property
    def command_line(self) -> str | None:
        """The command line of the program above all others. None: there are several, or none."""
        roots = [place for place, parent in enumerate(self.parents) if parent == NONE]
        return self.command_lines[roots[0]] if len(roots) == 1 else None

    def add(self, program: ReportedProgram, parent: int) -> int | None:
        """Add `program` below the place `parent` and return its place. None: the tree has it already."""
        if program.span_id in self._by_span:
            return None
        times_ns = (program.started_ns, program.ended_ns)
        place = self._add(parent, program.name, program.command_line, program.pid, times_ns)
        self._by_span[program.span_id] = place
        return place

    def program_of(self, act: ReportedAct) -> int:
        """Return the place of the program that did `act`; NONE where that isn't known."""
        found = self._by_span.get(act.parent_id or "")
        return self._stand_in(act) if found is None else found

    def _stand_in(self, act: ReportedAct) -> int:
        """Return the last program of the act's lineage; add it, and those above it, where they are new."""
        # Lines and chain both begin at the job's root; if they differ in length, nobody knows which line is
        # whose.
        lines: Sequence[str] = (*act.ancestors, act.command_line)
        if len(lines) != len(act.chain):
            lines = ("",) * (len(act.chain) - 1) + (act.command_line,)
        found = NONE
        for name, line in zip(act.chain, lines, strict=False):
            key = (found, name, line)
            known = self._by_lineage.get(key)
            found = self._by_lineage[key] = self._add(*key) if known is None else known
        if found != NONE and self.pids[found] is None:
            self.pids[found] = act.pid
        return found

    def _add(
        self,
        parent: int,
        name: str,
        line: str,
        pid: int | None = None,
        times_ns: tuple[int, int] | None = None,
    ) -> int:
        self.parents.append(parent)
        self.names.append(name)
        self.command_lines.append(line)
        self.pids.append(pid)
        self.times_ns.append(times_ns)
        return len(self.parents) - 1


def tree_of(job: JobReport, limit: int) -> Tree:
    """Make a tree of at most `limit` programs with spans. A program above itself gets no parent."""
    made = Tree()
    programs = {program.span_id: program for program in job.programs[:limit]}
    children: dict[str, list[ReportedProgram]] = {}
    for program in programs.values():
        if program.parent_id in programs:
            children.setdefault(program.parent_id, []).append(program)
    roots = [program for program in programs.values() if program.parent_id not in programs]
    for first in (*roots, *programs.values()):  # programs below no root form a circle, cut where it begins
        waiting = deque([(first, NONE)])
        while waiting:
            program, parent = waiting.popleft()
            place = made.add(program, parent)
            if place is not None:
                waiting.extend((child, place) for child in children.get(program.span_id, ()))
    return made
