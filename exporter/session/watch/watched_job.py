"""A job of a watch, and how long it lasts, since nobody announces its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.events.facts import ProcessKey
from exporter.jobs.claims import Who
from exporter.jobs.detect import NAMED_BY_USER
from exporter.jobs.model import Job
from exporter.pipeline.processes import Census
from exporter.pipeline.summary import Summary

IDLE_S = 30.0
"""How many seconds after the end of its last process a job is over."""
SETTLE_S = 3.0
"""How many seconds after the end of its last process a job is over if its worker has ended, too.

Meanwhile acts that the kernel only counted still come, and the next worker may begin.
"""
ROWS_MAX = 200
"""The most rows in a job's summary; the summary of the host, which nobody reads, has none."""
QUIET_S = 600.0
"""How many seconds a job lasts whose worker has ended, and whose processes run without any event."""

_NS = 1_000_000_000


class JobKey(NamedTuple):
    """The facts that all processes of a job share. TRACEPARENT isn't one, since any process may set it.

    Ids are public, and any process may have a job's ids. So a process is of that job only if it claims the
    same identity, and is believed as much. Otherwise the first process would decide which policy holds the
    others.
    """

    job_span_id: int
    run_hash: int
    """The hash of the run's id."""
    who: int
    """The identity of Job.who: the job's claims, whether these are vouched for, and if all are known."""

    @property
    def ids(self) -> tuple[int, int]:
        """The two ids without the identity."""
        return self.job_span_id, self.run_hash


def who_counts(job: Job) -> Who:
    """Return the claims of `job` that all of its processes make.

    A job that a user's variable names may group tasks of several names.
    """
    return job.who.unnamed if job.provider == NAMED_BY_USER else job.who


def key_of(job: Job, job_span_id: int, run_hash: int) -> JobKey:
    """Return the key of `job`, which has these ids."""
    return JobKey(job_span_id, run_hash, who_counts(job).identity)


@dataclass
class WatchedJob:
    """A job that goes on; times in nanoseconds since boot."""

    key: JobKey
    job: Job
    summary: Summary
    workers: set[ProcessKey] | None
    """The running processes that started the job's roots; None when they aren't known."""
    began_ns: int
    seen_ns: int
    """When a process of the job was last known to run."""
    stirred_ns: int
    """When a process of the job last did something."""
    census: Census = field(default_factory=lambda: Census(0, 0))
    """The number of the job's programs that ran at the last look, and when the youngest began."""
    attempts: int = 0
    """The job's number of attempts up to the last look."""
    tenant: ProcessKey | None = None
    """The tenant whose room the job takes (tenants.py); None when nobody knows."""

    def join(self, worker: ProcessKey | None, at_ns: int) -> None:
        """Note another root of the job: a step, however short, which `worker` started."""
        self.seen_ns = self.stirred_ns = at_ns
        if self.workers is not None and worker is not None:
            self.workers.add(worker)

    def look(self, census: Census, is_running: Callable[[ProcessKey], bool], now_ns: int) -> None:
        """Note the job's running programs, and whether something happened since the last look."""
        if self.workers is not None:
            self.workers = {*filter(is_running, self.workers)}
        attempts = self.summary.totals()[1]
        if census.running or attempts != self.attempts:
            self.seen_ns = now_ns
        if (census, attempts) != (self.census, self.attempts):
            self.census, self.attempts, self.stirred_ns = census, attempts, now_ns

    def is_over(self, now_ns: int) -> bool:
        """Whether the job is over, by the last look.

        While a process of the job runs, it isn't enough that the worker has ended: the worker of a container
        ends when the container has begun, and so does the worker of a step that goes on by itself. Then the
        job is over once it was quiet for QUIET_S.
        """
        has_no_worker = self.workers is not None and not self.workers
        if self.census.running:
            return has_no_worker and now_ns - self.stirred_ns >= QUIET_S * _NS
        return now_ns - self.seen_ns >= (SETTLE_S if has_no_worker else IDLE_S) * _NS
