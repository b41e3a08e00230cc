"""The second half of `ci-egress run`, imported while the kernel's programs are being compiled."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from exporter.common.clock import boot_ns, system_clock
from exporter.common.errors import KernelError
from exporter.common.net.hosts import all_names
from exporter.events.facts import HOST, Event, ProcessKey
from exporter.jobs.attributes import worker_attributes
from exporter.jobs.detect import detect, step_of
from exporter.jobs.model import Job
from exporter.kernel.frames.packet_frames import TURN_S
from exporter.kernel.instances.loading import Loading
from exporter.kernel.maps.windows import Coverage
from exporter.kernel.tracer import Tracer
from exporter.otlp.courier import Spooling
from exporter.otlp.environment import ignored_variables, resolve_destinations
from exporter.otlp.spool_folder import SpoolFolder, default_folder
from exporter.otlp.telemetry import Telemetry
from exporter.pipeline.account import Bookkeeping
from exporter.pipeline.assembly import assemble, begin
from exporter.pipeline.core import Pipeline
from exporter.pipeline.job import TracedJob
from exporter.pipeline.procfs import Proc, key_of_child
from exporter.pipeline.recording import Beginning, Ending, Recorder
from exporter.pipeline.spans import traceparent
from exporter.pipeline.summary import Summary

from .baselines import warn_of_unknown
from .command import HeldCommand
from .fail_on import failings
from .feed import LiveSource, find_everyone, kernel_counts, losses, wait
from .guards.checks import Guards, Owner, enforcement_warnings
from .job_policy import ReadyPolicy, ready_policy, registered
from .job_result import JobResult, policy_notes, tree_hints
from .left_instances import tell_leftovers
from .left_processes import end_what_is_left
from .live_view import Ticker, finish, lines, tell_besides
from .messages import warn
from .reports import Reporting
from .run_inputs import RunInputs
from .settings import RunConfig
from .shared_messages import saying_long_flush, tell_act, warn_of_ignored
from .signals import SignalRelay
from .sudo import tell_kept_back
from .survival import go_first

SCOPE = 1
"""The job's number in the kernel: `run` has one job."""


def trace(
    given: RunInputs,
    environment: Mapping[str, str],
    *,
    relay: SignalRelay,
    held: HeldCommand,
    kernel: Loading,
) -> int:
    """Start COMMAND once the hooks are live, trace it to its end, flush, and print a summary.

    Returns COMMAND's exit status, or the status for lost evidence or for --fail-on. Raises CiEgressError when
    COMMAND wasn't started.
    """
    config = given.config
    go_first()
    warn_of_ignored(ignored_variables(environment))
    destinations = resolve_destinations(environment, otlp_dir=config.output.otlp_dir)
    job = _job(given, environment)
    ready = ready_policy(given.source, job, config.fail_on)
    warn_of_unknown(given.baseline, job)
    with ExitStack() as stack:
        reporting = stack.enter_context(Reporting(config.reports, environment, config.user))
        spooling = Spooling(SpoolFolder(default_folder(environment, os.geteuid())))
        telemetry = stack.enter_context(
            Telemetry(
                destinations, worker_attributes(job), spooling=spooling, transcript=reporting.transcript
            )
        )
        telemetry.prepare()
        reporting.prepare()
        tracer = _ready(kernel, config)
        terms = ready.terms if ready else None
        step = step_of(environment, job_env=config.job_env)
        beginning = Beginning(job, system_clock(), _root(held), SCOPE, boot_ns(), terms, step)
        view = lines(environment, is_live=config.is_live)
        ticker = Ticker(view)
        showing = ticker if view else None
        run = _assembled(given, environment, beginning, telemetry, tracer, stack, showing)
        _follow(run, ready, [SCOPE, *([HOST] if config.host_enforce else [])])
        held.release(_handed_on(environment, traceparent(run.traced.spans.job_context), job))
        _begin(run, config, held)
        ended_ns = wait(run.source, held.pidfd, lambda: _turn(run, relay, held, ticker))
        _end(run, ended_ns)
        finish(view)
        with saying_long_flush():
            telemetry.close(before_logs=run.guards.tell_losses)
        account, lost = run.books.account(), losses(tracer)
        title = job.task or job.pipeline or Path(config.command[0]).name
        failing = failings(config.fail_on, run.traced.denials, run.traced.novelties, account)
        summary, is_enforced = run.traced.summary, run.traced.metrics.is_enforcing
        remarks = policy_notes(terms.ruleset if terms else None, summary, account, is_enforced=is_enforced)
        remarks += enforcement_warnings(tracer, given.policy, is_enforced=is_enforced)
        remarks += tree_hints(destinations, summary, config.reports)
        told = (summary, account, telemetry, destinations, lost, failing, remarks)
        outcome = JobResult(title, job, *told)
        reporting.of_run(outcome, terms, given.baseline, given.policy)  # stderr ends with the account
        if held.poll():
            given.on_failure()
        outcome.tell()
    return outcome.exit_status(held.wait(lambda: relay.pump(held)), is_strict=config.strict)


def _job(given: RunInputs, environment: Mapping[str, str]) -> Job:
    """Find the CI job of COMMAND, and warn if sudo kept its variables back. Raises UsageError."""
    if given.config.job_env is None:
        tell_kept_back(environment, given.policy)
    return detect(environment, job_env=given.config.job_env)


class _Run(NamedTuple):
    """The parts that are at work while COMMAND runs."""

    tracer: Tracer
    beginning: Beginning
    books: Bookkeeping
    traced: TracedJob
    pipeline: Pipeline
    recorder: Recorder | None
    handle: Callable[[Event], None]
    source: LiveSource
    guards: Guards


def _assembled(  # noqa: PLR0913, PLR0917 - it puts just these together
    given: RunInputs,
    environment: Mapping[str, str],
    beginning: Beginning,
    telemetry: Telemetry,
    tracer: Tracer,
    stack: ExitStack,
    view: Ticker | None,
) -> _Run:
    config = given.config
    recorder = _recorder(config, beginning, stack)
    assembly = assemble(
        telemetry,
        partial(kernel_counts, tracer),
        beginning.clock,
        config.output.process_spans,
        say=tell_besides if view else tell_act,
        view=view,
        has_lineages=config.metric_lineage,
    )
    outlets, books, flows = assembly
    summary = Summary(environment, sees_daemons=config.is_host)
    traced = assembly.job(beginning, summary, given.baseline)
    pipeline = assembly.pipeline(recorder or Proc())
    handle = _handler(pipeline, recorder)
    source = LiveSource(tracer, handle, books, flows)
    owner = Owner(traced.spans.resource, traced.spans.job_context, warned=summary.warned)
    guards = Guards(tracer, outlets, books, handle, owner)
    return _Run(tracer, beginning, books, traced, pipeline, recorder, handle, source, guards)


def _follow(run: _Run, ready: ReadyPolicy | None, scopes: Sequence[int]) -> None:
    """Register `scopes`, hold them to the policy, and follow COMMAND.

    In the scope HOST, whose processes are of no job for the kernel, the policy is for containers only.
    """
    for scope in scopes:
        run.tracer.register(scope, registered(run.beginning.job, ready))
    if ready:  # first: nothing that COMMAND does is older than its policy
        written = run.tracer.scopes.write(ready.compiled)
        for scope in scopes:
            run.tracer.scopes.hold(scope, written.number, written.policy, all_names().items())
    run.tracer.processes.follow(run.beginning.root, SCOPE)
    for scope in scopes:
        run.guards.steering.begin(scope)
    run.tracer.frames.most_s = TURN_S  # from here on, other work waits for each turn


def _begin(run: _Run, config: RunConfig, held: HeldCommand) -> None:
    begin(run.pipeline, run.beginning, run.traced)  # not before `release`: COMMAND may not exist
    if config.is_host:
        for found in find_everyone(run.tracer, besides={os.getpid(), held.pid}):
            run.handle(found)


def _turn(run: _Run, relay: SignalRelay, held: HeldCommand, ticker: Ticker) -> None:
    relay.pump(held)
    run.pipeline.tick(boot_ns())
    run.source.forget_ended()
    run.guards.tick()
    if run.recorder:
        run.recorder.tick()
    ticker.tick()


def _end(run: _Run, ended_ns: int) -> None:
    run.guards.look()
    end_what_is_left(run.tracer, SCOPE, run.source.pump)
    left_behind = run.tracer.processes.live_pids(SCOPE)
    run.source.finish()
    run.pipeline.end(SCOPE, ended_ns, left_behind=left_behind)
    if run.recorder is not None:
        run.recorder.end(Ending(ended_ns, kernel_counts(run.tracer), left_behind))
        run.recorder.close()  # before the summary, since it may warn


def _ready(kernel: Loading, config: RunConfig) -> Tracer:
    tracer = kernel.ready(Coverage(is_host=config.is_host))
    tell_leftovers()
    return tracer


def _root(held: HeldCommand) -> ProcessKey:
    try:
        return key_of_child(held.pid)
    except OSError as error:
        hint = "mount -t proc proc /proc"
        raise KernelError(f"/proc doesn't show process {held.pid}", hint=hint) from error


def _recorder(config: RunConfig, beginning: Beginning, stack: ExitStack) -> Recorder | None:
    if config.record is None:
        return None
    recorder = Recorder(config.record, Proc(), on_failure=warn)
    stack.callback(recorder.close)
    recorder.begin(beginning)
    return recorder


def _handler(pipeline: Pipeline, recorder: Recorder | None) -> Callable[[Event], None]:
    if recorder is None:
        return pipeline.handle

    def record_and_handle(event: Event) -> None:
        event = pipeline.settled(event)
        recorder.event(event)
        pipeline.handle(event)

    return record_and_handle


def _handed_on(environment: Mapping[str, str], parent: str, job: Job) -> dict[str, str]:
    """Return COMMAND's environment: the caller's, with a TRACEPARENT that puts its spans below the job's.

    A tracestate that came with an invalid traceparent is dropped with it (W3C Trace Context).
    """
    kept = {name: value for name, value in environment.items() if name != "TRACESTATE"}
    state = {"TRACESTATE": job.ids.trace_state} if job.ids.trace_state else {}
    return {**kept, "TRACEPARENT": parent, **state}
