"""`ci-egress replay`: run a recording through the same pipeline as `run` does."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exporter.cli.options import FILE, baseline_option, output_config, output_options
from exporter.cli.report_options import report_config, report_options
from exporter.common.settings import OutputConfig, ReportConfig
from exporter.session.baselines import baseline_of, warn_of_unknown
from exporter.session.messages import Messages, warn

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline
    from exporter.pipeline.core import Pipeline
    from exporter.pipeline.job import TracedJob
    from exporter.session.replay import Replay


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
    return replay(file, output, baseline_of(baseline), reports)


def replay(
    file: Path,
    output: OutputConfig,
    baseline: Baseline | None = None,
    reports: ReportConfig = ReportConfig(),  # noqa: B008 - immutable
) -> int:
    """Replay `file`; returns the exit status. Raises UsageError for a file that isn't a recording."""
    from exporter.common.errors import UsageError
    from exporter.otlp.environment import resolve_destinations
    from exporter.otlp.telemetry import Telemetry
    from exporter.pipeline.account import KernelCounts
    from exporter.pipeline.assembly import assemble
    from exporter.pipeline.summary import Summary
    from exporter.session.command import inherited_environment
    from exporter.session.job_result import JobResult
    from exporter.session.replay import Replay
    from exporter.session.reports import STEP_SUMMARY, Reporting
    from exporter.session.shared_messages import saying_long_flush, tell_act

    with ExitStack() as stack:
        try:
            stream = stack.enter_context(file.open(encoding="utf-8", errors="replace"))
        except OSError as error:
            raise UsageError(
                f"cannot read {file}: {error.strerror}",
                hint="name a file made by `ci-egress run --record FILE`",
            ) from None
        recording = Replay(stream, str(file))
        beginning = recording.beginning
        environment = inherited_environment()
        destinations = resolve_destinations(environment, otlp_dir=output.otlp_dir)
        own = {name: value for name, value in environment.items() if name != STEP_SUMMARY}
        reporting = stack.enter_context(Reporting(reports, own))  # the recorded job is no part of this step
        telemetry = stack.enter_context(Telemetry(destinations, {}, transcript=reporting.transcript))

        def counts() -> KernelCounts:
            return recording.ending.kernel if recording.ending else KernelCounts(recording.attempts, 0)

        assembly = assemble(telemetry, counts, beginning.clock, output.process_spans, say=tell_act)
        warn_of_unknown(baseline, beginning.job)
        job = assembly.job(beginning, Summary({}), baseline)
        _play(recording, assembly.pipeline(recording), job, file)
        with saying_long_flush():
            telemetry.close()
        title = beginning.job.display_name
        account = assembly.books.account()
        outcome = JobResult(title, beginning.job, job.summary, account, telemetry, destinations)
        reporting.of_run(outcome, beginning.terms, baseline)
        outcome.tell()
    return 0


def _play(recording: Replay, pipeline: Pipeline, job: TracedJob, file: Path) -> None:
    """Hand the recording to the pipeline, to the job's end or to where `file` breaks off."""
    from exporter.pipeline.assembly import begin

    beginning = recording.beginning
    begin(pipeline, beginning, job)
    at_ns = beginning.at_ns
    for event in recording.events():
        at_ns = max(at_ns, event.at_ns)
        pipeline.tick(at_ns)
        pipeline.handle(event)
    if recording.ending is None:
        warn(f"{file} was broken off: its end is missing")
        pipeline.end(beginning.scope, at_ns)
    else:
        pipeline.end(beginning.scope, recording.ending.at_ns, left_behind=recording.ending.left_behind)
