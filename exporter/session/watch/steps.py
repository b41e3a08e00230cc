"""Enter agents and steps into the kernel's maps, and release processes that belong to no job.

Steps are held to a policy until their job is known.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import NamedTuple

from exporter.events import wire
from exporter.events.facts import HOST, Environment, ProcessKey
from exporter.kernel.tracer import Tracer
from exporter.pipeline.procfs import everyone

from .agents import KNOWN, Above, Agent, agent_of, marks, number_of

_WALKS_MAX = 20
"""The most walks through all processes. As a rule, the third walk finds nothing new: a child of a step that
was found is a step from its fork on."""
_FIRST_WALKS = 2
"""The walks before the programs are attached. The second is quick, so few processes are made during it."""
_INIT = 1
"""The pid of init. It is above the watch, but no agent: it makes the host's own services, too."""


class Standing(NamedTuple):
    """How a process relates to jobs: it is an agent, which starts jobs, a step of a job, or neither."""

    standing: int
    """One of wire.STANDING_*."""
    agent: int = 0
    """Number of the kind of agent that the process is, or is below; 0 for a kind that isn't known."""


NOBODY = Standing(wire.STANDING_NONE)


class Steps:
    """The agents and steps of a watch. Steps are held to a policy only where one is enforced."""

    def __init__(
        self,
        tracer: Tracer,
        named: Collection[Agent],
        job_env: str | None,
        above: Above,
    ) -> None:
        """`named` are agents besides those in KNOWN; `job_env` names the variable that has a job's id.

        `above` are the processes that started the watch: up to the job's agent, each counts as an agent.
        """
        self._tracer = tracer
        self._agents: frozenset[Agent] = frozenset((*KNOWN, *named))
        self._marks = marks(job_env)
        self._above = {process for process in above.up_to_agent if process.pid != _INIT}
        self._has_agent = above.agent is not None
        self._beyond = set(above.everyone).difference(above.up_to_agent)
        self._found: dict[int, Standing] = {}
        """The standings that the walk through all processes found so far, by pid."""
        self._looked_at: dict[ProcessKey, Agent | None] = {}
        """The agent that each process is, by /proc; None for other processes."""
        self.ran_before: set[ProcessKey] = set()
        """The processes that ran when the watch began, or were made while it looked for them."""

    def begin(self) -> None:
        """Write agents, variables by which jobs are known, and the running processes to the kernel's maps.

        Call it before the programs are attached, unless they are adopted. A process without an entry that the
        programs meet then has an ancestor with an entry. So it is held if it is a step, even if its parents
        end before anybody finds them.
        """
        agents = {agent.key: number_of(agent) for agent in self._agents}
        self._tracer.processes.know_steps(agents, self._marks)
        if self._tracer.is_adopted:
            return
        for _ in range(_FIRST_WALKS):
            for process, parent_pid in everyone():
                if process.pid != os.getpid():
                    self._tracer.processes.find(process, *self.standing(process, parent_pid))
        self._found, self._looked_at = {}, {}  # until the programs are attached, anybody may become an agent
        self._tracer.processes.all_are_found()

    def find_again(self) -> None:
        """Find the agents and steps among the running processes, walk by walk, until one finds no more.

        Processes fork meanwhile: the children that a step made before it was found must be found, too.
        """
        for _ in range(_WALKS_MAX):
            self._found = {}
            if not sum(self._find(*each) for each in everyone()):
                break
        self._tracer.processes.forget_found()

    def _find(self, process: ProcessKey, parent_pid: int) -> bool:
        if process.pid == os.getpid():
            return False
        standing = self.standing(process, parent_pid)
        return standing != NOBODY and self._tracer.processes.find(process, *standing)

    def standing(self, process: ProcessKey, parent_pid: int) -> Standing:
        """Return the standing of a process that ran before the watch; call it for parents first.

        Processes below the job's agent are steps, except those that started the watch. If no agent is known,
        children that the processes above the watch have already are no steps: anybody's shell may have
        started the watch.
        A process above the job's agent may make the next agent, too, which is then known by its name. So the
        process must not be an agent itself: whatever an agent makes is a step.
        """
        self.ran_before.add(process)
        if process in self._above:
            starter = Standing(wire.STANDING_AGENT)
            self._found[process.pid] = starter if self._has_agent else NOBODY
            return starter
        if process in self._beyond:
            return NOBODY
        found = self._found.get(parent_pid, NOBODY)
        if found.standing == wire.STANDING_AGENT:
            found = found._replace(standing=wire.STANDING_STEP)
        elif found == NOBODY and (agent := self._agent_of(process)) is not None:
            found = Standing(wire.STANDING_AGENT, number_of(agent))
        self._found[process.pid] = found
        return found

    def _agent_of(self, process: ProcessKey) -> Agent | None:
        if process not in self._looked_at:
            self._looked_at[process] = agent_of(process.pid, self._agents, self._marks)
        return self._looked_at[process]

    def is_agent(self, process: ProcessKey) -> bool:
        """Whether `standing` found that `process` runs an agent."""
        return self._found.get(process.pid, NOBODY).standing == wire.STANDING_AGENT

    def decide(self, event: Environment, scope: int) -> None:
        """Enter the process of `event` into `scope`; release it when that is HOST, since it is of no job.

        A step whose job isn't known stays held. So does a process whose environment wasn't read as a whole,
        or was read so late that the process may have written it itself.
        """
        if scope != HOST:
            self._tracer.scopes.adopt(event.process, event.exec_id, scope)
        elif event.standing >= wire.STANDING_MARKED and self._may_let_go(event):
            self._tracer.scopes.release(event.process, event.exec_id)

    def _may_let_go(self, event: Environment) -> bool:
        """Whether no step is held, or the environment is whole and can't be of the process's own making."""
        return not self._tracer.frames.undecided or not (event.is_cut or event.is_from_proc)
