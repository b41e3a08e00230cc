"""Read the baseline that jobs are compared with, and warn when it has no entry for a job's task."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.common.errors import UsageError

from .messages import warn
from .settings import FailOn

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline
    from exporter.jobs.model import Job

_CHECK_HINT = "`ci-egress baseline show` shows them without starting anything"
"""The hint when a command starts nothing because a file isn't valid; "them" are the errors in it."""


def required_baseline(file: Path | None, fail_on: Collection[FailOn]) -> Baseline | None:
    """Read the baseline of jobs that are to start, as `baseline_of` does.

    Raises UsageError also if `fail_on` has `novel` and there is no file.
    """
    if FailOn.NOVEL in fail_on and file is None:
        raise UsageError("--fail-on novel needs a baseline", hint="name one with --baseline FILE")
    if file is None:
        return None  # without importing the code that reads one
    from exporter.baseline.parse import BaselineError

    try:
        return baseline_of(file)
    except BaselineError as error:
        error.hint = _CHECK_HINT
        raise


def baseline_of(file: Path | None) -> Baseline | None:
    """Read the baseline in `file`; None without a file. Raises UsageError, also if it isn't valid."""
    if file is None:
        return None  # without importing the code that reads one
    from exporter.baseline.parse import load_baseline

    return load_baseline(file)


def warn_of_unknown(baseline: Baseline | None, job: Job) -> None:
    """Warn when `baseline` has no entry for the task of `job`."""
    if baseline is None:
        return
    from exporter.baseline.model import Task

    if Task(job.pipeline or None, job.task or None) not in baseline.tasks:
        names = {"pipeline": job.pipeline, "task": job.task}
        told = ", ".join(f"{what} {name}" for what, name in names.items() if name)
        warn(f"the baseline has nothing of {told or 'a job without names'}: all that it reaches is novel")
