"""What may be a job's before that is known: told to the kernel, and let go of again where it isn't."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from exporter import wire
from exporter.agents import KNOWN, Above, Agent, agent_of, marks, number_of
from exporter.events import HOST, Environment, ProcessKey
from exporter.kernel.tracer import Tracer
from exporter.procfs import everyone

_INIT = 1
"""Makes the host's own services, whoever else it has made."""


class Standing(NamedTuple):
    """What a process is to jobs."""

    standing: int
    """wire.STANDING_*."""
    agent: int = 0
    """Which kind of agent it is, or is below, by number."""


NOBODY = Standing(wire.STANDING_NONE)


class Steps:
    """Of a watch. Where no policy is enforced, they are told apart and not held."""

    def __init__(
        self,
        tracer: Tracer,
        named: Collection[Agent],
        job_env: str | None,
        above: Above,
    ) -> None:
        """`named` are agents besides those that are known, and so is what started the watch for the job."""
        self._tracer = tracer
        self._agents: frozenset[Agent] = frozenset((*KNOWN, *named))
        self._marks = marks(job_env)
        self._above = {process for process in above.up_to_agent if process.pid != _INIT}
        self._beyond = set(above.everyone).difference(above.up_to_agent)
        self._found: dict[int, Standing] = {}

    def begin(self) -> None:
        """From now on the kernel knows agents, and what jobs are marked by."""
        agents = {agent.key: number_of(agent) for agent in self._agents}
        self._tracer.know_steps(agents, self._marks)

    def find_again(self) -> None:
        """Of an instance that was adopted: who started before, and is an agent for this watch."""
        for process, parent_pid in everyone():
            if (standing := self.standing(process, parent_pid)) != NOBODY:
                self._tracer.find(process, *standing)

    def standing(self, process: ProcessKey, parent_pid: int) -> Standing:
        """What a process is that ran before; call it with parents first.

        What those above the watch had made by then is no step. What is above the job's agent makes the next
        one, too, which is an agent by its name then: so it may be none itself.
        """
        if process in self._above:
            return Standing(wire.STANDING_AGENT)
        if process in self._beyond:
            return NOBODY
        found = self._found.get(parent_pid, NOBODY)
        if found.standing == wire.STANDING_AGENT:
            found = found._replace(standing=wire.STANDING_STEP)
        elif found == NOBODY and (agent := agent_of(process.pid, self._agents, self._marks)) is not None:
            found = Standing(wire.STANDING_AGENT, number_of(agent))
        self._found[process.pid] = found
        return found

    def is_agent(self, process: ProcessKey) -> bool:
        """Whether it was found to be one."""
        return self._found.get(process.pid, NOBODY).standing == wire.STANDING_AGENT

    def decide(self, event: Environment, scope: int) -> None:
        """Tell the kernel that who executed with that is of `scope`, or that it is of no job.

        A step that nobody can tell the job of stays held, and so does what can't be read as a whole, or was
        read when the process may have written it itself.
        """
        if scope != HOST:
            self._tracer.scopes.adopt(event.process, event.exec_id, scope)
        elif event.standing >= wire.STANDING_MARKED and self._may_let_go(event):
            self._tracer.scopes.release(event.process, event.exec_id)

    def _may_let_go(self, event: Environment) -> bool:
        """Whether that holds nobody, or what was read is all of it, and not of the process's own making."""
        return not self._tracer.frames.undecided or not (event.is_cut or event.is_from_proc)
