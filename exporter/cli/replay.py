"""`ci-egress replay`: run a recording through the same pipeline as `run` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from exporter.session.baselines import baseline_of
from exporter.session.command import inherited_environment
from exporter.session.messages import Messages

from .options import FILE, baseline_option, output_config, output_options
from .report_options import report_config, report_options


@click.command(
    "replay",
    epilog="Exit status: 0, also for a recording that was broken off; 2 usage, or FILE is not a recording; "
    "91 the telemetry can't be written.",
)
@output_options
@report_options()
@baseline_option
@click.argument("file", type=FILE)
def command(  # noqa: PLR0913 - options are what a command has
    file: Path,
    *,
    otlp_dir: Path | None,
    process_spans: str,
    json_log: bool,
    verbose: bool,
    baseline: Path | None,
    **options: Any,
) -> int:
    """Run FILE, made by `ci-egress run --record`, through the same pipeline: the same trace, without root.

    \b
    ci-egress replay build.rec
    ci-egress replay --otlp-dir out --process-spans all build.rec
    ci-egress replay --baseline baseline.yaml build.rec
    """  # noqa: D301 - click wants a real backspace
    Messages(as_json=json_log, is_verbose=verbose)
    output, reports = output_config(otlp_dir, process_spans), report_config(options)
    known = baseline_of(baseline)
    from exporter.session.replay import replay

    replay(file, output, reports, known, inherited_environment())
    return 0
