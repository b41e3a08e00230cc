"""What is said when a job is over: the summary, where the telemetry is, and what went wrong on the way."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.account import Account
from exporter.cli.messages import Messages
from exporter.cli.notices import drops
from exporter.errors import FAIL_ON_STATUS, LOST_STATUS
from exporter.jobs.model import Job
from exporter.otlp import Destinations, Telemetry
from exporter.summary import Summary


@dataclass(frozen=True)
class Outcome:
    """A job that is over."""

    title: str
    """What the job is called."""
    job: Job
    summary: Summary
    account: Account
    telemetry: Telemetry
    destinations: Destinations
    losses: Sequence[str] = ()
    """What got lost of its processes, a line each."""
    failings: Sequence[str] = ()
    """Why the run fails although COMMAND succeeded, a line each."""

    def tell(self) -> None:
        """Say it on stderr; the account is the last line."""
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
            notes=[*notes, f"trace {trace_id} → {places}"],
        )

    def exit_status(self, command_status: int, *, is_strict: bool) -> int:
        """COMMAND's own failure comes first; then, when asked for, that evidence got lost; then failings."""
        has_losses = self.telemetry.has_losses or any(self.account.dropped.values())
        if command_status == 0 and is_strict and has_losses:
            return LOST_STATUS
        return FAIL_ON_STATUS if command_status == 0 and self.failings else command_status
