"""How long a job lasts that nobody says the end of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.events import ProcessKey
from exporter.jobs.model import Job
from exporter.processes import Census
from exporter.summary import Summary

IDLE_S = 30.0
"""How long after its last process a job is over."""
SETTLE_S = 3.0
"""The same where its worker is gone, too: time for what the kernel counted, and for the next worker."""
ROWS_MAX = 200
"""Rows in the summary of each; that of the host, which nobody reads, has none."""
QUIET_S = 600.0
"""How long a job whose worker is gone lasts while processes of it run and nothing is seen of them."""

_NS = 1_000_000_000


class JobKey(NamedTuple):
    """What makes two processes those of one job; a TRACEPARENT, which any of them may set, doesn't."""

    job_span_id: int
    run_hash: int
    """Of the run's id."""


@dataclass
class Watched:
    """A job that goes on; times in nanoseconds since boot."""

    key: JobKey
    job: Job
    summary: Summary
    workers: set[ProcessKey] | None
    """What started its first processes, those that run; None when that isn't known."""
    began_ns: int
    seen_ns: int
    """When a process of it was last there."""
    stirred_ns: int
    """When something of it was last seen to happen."""
    census: Census = field(default_factory=lambda: Census(0, 0))
    """What ran at the last look."""
    attempts: int = 0
    """Up to the last look."""
    tenant: ProcessKey | None = None
    """Whose room it takes (exporter/tenants.py); None: nobody knows."""

    def join(self, worker: ProcessKey | None, at_ns: int) -> None:
        """Another of its first processes is there, started by `worker`: a step, however short."""
        self.seen_ns = self.stirred_ns = at_ns
        if self.workers is not None and worker is not None:
            self.workers.add(worker)

    def look(self, census: Census, is_running: Callable[[ProcessKey], bool], now_ns: int) -> None:
        """See what there is of it now."""
        if self.workers is not None:
            self.workers = {*filter(is_running, self.workers)}
        attempts = self.summary.totals()[1]
        if census.running or attempts != self.attempts:
            self.seen_ns = now_ns
        if (census, attempts) != (self.census, self.attempts):
            self.census, self.attempts, self.stirred_ns = census, attempts, now_ns

    def is_over(self, now_ns: int) -> bool:
        """By the last look.

        A worker that is gone isn't enough while something runs: the one of a container ends when the
        container has begun, and so does a step's that goes on by itself.
        """
        has_no_worker = self.workers is not None and not self.workers
        if self.census.running:
            return has_no_worker and now_ns - self.stirred_ns >= QUIET_S * _NS
        return now_ns - self.seen_ns >= (SETTLE_S if has_no_worker else IDLE_S) * _NS
