"""Whose room a job takes: what an agent, an engine or init has made has some of its own, each of them.

A job chooses its ids, and one step can have its programs say any number of them. So jobs are counted by the
topmost process that they came from, by who created whom, which nobody can choose.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import dropwhile
from typing import Protocol

from exporter.events import ProcessKey
from exporter.programs import Program

KEPT = 64
"""Jobs that each tenant has room for, as long as there is any; half of the room is for who needs more."""
AGENT_DEPTH_MAX = 64
"""Programs above an agent and it: what is below can make its chain as long as it likes."""

_INIT = 1
_ENGINES = frozenset({"containerd", "crio", "dockerd", "k3s", "k3s-server", "podman", "rke2"})
"""They make the shim of each container, or pod."""


class Counted(Protocol):
    """A job, as far as it matters here."""

    tenant: ProcessKey | None


def tenant_of(
    maker: Program, made: ProcessKey, is_agent: Callable[[ProcessKey], bool], *, is_sure: bool
) -> ProcessKey | None:
    """Whose room that takes which `maker` made `made` for; None: nobody knows.

    That is the process right below the topmost agent, or where there is none, below init and its engines;
    `made` where these made it themselves. With `is_sure` false some between them may not be known: then what
    is below one agent is counted as one.
    """
    chain = _chain(maker)
    places = range(min(len(chain), AGENT_DEPTH_MAX))
    agent = next((place for place in places if is_agent(chain[place].process)), None)
    if not is_sure:
        return None if agent is None else chain[agent].process
    below = dropwhile(_makes_for_others, chain) if agent is None else chain[agent + 1 :]
    return next((program.process for program in below), made)


def has_room(jobs: Collection[Counted], most: int, tenant: ProcessKey | None) -> bool:
    """Whether `tenant` may have one more of `most`, where there are `jobs`."""
    if is_plenty(jobs, most):
        return True
    return len(jobs) < most and sum(job.tenant == tenant for job in jobs) < KEPT


def is_plenty(jobs: Collection[Counted], most: int) -> bool:
    """Whether whoever it is may have one more."""
    return len(jobs) < most // 2


def _chain(program: Program) -> list[Program]:
    """From the topmost that is known to `program`."""
    chain = [program]
    while (above := chain[-1].parent) is not None:
        chain.append(above)
    return chain[::-1]


def _makes_for_others(program: Program) -> bool:
    return program.process.pid == _INIT or program.name in _ENGINES
