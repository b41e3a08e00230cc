"""`ci-egress run`: run COMMAND as a child process and trace it.

Steps that take long are done side by side, so this module imports little: first COMMAND's process is forked,
then a thread loads the programs while this process imports OpenTelemetry (session/run.py).
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exporter.common.errors import FAIL_ON_STATUS, LOST_STATUS, UsageError
from exporter.session.baselines import required_baseline
from exporter.session.command import HeldCommand, inherited_environment
from exporter.session.messages import Messages, warn
from exporter.session.run_inputs import RunInputs
from exporter.session.settings import OnDeath, RunConfig
from exporter.session.signals import SignalRelay
from exporter.session.users import command_user

from .misplaced_options import CommandInFront, a_command, warn_of_doubtful, warn_of_misplaced
from .options import (
    FILE,
    NAME,
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
    from exporter.kernel.instances.loading import Loading
    from exporter.session.job_policy import Source


@click.command(
    "run",
    cls=CommandInFront,
    context_settings={"allow_interspersed_args": False},
    epilog="Exit status: COMMAND's own (128+n when signal n ended it, 127 not found, 126 not executable); "
    "2 usage; 90 what --fail-on names happened; 91 could not trace, COMMAND was not started; "
    "92 telemetry was lost and --strict was given.",
)
@output_options
@report_options(TO_THE_STEP)
@strict_option
@click.option("--record", type=FILE, metavar="FILE", help="Keep the events in FILE for `ci-egress replay`.")
@click.option(
    "--user", type=NAME, metavar="NAME", help="COMMAND's user. Under sudo the default is the invoking user."
)
@click.option(
    "--host",
    "is_host",
    is_flag=True,
    help="The whole machine is this job's (an ephemeral runner): trace containers and services, too.",
)
@host_enforce_option
@click.option(
    "--job-env", type=NAME, metavar="NAME", help="The variable that holds the job's id, on other CI systems."
)
@judging_options
@death_option
@compile_option
@click.argument(
    "command",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    metavar="-- COMMAND...",
    shell_complete=a_command,
)
def command(
    command: tuple[str, ...],
    *,
    otlp_dir: Path | None,
    process_spans: str,
    json_log: bool,
    verbose: bool,
    **options: Any,
) -> int:
    """Run COMMAND as one job, trace what it and its descendants connect to, and summarise it on stderr.

    \b
    ci-egress run -- make test
    ci-egress run --otlp-dir out -- sh -c 'npm ci && npm test'
    sudo -E ci-egress run -- env "PATH=$PATH" ./build.sh    # as you, traced by root
    """  # noqa: D301 - click wants a real backspace
    Messages(as_json=json_log, is_verbose=verbose)
    warn_of_misplaced(command)
    output = output_config(otlp_dir, process_spans)
    reports = report_config(options)
    return run(RunConfig(command=command, output=output, reports=reports, **options), inherited_environment())


def run(config: RunConfig, environment: Mapping[str, str]) -> int:
    """Run COMMAND and trace it; returns the exit status. Raises CiEgressError when COMMAND wasn't started."""
    policy, baseline = _requested(config), required_baseline(config.baseline, config.fail_on)
    given = RunInputs(config, policy, baseline, partial(warn_of_doubtful, config.command))
    user = command_user(config.user, environment, euid=os.geteuid())
    with SignalRelay() as relay, HeldCommand(config.command, user=user, signals=relay.inherited) as held:
        try:
            return _trace(given, environment, relay, held)
        except Exception:
            # Tracing is passive: a fault of ours must not end the build, nor change its status.
            if not held.is_started:
                raise
            return _go_on_untraced(config, relay, held)


def _requested(config: RunConfig) -> Source | None:
    if config.host_enforce and not config.is_host:
        raise UsageError("--host-enforce is given without --host", hint="add --host")
    if not config.asks_for_policy:
        return None
    from exporter.session.job_policy import requested

    return requested(config)


def _trace(
    given: RunInputs,
    environment: Mapping[str, str],
    relay: SignalRelay,
    held: HeldCommand,
) -> int:
    from exporter.kernel.compilation.uses import Uses
    from exporter.kernel.instances.loading import loading

    config = given.config
    outlives = config.on_exporter_death is OnDeath.CLOSED
    uses = Uses(policies=given.policy is not None, environments=False)
    with loading(uses=uses, compiles=config.compiles, outlives=outlives, tell=warn) as kernel:
        from exporter.session.run import trace

        try:
            return trace(given, environment, relay=relay, held=held, kernel=kernel)
        except Exception:
            if given.policy is None or not held.is_started:
                raise
            status = _go_on_untraced(config, relay, held)  # in this block the policy is still enforced
            _end_what_is_left(kernel)
            return status


def _end_what_is_left(kernel: Loading) -> None:
    from exporter.session.left_processes import end_what_is_left
    from exporter.session.run import SCOPE

    if kernel.tracer is not None:
        end_what_is_left(kernel.tracer, SCOPE)


def _go_on_untraced(config: RunConfig, relay: SignalRelay, held: HeldCommand) -> int:
    unknown = ", and --fail-on takes what isn't known for a failure" if config.fail_on else ""
    Messages.current().say(
        f"tracing failed, COMMAND goes on untraced{unknown}; please report this",
        level=logging.ERROR,
        detail=traceback.format_exc(),
    )

    def hand_on_signals() -> None:
        with suppress(OSError, MemoryError):  # the policy must stay in force until COMMAND ends
            relay.pump(held)

    status = held.wait(hand_on_signals)
    if status == 0 and config.strict:
        return LOST_STATUS
    return FAIL_ON_STATUS if status == 0 and config.fail_on else status
