"""Find the jobs that processes are roots of, by the environments that the processes were executed with."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from exporter.events.environments import contested, names_one_of, part_of, variables
from exporter.events.facts import Environment, ProcessKey
from exporter.events.programs import Program
from exporter.events.wire import STANDING_MARKED_STEP, STANDING_STEP
from exporter.jobs.claims import marked
from exporter.jobs.detect import MARKS, Outline, described, outlined, recognise, recognised, step_of
from exporter.jobs.ids import CONTEXT_VARIABLES
from exporter.jobs.model import Job
from exporter.jobs.providers import PROVIDERS, VARIABLES, Provider
from exporter.jobs.sources import read
from exporter.kernel.maps.registry import run_hash
from exporter.pipeline.blind_spots import PROXY_VARIABLES
from exporter.pipeline.tampering import BLANKED, CONTRADICTING

from .agents import PROGRAMS, system_of
from .watched_job import JobKey, key_of

_STEPS = (STANDING_STEP, STANDING_MARKED_STEP)
_VOUCHING = {provider.name for provider in PROVIDERS if provider.agents}
"""The CI systems whose agents vouch for their steps."""
_BESIDE = {provider.name: {provider.name, *provider.beside} for provider in PROVIDERS}
"""By CI system, the systems whose marks its jobs may have."""


class Identified(NamedTuple):
    """A job, as the environment of one of its roots names it; nothing in it is redacted."""

    key: JobKey
    outline: Outline

    @property
    def job(self) -> Job:
        """The job without its names."""
        return self.outline.job


class Roots:
    """A reader of environments that finds the jobs they name."""

    def __init__(self, job_env: str | None) -> None:
        """`job_env` names a variable by which jobs are known besides those of the known CI systems."""
        self._job_env = job_env
        named = [job_env] if job_env else []
        self._tells = names_one_of([*MARKS, *named])
        self._variables = frozenset(name.encode() for name in VARIABLES.union(named))
        self._wanted = self._variables.union(name.encode() for name in (*CONTEXT_VARIABLES, *PROXY_VARIABLES))
        self._latest: tuple[bytes, dict[str, str], bool] = (b"", {}, False)

    def identify(self, event: Environment, worker: Program | None) -> Identified | None:
        """Find the job whose root the process in `event`, made by `worker`, is; None when there is none.

        When the environment is cut, or has a variable twice, it may name other facts, too: then the job is
        partial. When it was read from /proc, the process may have written it itself: then nobody vouches for
        the job. This takes some 100 µs, whatever the environment.
        """
        if not self._tells(event.block):
            return None
        environ, is_contested = self._read(event.block)
        job_env = self._job_env_in(environ)
        provider = recognise(environ)
        if job_env is None and provider is None:
            return None
        job, run_id = _outlined(environ, job_env, worker.process if worker else None)
        # A process that its agent didn't make has variables of its author's choice, as in a container that
        # an engine made.
        is_agents = provider is not None and _is_step_of(event, worker, provider)
        is_partial = event.is_cut or is_contested
        is_vouched = job.is_vouched and is_agents and not is_partial and not event.is_from_proc
        if provider and event.standing in _STEPS and system_of(event.agent) == provider.name:
            job = replace(job, besides=())  # made by that system's agent, so not a job of a system beside it
        job = replace(job, is_vouched=is_vouched, is_partial=is_partial)
        return Identified(key_of(job, job.ids.job_span_id, run_hash(run_id)), Outline(job, run_id))

    def describe(self, event: Environment, outline: Outline) -> tuple[Job, Mapping[str, str]]:
        """Return the job of `outline` as telemetry names it, and the variables of `event` that were read.

        This takes some 30 ms if texts are long.
        """
        environ, _ = self._read(event.block)
        return described(outline, environ, job_env=self._job_env_in(environ)), environ

    def step_of(self, event: Environment) -> str | None:
        """Return the CI system's name for the step of the process in `event`, redacted; None without one."""
        environ, _ = self._read(event.block)
        return step_of(environ, job_env=self._job_env_in(environ))

    def awaits_worker(self, event: Environment, worker: Program) -> bool:
        """Whether `worker` may turn out to be an agent that vouches for the process in `event`.

        The kernel says that an agent made the process; `worker` may be the program that this process ran
        before it became the agent.
        """
        is_step = event.standing in _STEPS and system_of(event.agent) in _VOUCHING
        return is_step and worker.name not in PROGRAMS

    def doubt(self, block: bytes, system: str | None) -> int:
        """Return the kind of variables in `block` that no agent gives to its steps; 0 when there are none.

        The kinds are the keys of tampering.MARKS. `system` is the CI system of the agent that started the
        process; None when it isn't known.
        """
        if not self._tells(block):
            return 0
        environ, is_contested = self._read(block)
        if is_contested:
            return CONTRADICTING
        found = [provider.name for provider in recognised(environ)]
        if not found:
            return BLANKED if any(marked(environ)) else 0
        is_anothers = system is not None and found[0] not in _BESIDE[system]
        return CONTRADICTING if is_anothers or not _BESIDE[found[0]].issuperset(found) else 0

    def _read(self, block: bytes) -> tuple[dict[str, str], bool]:
        """Return the variables of a block that are read here, and whether a job's variable has two values.

        The latest block is read only once.
        """
        if block is not self._latest[0]:
            part = part_of(block, self._wanted)
            self._latest = block, variables(part), contested(part, self._variables)
        return self._latest[1:]

    def _job_env_in(self, environ: Mapping[str, str]) -> str | None:
        return self._job_env if self._job_env and read(self._job_env, environ) else None


def _outlined(environ: Mapping[str, str], job_env: str | None, worker: ProcessKey | None) -> Outline:
    """Find the job of `environ`. If the CI system gives no run id, all steps of one worker are one run."""
    run_id = f"{worker.pid}.{worker.started_ns}" if worker else uuid.uuid4().hex
    return outlined(environ, job_env=job_env, new_run_id=lambda: run_id)


def _is_step_of(event: Environment, worker: Program | None, provider: Provider) -> bool:
    """Whether an agent of `provider` made the process, by the kernel's record and by the agent's executable.

    Either alone isn't enough: anybody may choose an executable's name, as in a container, and one kind of
    agent may run steps of several systems.
    """
    is_step = event.standing in _STEPS
    is_ones = system_of(event.agent) == provider.name
    return is_step and is_ones and _is_agent(worker, provider.agents)


def _is_agent(worker: Program | None, agents: Collection[str]) -> bool:
    """Whether `worker` is one of `agents`, by its executable; an agent below another is a job's imitation."""
    if worker is None or worker.name not in agents:
        return False
    above = worker.parent
    while above is not None:
        if above.name in agents:
            return False
        above = above.parent
    return True
