"""`ci-egress watch`: a daemon on a self-hosted runner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from exporter.cli.messages import Messages
from exporter.cli.options import output_config, output_options
from exporter.command import inherited_environment
from exporter.config import WatchConfig

_LOOK_AROUND_S = 1.0


@click.command(
    "watch",
    epilog="SIGTERM and SIGINT flush what is there and end it. Exit status: 0; 2 usage; 91 could not trace; "
    "92 telemetry was lost, with --strict.",
)
@output_options
@click.option("--job-env", metavar="NAME", help="The variable that holds a job's id, on other CI systems.")
def command(
    *,
    otlp_dir: Path | None,
    process_spans: str,
    json_log: bool,
    verbose: bool,
    job_env: str | None,
) -> int:
    """Trace every CI job of this host, many at once, until a signal ends it.

    Jobs are known by their environment, and each is a trace of its own. What belongs to none is exported,
    too, in a trace called `host`.

    \b
    ci-egress watch --otlp-dir /var/lib/ci-egress
    """  # noqa: D301 - click wants a real backspace
    Messages(as_json=json_log, is_verbose=verbose)
    return watch(WatchConfig(output_config(otlp_dir, process_spans), job_env), inherited_environment())


def watch(config: WatchConfig, environment: Mapping[str, str]) -> int:
    """Watch until a signal comes; returns the exit status. Raises CiEgressError when it can't be traced."""
