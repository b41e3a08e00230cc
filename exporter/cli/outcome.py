"""What is said when a job is over: the summary, where the telemetry is, and what went wrong on the way."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from exporter.account import Account
from exporter.cli.messages import Messages
from exporter.jobs.model import Job
from exporter.otlp import Destinations, Telemetry
from exporter.summary import Summary


def tell(
    summary: Summary,
    account: Account,
    telemetry: Telemetry,
    destinations: Destinations,
    job: Job,
    *,
    losses: Sequence[str] = (),
) -> None:
    """Say it on stderr; the account is the last line. `losses` are what got lost of the processes."""
    messages = Messages.current()
    for complaint in (*losses, *telemetry.complaints()):
        messages.say(complaint, level=logging.WARNING)
    if destinations.disabled:
        messages.say("OTEL_SDK_DISABLED is set: nothing was exported", level=logging.WARNING)
        where: list[str] = []
    else:
        where = [f"trace {job.ids.trace_id:032x} → {', '.join(dict.fromkeys(destinations.shown))}"]
    if messages.as_json:
        messages.say("summary", **summary.fields(), account=account.fields(), trace_id=f"{job.ids.trace_id:032x}")
    else:
        summary.print(sys.stderr, account=str(account), title=f"egress of {job.display_name}", notes=where)
