"""Jobs of a host, found by the environment of their processes and ended when nothing is left of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from exporter.environments import variables
from exporter.events import HOST, Environment
from exporter.jobs.detect import detect, host, recognise
from exporter.jobs.model import Job
from exporter.pipeline import Outlets, Pipeline, TracedJob, traced_job
from exporter.programs import Program
from exporter.summary import Summary

IDLE_S = 30.0
"""How long a job lasts after its last process, unless its worker is gone: then it ends at once."""
HOST_TRACE_S = 3600.0
"""How long one trace takes in what belongs to no job."""

_NS = 1_000_000_000


@dataclass
class _Watched:
    job: Job
    summary: Summary
    worker: Program | None
    """What started the job's first process."""
    seen_ns: int
    """When a process of it was last there."""

    def is_over(self, now_ns: int) -> bool:
        worker_is_gone = self.worker is not None and self.worker.ended_ns is not None
        return worker_is_gone or now_ns - self.seen_ns >= IDLE_S * _NS


class JobWatch:
    """Every job that runs on this host, each in its own trace, and one more for what belongs to none."""

    def __init__(
        self,
        outlets: Outlets,
        *,
        job_env: str | None,
        on_begin: Callable[[Job], None],
        on_end: Callable[[Job, Summary], None],
    ) -> None:
        """`job_env` names a variable that makes a job of whatever has it, besides the known CI systems."""
        self._outlets = outlets
        self._job_env = job_env
        self._on_begin = on_begin
        self._on_end = on_end
        self._scopes = count(HOST + 1)
        self._watched: dict[int, _Watched] = {}
        self._host_since_ns = 0

    def begin(self, pipeline: Pipeline, now_ns: int) -> None:
        """Watch for jobs, to be told to `pipeline`."""
        self._pipeline = pipeline
        self._host_since_ns = now_ns
        self._pipeline.begin(HOST, self._host(now_ns), takes_rest=True)

    def discover(self, event: Environment, program: Program) -> int | None:
        """The scope of the job that `program` is a root of; None when it is of none."""
        environ = variables(event.block)
        if not recognise(environ) and not (self._job_env and environ.get(self._job_env)):
            return None
        worker = program.parent
        job = self._detect(environ, worker)
        for scope, watched in self._watched.items():
            if watched.job.ids.job_span_id == job.ids.job_span_id and watched.job.run_id == job.run_id:
                return scope
        scope = next(self._scopes)
        summary = Summary(environ)
        self._watched[scope] = _Watched(job, summary, worker, event.at_ns)
        self._pipeline.begin(scope, traced_job(job, self._outlets, summary, event.at_ns))
        self._on_begin(job)
        return scope

    def look_around(self, now_ns: int) -> None:
        """End the jobs that are over. Costs as much as there are processes: call it once a second or so."""
        for scope, watched in list(self._watched.items()):
            if self._pipeline.live(scope):
                watched.seen_ns = now_ns
            elif watched.is_over(now_ns):
                self._end(scope, now_ns)
        if now_ns - self._host_since_ns >= HOST_TRACE_S * _NS:
            self._host_since_ns = now_ns
            self._pipeline.renew(HOST, self._host(now_ns))

    def finish(self, now_ns: int) -> None:
        """End all of them: nothing is watched any more."""
        for scope in list(self._watched):
            self._end(scope, now_ns)
        self._pipeline.end(HOST, now_ns)

    def _end(self, scope: int, now_ns: int) -> None:
        watched = self._watched.pop(scope)
        self._pipeline.end(scope, now_ns)
        self._on_end(watched.job, watched.summary)

    def _detect(self, environ: dict[str, str], worker: Program | None) -> Job:
        """A system that gives its runs no id gives them a worker: the steps below it are one run."""
        by_worker = f"{worker.process.pid}.{worker.process.started_ns}" if worker else None
        job_env = self._job_env if self._job_env and environ.get(self._job_env) else None
        new_run_id = {"new_run_id": lambda: by_worker} if by_worker else {}
        return detect(environ, job_env=job_env, **new_run_id)

    def _host(self, now_ns: int) -> TracedJob:
        instance = self._outlets.telemetry.resource.attributes["service.instance.id"]
        return traced_job(host(f"{instance!s}.{now_ns}"), self._outlets, Summary({}), now_ns, is_a_job=False)
