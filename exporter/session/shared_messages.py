"""Messages that several commands have in common."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer
from typing import Any

from exporter.jobs.model import Job
from exporter.otlp.telemetry import FLUSH_TIMEOUT_S
from exporter.pipeline.account import Account

from .messages import Messages, warn

_PATIENCE_S = 1.0


def warn_of_ignored(variables: list[str]) -> None:
    """Warn of `variables` of OpenTelemetry, which have no effect, if there are any."""
    if variables:
        warn(f"ignored: {', '.join(variables)}: evidence is neither sampled nor limited")


def tell_act(_: Job, told: str, *, level: int = logging.ERROR, **fields: Any) -> None:
    """Print a line about an act of the only job, done or denied; `fields` appear in JSON only."""
    Messages.current().say(told, level=level, has_label=False, **fields)


def tell_act_of(job: Job, told: str, **fields: Any) -> None:
    """Print a line about an act of `job`, one of many, done or denied; the line names the job."""
    tell_act(job, f"{told}, {job_label(job)}", job=job.display_name, run_id=job.run_id, **fields)


def job_label(job: Job) -> str:
    """Return a job's name with that of its pipeline, to tell it from other jobs."""
    return f"job {job.display_name} of {job.pipeline or job.provider}"


@contextmanager
def saying_long_flush() -> Iterator[None]:
    """Print a message when the flush in the block takes more than a second.

    No signal cuts the flush short, so the user should know what the command waits for.
    """
    told = f"sending the rest of the telemetry, for {FLUSH_TIMEOUT_S:.0f} s at most"
    timer = Timer(_PATIENCE_S, Messages.current().say, (told,))
    with suppress(RuntimeError):  # no thread can be started: then there is no message
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if timer.ident is not None:
            timer.join()  # so that its line can't come after the account


def tell_fault(traceback: str, lost: str = "that event") -> None:
    """Print that ci-egress has a bug, with its traceback, and goes on without `lost`."""
    Messages.current().say(
        f"a fault of ci-egress: it goes on without {lost}; please report this",
        level=logging.ERROR,
        detail=traceback,
    )


def drops(account: Account) -> Iterator[str]:
    """Yield how many attempts were dropped, a line for each stage and error type."""
    for (stage, error_type), attempts in sorted(account.dropped.items()):
        yield f"{attempts} of {account.attempts} attempts were dropped ({stage}: {error_type})"
