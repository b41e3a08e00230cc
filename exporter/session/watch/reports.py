"""Documents of a watch for people: a summary of each job as it ends, and a report when the watch ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.jobs.model import Job
from exporter.pipeline.account import Account
from exporter.pipeline.summary import Summary
from exporter.session.reports import Reporting

from .inputs import WatchInputs

if TYPE_CHECKING:
    from exporter.report.sheet import Sheet

_OF_ALL = "the account is of all jobs, as far as this watch has told of them by then"


class WatchReporting:
    """The summaries and the report of a watch.

    The summary of a job is written when the job ends. Summaries of jobs that end with the watch are written
    together, with the final account.
    """

    def __init__(self, reporting: Reporting, given: WatchInputs, account: Callable[[], Account]) -> None:
        """`account` is called whenever a job ends."""
        self._reporting, self._given, self._account = reporting, given, account
        self._is_ending = False
        self._sheets: list[Sheet] = []

    def over(self, job: Job, summary: Summary) -> None:
        """Write the summary of a job that is over; once the watch ends, keep it for `finish`."""
        if not self._reporting.wants_summary:
            return
        from exporter.report.sheet import sheet_of_run

        _, policy, baseline, *_ = self._given
        mode, today = policy.of(job).mode.value if policy else None, datetime.now(UTC).date()
        sheet = sheet_of_run(job.display_name, job, summary, mode=mode, baseline=baseline, day=today)
        if self._is_ending:
            self._sheets.append(sheet)
        else:
            self._reporting.summarise([sheet], _settled(self._account()), [_OF_ALL])

    def ending(self) -> None:
        """From now on, leave the summaries of jobs that end to `finish`."""
        self._is_ending = True

    def finish(self, account: Account) -> None:
        """Write the remaining summaries and the report, with the account of all jobs."""
        self._reporting.summarise(self._sheets, account)
        _, policy, baseline, *_ = self._given
        self._reporting.report(account, baseline=baseline, policy=policy.policy if policy else None)


def _settled(account: Account) -> Account:
    """Return `account` without pending attempts: they are of other jobs, or are settled in a moment."""
    return replace(account, attempts=account.attempts - sum(account.pending.values()), pending={})
