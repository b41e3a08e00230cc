"""Find out which processes are of a step that still runs, by the processes that made them: parents change.

A process that a step makes with CLONE_PARENT has the step's own parent, the agent. A process whose parent
ends gets another parent. But a new process gets the number of the step that makes it, and keeps that number.
"""

from __future__ import annotations

from collections.abc import Container

from exporter.events import wire
from exporter.events.facts import ProcessKey
from exporter.kernel.maps.candidates import step_number
from exporter.kernel.tracer import Tracer
from exporter.pipeline.procfs import ancestors, is_running, is_to_the_tick, started_ns

from .agents import Above

_INIT = 1
"""The pid of init, which becomes the parent of processes whose own parent ended."""


class RunningSteps:
    """The steps of a machine's only job. A step runs as long as the process that an agent made for it."""

    def __init__(self, tracer: Tracer, scope: int, above: Above, ran_before: Container[ProcessKey]) -> None:
        """`scope` is the job's, and `above` are the processes that started the watch.

        `ran_before` are the processes that ran when the watch began, with their start times by /proc.
        """
        self._tracer = tracer
        self._scope = scope
        self._has_agent = above.agent is not None
        self._starters = set(above.up_to_agent) - {above.agent}
        self._ran_before = ran_before
        self._firsts: dict[int, ProcessKey | None] = {}
        """The process that each step began with, by the step's number; None where it has ended."""

    def have(self, process: ProcessKey) -> bool:
        """Whether `process` is known to be of a step that still runs."""
        entry = self._tracer.scopes.entry(process)
        if entry is None:
            return False
        # Only processes that ran before the watch, below no known agent, have no number; nor have their
        # descendants.
        first = self._first_of(entry.early) if entry.early else process
        return first is not None and is_running(first) and self._is_below_agent(first)

    def _first_of(self, number: int) -> ProcessKey | None:
        if number not in self._firsts:  # no step begins later than one of its processes
            self._firsts.update(self._tracer.processes.firsts_of_steps())
        return self._firsts.setdefault(number, None)

    def _is_below_agent(self, process: ProcessKey) -> bool:
        """Whether `process` is below an agent, and the agent made the topmost process between them.

        Where no agent is known, any process that isn't held may be an agent, apart from init.
        """
        top = process.pid
        for above in ancestors(process.pid):
            entry = self._tracer.scopes.entry_at(above.pid)
            if entry is None:
                return False
            if entry.standing == wire.STANDING_AGENT:
                return self._is_made_by(above, top)
            if self._tracer.scopes.held_as(entry) != self._scope:
                return not self._has_agent and above.pid != _INIT and self._is_made_by(above, top)
            top = above.pid
        return False

    def _is_made_by(self, agent: ProcessKey, pid: int) -> bool:
        """Whether `agent`, the parent of `pid`, is known to have made it, too.

        Nobody saw who made a process that ran before the watch. Below a process that started the watch, it is
        of the same step. But if its parent is the known agent, a step that is over may have made it.
        """
        if ProcessKey(pid, started_ns(pid) or 0) in self._ran_before:
            return not self._has_agent or agent in self._starters
        entry = self._tracer.scopes.entry_at(pid)
        if entry is None or is_to_the_tick(entry.started_ns):
            return False  # the entry was made later than the process, by the parent at that time
        return entry.early == step_number(ProcessKey(pid, entry.started_ns))
