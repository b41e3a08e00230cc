"""One `ci-egress replay`: a recording goes through the same pipeline as a run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.common.errors import UsageError
from exporter.otlp.environment import resolve_destinations
from exporter.otlp.telemetry import Telemetry
from exporter.pipeline.account import KernelCounts
from exporter.pipeline.assembly import assemble, begin
from exporter.pipeline.core import Pipeline
from exporter.pipeline.job import TracedJob
from exporter.pipeline.recording_reader import RecordingReader
from exporter.pipeline.summary import Summary

from .baselines import warn_of_unknown
from .job_result import JobResult
from .messages import warn
from .reports import STEP_SUMMARY, Reporting
from .settings import OutputConfig, ReportConfig
from .shared_messages import saying_long_flush, tell_act

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline


def replay(
    file: Path,
    output: OutputConfig,
    reports: ReportConfig,
    baseline: Baseline | None,
    environment: Mapping[str, str],
) -> None:
    """Replay `file`. Raises UsageError for a file that isn't a recording."""
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(file.open(encoding="utf-8", errors="replace"))
        except OSError as error:
            raise UsageError(
                f"cannot read {file}: {error.strerror}",
                hint="name a file made by `ci-egress run --record FILE`",
            ) from None
        recording = RecordingReader(stream, str(file))
        beginning = recording.beginning
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


def _play(recording: RecordingReader, pipeline: Pipeline, job: TracedJob, file: Path) -> None:
    """Hand the events of the recording to the pipeline, up to the job's end or to where `file` breaks off."""
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
