"""Which processes are roots of a job, and of which: told by the environment that they were executed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from exporter.environments import names_one_of, variables
from exporter.events import ProcessKey
from exporter.jobs.detect import MARKS, detect, families, is_blanked, recognise, step_of
from exporter.jobs.model import Job
from exporter.jobs.sources import read
from exporter.kernel.registry import run_hash
from exporter.tampering import BLANKED, CONTRADICTING
from exporter.watched import JobKey


class Identified(NamedTuple):
    """A job, as the environment tells it that one of its first processes was executed with."""

    key: JobKey
    job: Job
    environ: Mapping[str, str]
    step: str | None
    """What the CI system calls what this process does."""


class Roots:
    """Tells them."""

    def __init__(self, job_env: str | None) -> None:
        """`job_env` names a variable that makes a job of whatever has it, besides the known CI systems."""
        self._job_env = job_env
        self._telling = names_one_of([*MARKS, *([job_env] if job_env else [])])

    def identify(self, block: bytes, worker: ProcessKey | None) -> Identified | None:
        """The job of which who was executed with `block`, by `worker`, is a root; None: of none."""
        if not self._telling.search(block):
            return None
        environ = variables(block)
        job_env = self._job_env if self._job_env and read(self._job_env, environ) else None
        if job_env is None and not recognise(environ):
            return None
        job = _detect(environ, job_env, worker)
        key = JobKey(job.ids.job_span_id, run_hash(job.run_id))
        return Identified(key, job, environ, step_of(environ, job_env=job_env))

    def doubt(self, block: bytes, system: str | None) -> int:
        """What `block` has that no agent gives its steps (tampering.MARKS); 0: nothing.

        `system` is the CI system of who started it; None: it isn't known.
        """
        if not self._telling.search(block):
            return 0
        environ = variables(block)
        found = families(environ)
        if len(found) > 1 or (found and system and system not in found):
            return CONTRADICTING
        return BLANKED if not found and is_blanked(environ) else 0


def _detect(environ: Mapping[str, str], job_env: str | None, worker: ProcessKey | None) -> Job:
    """A system that gives its runs no id gives them a worker: the steps below it are one run."""
    if worker is None:
        return detect(environ, job_env=job_env)
    return detect(environ, job_env=job_env, new_run_id=lambda: f"{worker.pid}.{worker.started_ns}")
