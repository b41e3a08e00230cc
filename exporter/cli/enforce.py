"""`ci-egress enforce`: turn enforcement on and off for jobs that run, and say what is in force."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import click

from exporter.common.console import print_lines
from exporter.common.errors import KernelError
from exporter.common.text import printable
from exporter.session.messages import Messages
from exporter.session.users import caller

from .completion_names import instance_ids, job_names
from .groups import Commands
from .options import NAME, options

if TYPE_CHECKING:
    from exporter.kernel.instances.control import Instance, InstanceJob
    from exporter.kernel.maps.registry import JobMode

_WORDS = {"AUDIT": "audit", "ENFORCE": "enforce"}
"""The names of JobMode, spelled as in policy files."""
_NOT_READ = (
    "the policy in force is the one read last. After changing the file, send SIGHUP to `watch`; `run` reads "
    "it at its next start"
)
_STATUSES = (
    "Exit status: 0 when all that was selected is so now; 1 when nothing was selected, or something of it "
    "couldn't be changed; 2 usage; 91 without the right."
)


_selectors = options(
    click.option(
        "--job",
        type=NAME,
        metavar="PATTERN",
        shell_complete=job_names,
        help="Only jobs of this PIPELINE or PIPELINE/TASK, as in 'release/*'.",
    ),
    click.option(
        "--instance",
        "instance_id",
        type=NAME,
        metavar="ID",
        shell_complete=instance_ids,
        help="Only this one; its id's beginning is enough.",
    ),
)


@click.group("enforce", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Deny what the policies of running jobs deny, or only report it; without a selector, of all of them.

    \b
    ci-egress enforce status
    ci-egress enforce on --job 'release/*'
    ci-egress enforce on --cut        # and end what is open against the policy
    ci-egress enforce off
    """  # noqa: D301 - click wants a real backspace


@command.command("on", short_help="Deny what the policies deny, from now on.", epilog=_STATUSES)
@click.option(
    "--cut", is_flag=True, help="Also end the connections that are open and that the policy denies."
)
@_selectors
def on(*, cut: bool, job: str | None, instance_id: str | None) -> int:
    """Deny: from the next connect or send on, what the policy doesn't allow fails with EPERM.

    Each job is turned in one step, however many rules its policy has. It stays so when the policy is read
    again. That isn't done here: `watch` reads it at SIGHUP, `run` when it starts.

    \b
    ci-egress enforce on                                # all jobs that have a policy
    ci-egress enforce on --job 'release/*' --cut        # and what is open against it ends
    """  # noqa: D301 - click wants a real backspace
    from exporter.kernel.maps.registry import JobMode

    return _switch(JobMode.ENFORCE, job, instance_id, and_then=_cut if cut else _nothing)


@command.command("off", short_help="Deny nothing any more, only report it.", epilog=_STATUSES)
@_selectors
def off(*, job: str | None, instance_id: str | None) -> int:
    """Deny nothing any more: what the policy doesn't allow is only reported, whatever mode was asked for.

    It also works when the exporter was killed, and stays so when the policy is read again.

    \b
    ci-egress enforce off                     # the way back, at once
    ci-egress enforce off --job release/build
    """  # noqa: D301 - click wants a real backspace
    from exporter.kernel.maps.registry import JobMode

    return _switch(JobMode.AUDIT, job, instance_id)


@command.command(
    "status",
    short_help="Say what is in force for each job.",
    epilog="Exit status: 0; 1 when there is no such instance or job; 2 usage; 91 without the right.",
)
@click.option(
    "--json", "as_json", is_flag=True, help='[{"instance", "job", "requested", "effective", "rules"}].'
)
@_selectors
def status(*, as_json: bool, job: str | None, instance_id: str | None) -> int:
    """Say for each job what mode was asked for, what the kernel does now, and how many rules it has.

    `effective` is the kernel's word: of its maps, and of whether the programs are attached.

    \b
    ci-egress enforce status
    ci-egress enforce status --json | jq -r '.[] | select(.effective != .requested).job'
    """  # noqa: D301 - click wants a real backspace
    rows = _rows(job, instance_id)
    if job is not None:
        _require(rows, job, instance_id)
    if as_json:
        print(json.dumps([_fields(row) for row in rows]))  # noqa: T201 - it is what was asked for
    else:
        _show(rows)
    return 0


class _Row(NamedTuple):
    instance: Instance
    job: InstanceJob | None
    """None where the instance's jobs can't be read, since another version of ci-egress made it."""


def _rows(pattern: str | None, instance_id: str | None) -> list[_Row]:
    from exporter.kernel.instances.control import instances, jobs_of, matching, selected

    found = instances()
    rows: list[_Row] = []
    for instance in found if instance_id is None else [matching(found, instance_id)]:
        if instance.is_of_this_version:
            rows += [_Row(instance, job) for job in jobs_of(instance) if selected(job, pattern)]
        elif instance.layout and pattern is None:
            rows.append(_Row(instance, None))
    return rows


def _require(rows: list[_Row], pattern: str | None, instance_id: str | None) -> None:
    """Raise NoMatchError when nothing was selected."""
    from exporter.kernel.instances.control import NoMatchError

    if not rows:
        which = "job" if instance_id is None else f"job of instance {instance_id}"
        what = f"there is no {which}" + (f" that matches {pattern!r}" if pattern is not None else "")
        raise NoMatchError(what, hint="`ci-egress enforce status` lists what there is")


def _nothing(_: InstanceJob) -> bool:
    return True


def _switch(
    mode: JobMode,
    pattern: str | None,
    instance_id: str | None,
    and_then: Callable[[InstanceJob], bool] = _nothing,
) -> int:
    rows = _rows(pattern, instance_id)
    _require(rows, pattern, instance_id)
    came = [(row, _switched(row, mode)) for row in rows]
    turned = [row for row, outcome in came if outcome is not None]
    if turned and mode.name == "ENFORCE":
        if pattern is None and instance_id is None:
            whose = "this host" if os.geteuid() == 0 else "this user"
            Messages.current().say(f"this was for all jobs of {whose}; --job and --instance select some")
        Messages.current().say(_NOT_READ)
    done = [and_then(row.job) for row in turned if row.job]
    return 0 if all(outcome for _, outcome in came) and all(done) else 1


def _switched(row: _Row, mode: JobMode) -> bool | None:
    """Switch the job of `row` to `mode`, and print the result.

    Returns True when `mode` applies to all acts that its policy denies, or when there is no policy to turn
    off; False when packet sockets can still send frames against it, and None when the job couldn't be
    switched.
    """
    from exporter.kernel.instances.control import switch

    if row.job is None:
        what = f"instance {row.instance.name} is of another version of ci-egress"
        _failed(f"{what}; use that one, or end it: `ci-egress stop {row.instance.name}`")
        return None
    name = f"{row.job.job.label} (instance {row.instance.name})"
    if (mode.name, row.job.mode.name) == ("AUDIT", "NONE"):
        _say(f"{name}: held to no policy")
        return True
    try:
        gaps = switch(row.job, mode, by=caller())
    except KernelError as error:
        _failed(str(error))
        return None
    if gaps:
        return _failed(f"{name} is enforced, but {gaps[0].what}; {gaps[0].hint}")
    _say(f"{name}: {'enforcing' if mode.name == 'ENFORCE' else 'auditing'}")
    return True


def _cut(job: InstanceJob) -> bool:
    from exporter.common.text import counted
    from exporter.kernel.instances.denied_connections import cut

    try:
        came = cut(job.instance.directory, job.scope)
    except OSError as error:
        return _failed(f"{job.job.label}: what is open can't be ended: {error.strerror}")
    _say(f"{job.job.label} (instance {job.instance.name}): {counted(came.ended, 'open connection')} ended")
    for each in came.failed:
        _failed(f"what is open can't be ended of process {each}")
    return not came.failed


def _failed(why: str) -> bool:
    Messages.current().say(why, level=logging.ERROR)
    return False


def _fields(row: _Row) -> dict[str, object]:
    """Return `row` as fields for scripts.

    A field is null where it isn't known; so are the modes of a job without a policy.
    """
    job = row.job
    return {
        "instance": row.instance.name,
        "job": job.job.label if job else None,
        "requested": _WORDS.get(job.job.requested.name) if job else None,
        "effective": _WORDS.get(job.effective.name) if job else None,
        "rules": job.job.rules if job else None,
    }


def _show(rows: list[_Row]) -> None:
    from rich.table import Table
    from rich.text import Text

    from exporter.common.console import printing

    if not rows:
        _say("no job is being traced")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("instance", "job", "requested", "effective", "rules", "exporter"):
        table.add_column(name, justify="right" if name == "rules" else "left")
    for row in rows:
        exporter = "runs" if row.instance.is_alive else "is gone"
        cells = (row.instance.name, *_told(row.job), exporter)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    with printing(sys.stdout) as console:
        console.print(table)


def _told(job: InstanceJob | None) -> tuple[str, str, str, str]:
    """Return the cells of a job: its name, the mode asked for, the mode in force, the number of rules."""
    if job is None:
        return "of another version", "", "unknown", ""
    if job.mode.name == "NONE":
        return job.job.label, "no policy", "no policy" if job.is_attached else "detached", ""
    effective = _WORDS[job.mode.name] if job.is_attached else "detached"
    return job.job.label, _WORDS.get(job.job.requested.name) or "", effective, f"{job.job.rules:,}"


def _say(text: str) -> None:
    print_lines(printable(text, limit=500))
