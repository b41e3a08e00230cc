"""Tenants: each process that an agent, an engine or init made has room for some jobs of its own.

A process can name any job in its environment, and one step can start any number of such processes. So jobs
are counted by the topmost process that they descend from, since nobody can choose their ancestors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import dropwhile
from typing import Protocol

from exporter.events.facts import ProcessKey
from exporter.events.programs import Program

KEPT = 64
"""The most jobs of a tenant once half of all room is taken; until then each has as many as it needs."""
AGENT_DEPTH_MAX = 64
"""How many programs of a chain, from the topmost down, are searched for an agent: chains may be endless."""

_INIT = 1
_ENGINES = frozenset({"containerd", "crio", "dockerd", "k3s", "k3s-server", "podman", "rke2"})
"""Executables that make the shim of each container, or pod."""


class Counted(Protocol):
    """A job that takes room."""

    tenant: ProcessKey | None


def tenant_of(
    maker: Program, made: ProcessKey, is_agent: Callable[[ProcessKey], bool], *, is_sure: bool
) -> ProcessKey | None:
    """Return the tenant of a job for which `maker` made the process `made`; None when nobody knows.

    It is the process right below the topmost agent or, if there is none, right below init and engines. It is
    `made` if one of these made it. With `is_sure` False, processes between them may not be known: then
    all processes below one agent count as one tenant, the agent.
    """
    chain = _chain(maker)
    places = range(min(len(chain), AGENT_DEPTH_MAX))
    agent = next((place for place in places if is_agent(chain[place].process)), None)
    if not is_sure:
        return None if agent is None else chain[agent].process
    below = dropwhile(_makes_for_others, chain) if agent is None else chain[agent + 1 :]
    return next((program.process for program in below), made)


def has_room(jobs: Collection[Counted], most: int, tenant: ProcessKey | None) -> bool:
    """Whether `tenant` may have one more job besides `jobs`, where `most` jobs may be in all."""
    if is_plenty(jobs, most):
        return True
    return len(jobs) < most and sum(job.tenant == tenant for job in jobs) < KEPT


def is_plenty(jobs: Collection[Counted], most: int) -> bool:
    """Whether any tenant may have one more job, since less than half of the room is taken."""
    return len(jobs) < most // 2


def _chain(program: Program) -> list[Program]:
    """Return the programs from the topmost that is known down to `program`."""
    chain = [program]
    while (above := chain[-1].parent) is not None:
        chain.append(above)
    return chain[::-1]


def _makes_for_others(program: Program) -> bool:
    return program.process.pid == _INIT or program.name in _ENGINES
