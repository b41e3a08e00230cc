"""Messages of a watch when a job begins, and when it is over, with its attempts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from exporter.jobs.model import Job
from exporter.pipeline.summary import Summary
from exporter.session.baselines import warn_of_unknown
from exporter.session.fail_on import Judged
from exporter.session.messages import Messages
from exporter.session.shared_messages import job_label

from .reports import WatchReporting

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline
    from exporter.report.terminal.screen import Screen

_BEGUN_S = 1.0
"""Seconds after which a job's beginning is announced, even if its processes are still found one by one: a
shell without the job's variables may give them to one command after the other, without end."""


class Announcements:
    """The beginnings and ends of jobs, for stderr, the view, the report and --fail-on."""

    def __init__(
        self, view: Screen | None, reports: WatchReporting, baseline: Callable[[], Baseline | None]
    ) -> None:
        """`baseline` returns the baseline that jobs are compared with now."""
        self._view, self._reports, self._baseline = view, reports, baseline
        self.judged = Judged()
        """The attempts of jobs that are over, for --fail-on."""
        self._begun: list[tuple[float, Job]] = []
        """Jobs whose beginning isn't announced yet, each with its time by the monotonic clock."""

    def changed(self, job: Job, summary: Summary | None) -> None:
        """Note that `job` begins; with its `summary`, note that it is over."""
        if self._view is not None:
            self._view.changed(job, is_over=summary is not None)
        if summary is None:
            self._begun.append((time.monotonic(), job))
            return
        self.say_begun(is_settled=True)
        self.judged.add(job, summary)
        told = f"{job_label(job)} ended: {summary.told()}, trace {job.ids.trace_id:032x}"
        Messages.current().say(told, **_known(job), summary=summary.fields())
        self._reports.over(job, summary)

    def say_begun(self, *, is_settled: bool) -> None:
        """Announce jobs that began: all with `is_settled`, else those that have run for a second."""
        while self._begun and (is_settled or time.monotonic() - self._begun[0][0] >= _BEGUN_S):
            _, job = self._begun.pop(0)
            Messages.current().say(f"{job_label(job)} began", **_known(job))
            warn_of_unknown(self._baseline(), job)


def _known(job: Job) -> dict[str, Any]:
    return {"job": job.display_name, "run_id": job.run_id, "trace_id": f"{job.ids.trace_id:032x}"}
