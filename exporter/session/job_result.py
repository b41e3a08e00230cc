"""The messages at the end of a job: its summary, where its telemetry is, and the losses and problems."""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.common.errors import FAIL_ON_STATUS, LOST_STATUS
from exporter.jobs.model import Job
from exporter.otlp.settings import Destinations
from exporter.otlp.telemetry import Telemetry
from exporter.pipeline.account import Account
from exporter.pipeline.ruling import DENIED, WOULD_DENY
from exporter.pipeline.summary import Summary

from .messages import Messages
from .settings import ReportConfig
from .shared_messages import drops


@dataclass(frozen=True)
class JobResult:
    """A job that is over."""

    title: str
    """The title of its summary."""
    job: Job
    summary: Summary
    account: Account
    telemetry: Telemetry
    destinations: Destinations
    losses: Sequence[str] = ()
    """Lost records of its processes, a line for each kind."""
    failings: Sequence[str] = ()
    """Why the run fails although COMMAND succeeded, a line each."""
    remarks: Sequence[str] = ()
    """Further notes for people, a line each."""

    def tell(self) -> None:
        """Print the result to stderr: problems, failings, then the summary; the account is the last line."""
        messages = Messages.current()
        for problem in (*drops(self.account), *self.losses, *self.telemetry.complaints()):
            messages.say(problem, level=logging.WARNING)
        for failing in self.failings:
            messages.say(failing, level=logging.ERROR)
        if self.destinations.disabled:
            messages.say("OTEL_SDK_DISABLED is set: nothing was exported", level=logging.WARNING)
        trace_id = f"{self.job.ids.trace_id:032x}"
        notes = self.telemetry.notes()
        if messages.as_json:
            account = self.account.fields()
            messages.say(
                "summary", trace_id=trace_id, account=account, summary=self.summary.fields(), notes=notes
            )
            return
        places = ", ".join(self.destinations.shown) or "nowhere"
        self.summary.print(
            sys.stderr,
            account=str(self.account),
            title=f"egress of {self.title}",
            notes=[*notes, *self.remarks, f"trace {trace_id} → {places}"],
        )

    def exit_status(self, command_status: int, *, is_strict: bool) -> int:
        """Return the exit status: COMMAND's own if it failed, else that for losses or that for failings.

        Lost telemetry and dropped attempts count only with `is_strict`.
        """
        has_losses = self.telemetry.has_losses or any(self.account.dropped.values())
        if command_status == 0 and is_strict and has_losses:
            return LOST_STATUS
        return FAIL_ON_STATUS if command_status == 0 and self.failings else command_status


def policy_notes(ruleset: str | None, summary: Summary, account: Account, *, is_enforced: bool) -> list[str]:
    """Return a line about a policy that no attempt was against: no other line would mention the policy."""
    if ruleset is None or summary.against[DENIED] or summary.against[WOULD_DENY]:
        return []
    how = "enforced: nothing was denied" if is_enforced else "in audit: it would have denied nothing"
    known = " of what is known" if any(account.dropped.values()) else ""
    return [f"policy {ruleset}, {how}{known}"]


def tree_hints(destinations: Destinations, summary: Summary, reports: ReportConfig) -> list[str]:
    """Return a hint how to make a report, for a user who asked for none and has files to make it of."""
    folder, (_, attempts) = destinations.folder, summary.totals()
    if folder is None or reports.report is not None or not attempts:
        return []
    return [f"who started whom: {_as_called()} report {shlex.quote(folder)} --report report.html"]


def _as_called() -> str:
    """Return this program as a shell finds it: by its name where PATH leads to it, else by its path."""
    name, path = "ci-egress", Path(sys.argv[0])
    found = shutil.which(name)
    if path.name != name or (found and path.exists() and path.samefile(found)):
        return name
    return shlex.quote(str(path))
