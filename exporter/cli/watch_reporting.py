"""What a watch writes for people: a summary of each job as it ends, and a report when the watch does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.account import Account
from exporter.cli.given import GivenWatch
from exporter.cli.reporting import Reporting
from exporter.jobs.model import Job
from exporter.summary import Summary

if TYPE_CHECKING:
    from exporter.report.sheet import Sheet

_OF_ALL = "the account is of all jobs, as far as this watch has told of them by then"


class WatchReporting:
    """Sheets are written one by one, and those of jobs that last as long as the watch with its account."""

    def __init__(self, reporting: Reporting, given: GivenWatch, account: Callable[[], Account]) -> None:
        """`account` is asked as jobs end."""
        self._reporting, self._given, self._account = reporting, given, account
        self._is_ending = False
        self._sheets: list[Sheet] = []

    def over(self, job: Job, summary: Summary) -> None:
        """A job is over."""
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
        """What is over from now on is written by `finish`."""
        self._is_ending = True

    def finish(self, account: Account) -> None:
        """Write the rest, with the account of it all."""
        self._reporting.summarise(self._sheets, account)
        _, policy, baseline, *_ = self._given
        self._reporting.report(account, baseline=baseline, policy=policy.policy if policy else None)


def _settled(account: Account) -> Account:
    """Without what is on its way: of other jobs that go on, and of this one for a moment."""
    return replace(account, attempts=account.attempts - sum(account.pending.values()), pending={})
