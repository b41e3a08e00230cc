"""How long a job lasts, since nobody says when it ends."""

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
"""How many seconds after its last process a job is over."""
SETTLE_S = 3.0
"""The same when its worker is gone, too: time for what the kernel counted, and for the next worker."""
ROWS_MAX = 200
"""The most rows in a job's summary; that of the host, which nobody reads, has none."""
QUIET_S = 600.0
"""How many seconds a job lasts whose worker is gone while its processes run and nothing is seen of them."""

_NS = 1_000_000_000


class JobKey(NamedTuple):
    """What all processes of a job have in common. TRACEPARENT isn't in it, since any of them may set that.

    Ids are public, and any process may have those of a job. So it is of that job only if it says the same of
    itself, and is believed the same. Otherwise whoever comes first would say what the others are held to.
    """

    job_span_id: int
    run_hash: int
    """The hash of the run's id."""
    who: int
    """The identity of Job.who: who the job says it is, whether that is vouched for, and if all is known."""

    @property
    def ids(self) -> tuple[int, int]:
        """The ids alone."""
        return self.job_span_id, self.run_hash


def who_counts(job: Job) -> Who:
    """Return what `job` says of itself, as far as all of its processes say it.

    A variable of the user's groups tasks into a job, whatever their names.
    """
    return job.who.unnamed if job.provider == NAMED_BY_USER else job.who


def key_of(job: Job, job_span_id: int, run_hash: int) -> JobKey:
    """Return the key of `job`, of these ids."""
    return JobKey(job_span_id, run_hash, who_counts(job).identity)


@dataclass
class Watched:
    """A job that goes on; times in nanoseconds since boot."""

    key: JobKey
    job: Job
    summary: Summary
    workers: set[ProcessKey] | None
    """The running processes that started its first ones; None when they aren't known."""
    began_ns: int
    seen_ns: int
    """When a process of it was last there."""
    stirred_ns: int
    """When something of it was last seen to happen."""
    census: Census = field(default_factory=lambda: Census(0, 0))
    """How many of its programs ran at the last look, and when the youngest began."""
    attempts: int = 0
    """Its number of attempts up to the last look."""
    tenant: ProcessKey | None = None
    """The tenant whose room it takes (exporter/session/watch/tenants.py); None when nobody knows."""

    def join(self, worker: ProcessKey | None, at_ns: int) -> None:
        """Note another first process of the job, a step, however short, which `worker` started."""
        self.seen_ns = self.stirred_ns = at_ns
        if self.workers is not None and worker is not None:
            self.workers.add(worker)

    def look(self, census: Census, is_running: Callable[[ProcessKey], bool], now_ns: int) -> None:
        """Note what runs of the job now, and whether something happened."""
        if self.workers is not None:
            self.workers = {*filter(is_running, self.workers)}
        attempts = self.summary.totals()[1]
        if census.running or attempts != self.attempts:
            self.seen_ns = now_ns
        if (census, attempts) != (self.census, self.attempts):
            self.census, self.attempts, self.stirred_ns = census, attempts, now_ns

    def is_over(self, now_ns: int) -> bool:
        """Whether the job is over, by the last look.

        While something runs, it isn't enough that the worker is gone: that of a container ends when the
        container has begun, and so does that of a step that goes on by itself. Then the job is over once it
        was quiet for QUIET_S.
        """
        has_no_worker = self.workers is not None and not self.workers
        if self.census.running:
            return has_no_worker and now_ns - self.stirred_ns >= QUIET_S * _NS
        return now_ns - self.seen_ns >= (SETTLE_S if has_no_worker else IDLE_S) * _NS
