"""The places of jobs in their traces: each job has a span of its own, whatever ids its processes have."""

from __future__ import annotations

from exporter.jobs.ids import further_part, joined_late
from exporter.jobs.model import TraceIds

from .watched_job import JobKey

TOLD_MAX = 4096
"""The most jobs that are remembered when they are over, in case they go on."""
SPANS_MAX = 8192
"""The most ids of jobs' spans that are remembered, so that none is used twice."""


class SpanIds:
    """A record of the ids of jobs' spans: those of jobs that are over, by job, and all that were used."""

    def __init__(self) -> None:
        """Begin with no job."""
        self._over: dict[JobKey, TraceIds] = {}
        self._used: dict[int, None] = {}

    def of(self, key: JobKey, ids: TraceIds, began: str, *, ran_before: bool) -> TraceIds:
        """Return the ids of a job's spans: `ids`, unless a span with these was or may have been sent.

        A span may have been sent if the job `ran_before` this watch, perhaps under another watch, or if
        another job has the same ids. `began` differs for each part of a job.
        """
        if key in self._over:
            return further_part(self._over[key], began)
        if ran_before or ids.job_span_id in self._used:
            return joined_late(ids, began)
        return ids

    def use(self, ids: TraceIds) -> None:
        """Note that a job has `ids`."""
        self._used[ids.job_span_id] = None
        if len(self._used) > SPANS_MAX:
            del self._used[next(iter(self._used))]

    def end(self, key: JobKey, ids: TraceIds) -> None:
        """Note that the job of `key`, whose ids were `ids`, is over."""
        self._over.pop(key, None)
        self._over[key] = ids
        if len(self._over) > TOLD_MAX:
            del self._over[next(iter(self._over))]
