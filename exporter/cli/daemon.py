"""The second half of `ci-egress watch`, imported while the kernel's programs are being compiled."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from exporter import wire
from exporter.account import Bookkeeping
from exporter.cli.governor import Governor, Source
from exporter.cli.messages import Messages
from exporter.cli.notices import drops, long_flush_told, tell_fault, warn, warn_of_ignored
from exporter.cli.requests import Requests
from exporter.cli.rereading import reread
from exporter.clock import boot_ns, system_clock
from exporter.config import WatchConfig
from exporter.errors import LOST_STATUS
from exporter.events import HOST, Environment, Event, Found, ProcessKey
from exporter.flows import Flows
from exporter.hosts import all_names
from exporter.integrity import Integrity
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
from exporter.pipeline import Pipeline
from exporter.procfs import Proc, environment_of
from exporter.summary import Summary
from exporter.systemd import notify
from exporter.traced import Outlets
from exporter.watching import JOBS_MAX, JobWatch

_LOOK_AROUND_S = 1.0
_NEWS_S = 60.0
_BUSY_INTERVAL_S, _IDLE_INTERVAL_S = 0.005, 0.02


def run(
    config: WatchConfig,
    environment: Mapping[str, str],
    kernel: Loading,
    asked: Requests,
    policy: Source | None,
) -> int:
    """Watch until `asked` says to end it, flush, and say what came of it all; returns the exit status.

    Jobs are held to `policy`.
    """
    warn_of_ignored(ignored_variables(environment))
    rotation = Rotation.within(config.otlp_dir_limit_mib << 20)
    destinations = resolve_destinations(environment, otlp_dir=config.output.otlp_dir, rotation=rotation)
    go_first()
    with ExitStack() as stack:
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
        say = Messages.current().say
        outlets = Outlets(telemetry, metrics, system_clock(), config.output.process_spans, say)
        governor = Governor(tracer.scopes, policy, all_names, warn)
        jobs = JobWatch(outlets, job_env=config.job_env, on_change=_tell, governor=governor)
        pipeline = Pipeline(outlets, Proc(), flows, jobs)

        def handle(event: Event) -> None:
            pipeline.handle(event)
            if isinstance(event, Found | Environment):
                program = pipeline.table.of(event.process)
                if program is not None and program.scope != HOST:
                    exec_id = event.exec_id if isinstance(event, Environment) else 0
                    tracer.scopes.adopt(event.process, exec_id, program.scope)

        source = LiveSource(tracer, handle, books, flows, on_fault=tell_fault)
        loss = LossReporter(books.account, telemetry.log, telemetry.resource)
        integrity = Integrity(tracer, outlets, warn, telemetry.resource)

        missed = _Missed(tracer, handle, pipeline, jobs)

        def look_around() -> None:
            missed.make_up()
            jobs.look_around(boot_ns())
            governor.look(lambda scope: tracer.scopes.close(scope, source.take))
            loss.tick()
            integrity.look()
            for problem in (*missed.news(), *telemetry.complaints()):
                warn(problem)

        jobs.begin(pipeline, boot_ns())
        _take_in_what_runs(tracer, handle)
        notify("READY=1", environment)
        Messages.current().say(f"watching, telemetry goes to {', '.join(destinations.shown) or 'nowhere'}")
        if destinations.disabled:
            warn("OTEL_SDK_DISABLED is set: nothing is exported")

        def catch_up() -> None:
            while source.pump():
                pass

        def turn() -> None:
            pipeline.tick(boot_ns())
            if asked.reread:
                asked.reread = False
                reread(config, governor, pipeline, catch_up)

        _loop(source, tracer.sleep if policy else time.sleep, asked, turn, look_around)
        notify("STOPPING=1", environment)
        integrity.look()
        source.finish()
        jobs.finish(boot_ns())
        with long_flush_told():
            telemetry.close(before_logs=loss.tell)
        account = books.account()
        for problem in (*drops(account), *missed.all(), *telemetry.complaints(), *telemetry.notes()):
            warn(problem)
        Messages.current().say(str(account), account=account.fields())
        has_losses = telemetry.has_losses or any(account.dropped.values())
    return LOST_STATUS if config.strict and has_losses else 0


def _loop(
    source: LiveSource,
    sleep: Callable[[float], None],
    asked: Requests,
    turn: Callable[[], None],
    look_around: Callable[[], None],
) -> None:
    looked_s = time.monotonic()
    while not asked.end:
        sleep(_BUSY_INTERVAL_S if source.pump() else _IDLE_INTERVAL_S)
        turn()
        if time.monotonic() - looked_s >= _LOOK_AROUND_S:
            looked_s = time.monotonic()
            look_around()


def _take_in_what_runs(tracer: Tracer, handle: Callable[[Event], None]) -> None:
    for found in find_everyone(tracer, besides={os.getpid()}):
        handle(found)
        _read_environment(handle, found.process, exec_id=0)


def _read_environment(handle: Callable[[Event], None], process: ProcessKey, exec_id: int) -> None:
    if block := environment_of(process):
        handle(Environment(boot_ns(), process, exec_id, block, is_cut=False))


class _Missed:
    """What the kernel had no room to tell."""

    def __init__(
        self, tracer: Tracer, handle: Callable[[Event], None], pipeline: Pipeline, jobs: JobWatch
    ) -> None:
        self._tracer = tracer
        self._handle = handle
        self._pipeline = pipeline
        self._jobs = jobs
        self._environments = 0
        self._told: list[str] = []
        self._next_s = 0.0

    def make_up(self) -> None:
        """Read the environments that got lost from /proc, of what is still there: a job may be among them."""
        lost = self._tracer.counts().lost(wire.KIND_ENVIRONMENT)
        if lost > self._environments:
            self._environments = lost
            for program in self._pipeline.table.live({HOST}):
                exec_id = self._tracer.scopes.exec_id(program.process) or max(program.exec_id, 1)
                _read_environment(self._handle, program.process, exec_id)

    def news(self) -> list[str]:
        """What there is to say of it now, a line each; nothing when it was said, or another one just was."""
        lines = self.all()
        if lines == self._told or time.monotonic() < self._next_s:
            return []
        self._told, self._next_s = lines, time.monotonic() + _NEWS_S
        return lines

    def all(self) -> list[str]:
        """All there is to say of it."""
        turned_away = f"{self._jobs.turned_away} processes are of no job: {JOBS_MAX} jobs ran already"
        return [*losses(self._tracer), *([turned_away] if self._jobs.turned_away else [])]


def _tell(job: Job, summary: Summary | None) -> None:
    trace_id = f"{job.ids.trace_id:032x}"
    known: dict[str, Any] = {"job": job.display_name, "run_id": job.run_id, "trace_id": trace_id}
    name = f"job {job.display_name} of {job.pipeline or job.provider}"
    if summary is None:
        Messages.current().say(f"{name} began", **known)
        return
    told = f"{name} ended: {summary.told()}, trace {trace_id}"
    Messages.current().say(told, **known, summary=summary.fields())
