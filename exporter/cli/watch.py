"""`ci-egress watch`: a daemon on a self-hosted runner."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exporter.common.errors import UsageError
from exporter.session.baselines import required_baseline
from exporter.session.command import inherited_environment
from exporter.session.messages import Messages, warn
from exporter.session.settings import OnDeath, WatchConfig
from exporter.session.watch.end_folder import end_folder
from exporter.session.watch.inputs import WatchInputs
from exporter.session.watch.pid_file import pid_file
from exporter.session.watch.requests import requests

from .options import (
    DIGEST,
    DIRECTORY,
    FILE,
    NAME,
    Mebibytes,
    compile_option,
    death_option,
    host_enforce_option,
    judging_options,
    output_config,
    output_options,
    strict_option,
)
from .report_options import TO_THE_STEP, report_config, report_options

if TYPE_CHECKING:
    from exporter.jobs.model import Job
    from exporter.session.job_policy import Source
    from exporter.session.watch.agents import Above, Agent
    from exporter.session.watch.daemon import Kernel

_LIMIT_MIB = 1536


@click.command(
    "watch",
    epilog="SIGTERM or SIGINT ends it, with everything flushed; SIGHUP reads policy and baseline again. "
    "Exit status: 0; 2 usage; 90 what --fail-on names happened; 91 could not trace; 92 telemetry was lost "
    "and --strict was given.",
)
@output_options
@report_options(TO_THE_STEP)
@click.option(
    "--otlp-dir-limit",
    "otlp_dir_limit_mib",
    metavar="MIB",
    type=Mebibytes(min=24),
    help=f"Most that all files in DIR hold together ({_LIMIT_MIB} by default); the oldest make room.",
)
@strict_option
@death_option
@compile_option
@click.option(
    "--adopt",
    is_flag=True,
    help="Take over what a watch that was killed left, without a gap; where none was, start anew.",
)
@click.option(
    "--job-env", type=NAME, metavar="NAME", help="A variable that holds a job's id, on other CI systems."
)
@click.option(
    "--host",
    "is_host",
    is_flag=True,
    help="The whole machine is of one job, that of this environment (an ephemeral runner): all that happens "
    "on it is that job's, until a signal ends it.",
)
@click.option(
    "--pid-file",
    type=FILE,
    metavar="FILE",
    help="Make FILE, with the process id in it, once it is ready; it is gone when it has ended.",
)
@click.option(
    "--end-folder",
    type=DIRECTORY,
    metavar="DIR",
    help="With --host: end when DIR, which is empty at first, has a file whose name is the token of "
    "--end-digest. Any other way to end the watch is reported as tampering then, whoever takes it. Where a "
    "policy is enforced, processes that steps left behind are ended first; not if the file has the name of a "
    "secret whose SHA-256 is the token.",
)
@click.option(
    "--end-digest",
    type=DIGEST,
    metavar="SHA256",
    help="The SHA-256 of that token, a text of yours that nobody can guess.",
)
@judging_options
@host_enforce_option
@click.option(
    "--agent",
    "agents",
    type=NAME,
    multiple=True,
    metavar="UNIT|PATH|USER",
    help="Who starts jobs here, besides the agents that are known: a unit (NAME.service), an executable, "
    "or user:NAME. Where a policy is enforced, what they make is held from its fork on. Repeatable.",
)
def command(
    *,
    otlp_dir: Path | None,
    otlp_dir_limit_mib: int | None,
    process_spans: str,
    json_log: bool,
    verbose: bool,
    **options: Any,
) -> int:
    """Trace every CI job of this host, many at once, until a signal ends it.

    Jobs are known by their environment; each is a trace of its own. What belongs to no job is exported too,
    in traces called `host`.

    \b
    ci-egress watch --otlp-dir /var/lib/ci-egress/otlp
    ci-egress watch --policy policy.yaml --adopt      # as a service that is started again when killed
    sudo -E ci-egress watch --host --pid-file /run/ci-egress.pid &    # in a job, for all of its machine
    OTEL_EXPORTER_OTLP_ENDPOINT=http://collector.example:4318 ci-egress watch
    """  # noqa: D301 - click wants a real backspace
    Messages(as_json=json_log, is_verbose=verbose)
    if otlp_dir is None and otlp_dir_limit_mib is not None:
        raise UsageError("--otlp-dir-limit is given without --otlp-dir", hint="add --otlp-dir DIR")
    limit_mib = otlp_dir_limit_mib or _LIMIT_MIB
    output, reports = output_config(otlp_dir, process_spans), report_config(options)
    config = WatchConfig(output=output, reports=reports, otlp_dir_limit_mib=limit_mib, **options)
    return watch(config, inherited_environment())


def watch(config: WatchConfig, environment: Mapping[str, str]) -> int:
    """Watch the host; returns the exit status. Raises CiEgressError when it can't be traced."""
    _require_whole(config)
    job = _job(config, environment)
    agents = _agents(config)
    above = _above(config, agents) if job else None  # at once: a process that is gone shows nothing
    baseline = required_baseline(config.baseline, config.fail_on)
    given = WatchInputs(config, _policy(config), baseline, job, agents, above)  # before anything is loaded
    with (
        end_folder(config.end_folder, config.end_digest) as folder,
        requests(folder) as asked,
        pid_file(config.pid_file) as be_ready,
        _kernel(config, has_policy=given.policy is not None) as kernel,
    ):
        from exporter.session.watch.daemon import run

        return run(given, environment, kernel, asked, be_ready)


def _require_whole(config: WatchConfig) -> None:
    if (config.end_folder is None) != (config.end_digest is None):
        missing = "--end-folder DIR" if config.end_folder is None else "--end-digest SHA256"
        raise UsageError("--end-folder and --end-digest belong together", hint=f"add {missing}")
    if config.end_folder is not None and not config.is_host:
        hint = "add --host, or omit both: a service is ended by signals"
        raise UsageError("--end-folder is given without --host", hint=hint)


def _agents(config: WatchConfig) -> Collection[Agent]:
    if not config.agents:
        return ()
    from exporter.session.watch.agents import agent_named

    return [agent_named(text) for text in config.agents]


def _above(config: WatchConfig, agents: Collection[Agent]) -> Above:
    from exporter.session.watch.agents import KNOWN, above, marks

    return above(os.getpid(), (*KNOWN, *agents), marks(config.job_env))


def _job(config: WatchConfig, environment: Mapping[str, str]) -> Job | None:
    """Return the job that the whole machine belongs to; None when it belongs to none. Raises UsageError."""
    if not config.is_host:
        return None
    from exporter.jobs.detect import detect, recognise

    if config.adopt:
        hint = "omit --adopt: what a job's watch leaves behind is nobody else's to go on with"
        raise UsageError("--adopt and --host are both given", hint=hint)
    if config.job_env is None and recognise(environment) is None:
        raise UsageError(
            "--host: the environment names no CI job that this machine belongs to",
            hint="start it in a step of the job, under sudo with `sudo -E` (under sudo-rs with "
            "`sudo --preserve-env=NAME,…`); on another CI system, name a variable that has the job's id with "
            "--job-env NAME",
        )
    return detect(environment, job_env=config.job_env)


@contextmanager
def _kernel(config: WatchConfig, *, has_policy: bool) -> Iterator[Kernel]:
    from exporter.kernel.compilation.uses import Uses
    from exporter.kernel.instances.loading import loading

    outlives = config.on_exporter_death is OnDeath.CLOSED
    if config.adopt and not outlives:
        what = "--adopt and --on-exporter-death open are both given"
        raise UsageError(what, hint="what is detached when its exporter is killed can't be adopted: omit one")
    with ExitStack() as stack:
        adopted = None
        if config.adopt:
            from exporter.kernel.instances.adopting import adopting

            adopted = stack.enter_context(adopting(has_policy=has_policy, tell=warn))
        uses = Uses(policies=has_policy)
        yield adopted or stack.enter_context(
            loading(uses=uses, compiles=config.compiles, outlives=outlives, tell=warn)
        )


def _policy(config: WatchConfig) -> Source | None:
    if not config.asks_for_policy:
        return None
    from exporter.session.job_policy import source_of

    return source_of(config)
