"""On SIGHUP, read policy and baseline again. A file that can't be read, or isn't valid, changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter.common.errors import CiEgressError, FileError, KernelError, UsageError
from exporter.common.limits import limit_hint
from exporter.common.text import counted
from exporter.session.baselines import baseline_of
from exporter.session.job_policy import source_of
from exporter.session.messages import Messages
from exporter.session.settings import WatchConfig

from .faults import told_of
from .job_finder import JobWatch
from .policy_holder import WatchPolicyHolder
from .whole_machine import MachineWatch


def reread(
    config: WatchConfig,
    holder: WatchPolicyHolder,
    jobs: JobWatch | MachineWatch,
    catch_up: Callable[[], object],
) -> None:
    """Read policy and baseline again, apply them to the running jobs, and print the result.

    `catch_up` handles all records that wait.
    """
    if holder.source is None and config.baseline is None:
        Messages.current().say("SIGHUP: there is neither a policy nor a baseline to read again")
    if holder.source is not None:
        _reread("policy", config.policy, lambda: _change_policy(config, holder))
    if config.baseline is not None:
        _reread("baseline", config.baseline, lambda: _change_baseline(config, jobs, catch_up))


def _reread(what: str, file: Path | None, change: Callable[[], int]) -> None:
    """Call `change`, which reads `file` again, and print the result.

    `change` returns the number of jobs to which the new contents apply. An error is printed and not raised:
    the contents that were read before stay in force.
    """
    messages = Messages.current()
    came: dict[str, Any] = {what: "read"}
    try:
        if file is not None and file.is_fifo():  # a daemon waits for no writer
            hint = "let it be a file; a pipe is read at the start alone"
            raise UsageError(f"cannot read the {what} {file} again: it is a pipe", hint=hint)
        jobs = change()
    except (CiEgressError, OSError, MemoryError) as error:
        messages.fail(_as_told(error))
        came[what] = "kept"
        messages.say(f"SIGHUP: the {what} stays as it was", level=logging.ERROR, **came)
        return
    go = f"{counted(jobs, 'job')} {'goes' if jobs == 1 else 'go'}"
    messages.say(f"SIGHUP: read the {what} again, {go} by it", **came, jobs=jobs)


def _as_told(error: Exception) -> CiEgressError:
    if isinstance(error, FileError):
        error.hint = None  # it names a command that shows the errors, which are shown here already
    if isinstance(error, CiEgressError):
        return error
    what = told_of(error)
    return KernelError(what, hint=limit_hint(what))


def _change_policy(config: WatchConfig, holder: WatchPolicyHolder) -> int:
    source = source_of(config)
    assert source is not None  # noqa: S101 - the options have not changed
    return holder.change(source)


def _change_baseline(
    config: WatchConfig, jobs: JobWatch | MachineWatch, catch_up: Callable[[], object]
) -> int:
    baseline = baseline_of(config.baseline)
    assert baseline is not None  # noqa: S101 - likewise
    catch_up()
    return jobs.change_baseline(baseline)
