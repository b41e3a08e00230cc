"""The second half of `ci-egress watch`, imported while the kernel's programs are being compiled."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from exporter.account import Bookkeeping
from exporter.cli.messages import Messages
from exporter.cli.notices import drops, tell_fault, warn, warn_of_ignored
from exporter.clock import boot_ns, system_clock
from exporter.config import WatchConfig
from exporter.errors import LOST_STATUS
from exporter.events import Environment
from exporter.flows import Flows
from exporter.jobs.model import Job
from exporter.kernel.loading import Loading
from exporter.kernel.tracer import Tracer
from exporter.kernel.windows import Coverage
from exporter.live import LiveSource, find_everyone, go_first, kernel_counts, losses
from exporter.loss import LossReporter
from exporter.metrics import Metrics
from exporter.otlp import (
    Rotation,
    SpoolFolder,
    Spooling,
    Telemetry,
    default_folder,
    ignored_variables,
    resolve_destinations,
)
from exporter.pipeline import Outlets, Pipeline
from exporter.processes import Proc, environment_of
from exporter.summary import Summary
from exporter.systemd import notify
from exporter.watching import JobWatch

_LOOK_AROUND_S = 1.0
_BUSY_INTERVAL_S, _IDLE_INTERVAL_S = 0.005, 0.02


def run(config: WatchConfig, environment: Mapping[str, str], kernel: Loading) -> int:
    """Watch until a signal says to end it, flush, and say what came of it all; returns the exit status."""
    warn_of_ignored(ignored_variables(environment))
    destinations = resolve_destinations(environment, otlp_dir=config.output.otlp_dir, rotation=Rotation())
    go_first()
    with ExitStack() as stack:
        asked = stack.enter_context(_signals())
        spooling = Spooling(SpoolFolder(default_folder(environment, os.geteuid())))
        telemetry = stack.enter_context(Telemetry(destinations, {}, spooling=spooling))
        tracer = kernel.ready(Coverage(is_host=True, reads_environments=True))
        flows = Flows()
        books = Bookkeeping(
            lambda: kernel_counts(tracer),
            lambda: telemetry.account,
            lambda: len(flows),
            lambda: telemetry.earlier,
        )
        metrics = Metrics(telemetry.meter, telemetry.add_producer, books.published)
        outlets = Outlets(telemetry, metrics, system_clock(), config.output.process_spans)
        jobs = JobWatch(outlets, job_env=config.job_env, on_begin=_tell_begin, on_end=_tell_end)
        pipeline = Pipeline(outlets, Proc(), flows, jobs.discover)
        source = LiveSource(tracer, pipeline.handle, books, flows, on_fault=tell_fault)
        loss = LossReporter(books.account, telemetry.log, telemetry.resource)

        def look_around() -> None:
            jobs.look_around(boot_ns())
            loss.tick()
            for problem in telemetry.complaints():
                warn(problem)

        jobs.begin(pipeline, boot_ns())
        _take_in_what_runs(tracer, pipeline)
        notify("READY=1", environment)
        Messages.current().say(f"watching, telemetry goes to {', '.join(destinations.shown)}")
        _loop(source, pipeline, asked, look_around)
        notify("STOPPING=1", environment)
        source.finish()
        jobs.finish(boot_ns())
        telemetry.close(before_logs=loss.tell)
        account = books.account()
        for problem in (*drops(account), *losses(tracer), *telemetry.complaints(), *telemetry.notes()):
            warn(problem)
        Messages.current().say(str(account), account=account.fields())
    return LOST_STATUS if config.strict and account.dropped else 0


class _Asked:
    """What signals asked for."""

    end = False
    reread = False


@contextmanager
def _signals() -> Iterator[_Asked]:
    asked = _Asked()

    def end(*_: object) -> None:
        asked.end = True

    def reread(*_: object) -> None:
        asked.reread = True

    handlers = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: reread}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _loop(source: LiveSource, pipeline: Pipeline, asked: _Asked, look_around: Callable[[], None]) -> None:
    looked_s = time.monotonic()
    while not asked.end:
        time.sleep(_BUSY_INTERVAL_S if source.pump() else _IDLE_INTERVAL_S)
        pipeline.tick(boot_ns())
        if asked.reread:
            asked.reread = False
            Messages.current().say("SIGHUP: there is no policy to read again")
        if time.monotonic() - looked_s >= _LOOK_AROUND_S:
            looked_s = time.monotonic()
            look_around()


def _take_in_what_runs(tracer: Tracer, pipeline: Pipeline) -> None:
    for found in find_everyone(tracer, besides={os.getpid()}):
        pipeline.handle(found)
        block = environment_of(found.process)
        if block:
            pipeline.handle(Environment(found.at_ns, found.process, 0, block, is_cut=False))


def _tell_begin(job: Job) -> None:
    Messages.current().say(
        f"job {job.display_name} of {job.pipeline or job.provider} began",
        job=job.display_name,
        run_id=job.run_id,
        trace_id=f"{job.ids.trace_id:032x}",
    )


def _tell_end(job: Job, summary: Summary) -> None:
    fields = summary.fields()
    number, attempts = summary.totals()
    Messages.current().say(
        f"job {job.display_name} of {job.pipeline or job.provider} ended: {attempts} attempts, "
        f"{number} destinations, trace {job.ids.trace_id:032x}",
        job=job.display_name,
        run_id=job.run_id,
        trace_id=f"{job.ids.trace_id:032x}",
        summary=fields,
    )
