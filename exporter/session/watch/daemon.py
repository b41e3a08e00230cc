"""The part of `ci-egress watch` that is imported while the kernel's programs are being compiled."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Protocol

from exporter.common.clock import Rhythm, boot_ns, system_clock
from exporter.common.errors import FAIL_ON_STATUS, LOST_STATUS
from exporter.common.net.hosts import all_names
from exporter.common.systemd import notify
from exporter.events.facts import HOST, Environment, Event, Found
from exporter.jobs.attributes import worker_attributes
from exporter.kernel.frames.packet_frames import TURN_S
from exporter.kernel.maps.windows import Coverage
from exporter.kernel.tracer import Tracer
from exporter.otlp.courier import Spooling
from exporter.otlp.environment import ignored_variables, resolve_destinations
from exporter.otlp.settings import Rotation
from exporter.otlp.spool_folder import SpoolFolder, default_folder
from exporter.otlp.telemetry import Telemetry
from exporter.pipeline.account import Account
from exporter.pipeline.assembly import assemble
from exporter.pipeline.job import Outlets
from exporter.pipeline.procfs import Proc, all_pids
from exporter.session.fail_on import futile
from exporter.session.feed import LiveSource, find_everyone, kernel_counts
from exporter.session.guards.checks import Guards, Owner, enforcement_warnings
from exporter.session.left_instances import tell_leftovers
from exporter.session.left_processes import end_what_is_left, held_unless_asked
from exporter.session.live_view import Ticker, screen, shown
from exporter.session.messages import Messages, warn
from exporter.session.reports import Reporting
from exporter.session.shared_messages import drops, saying_long_flush, tell_act_of, warn_of_ignored
from exporter.session.survival import go_first

from .agents import Above
from .announcements import Announcements
from .faults import Faults
from .inputs import WatchInputs
from .job_finder import JobWatch
from .lost_records import LostRecords, read_environment
from .policy_holder import WatchPolicyHolder
from .reload import reread
from .reports import WatchReporting
from .requests import Requests
from .running_steps import RunningSteps
from .steps import Steps
from .takeover import Takeover
from .whole_machine import SCOPE as MACHINE
from .whole_machine import MachineWatch

_LOOK_AROUND_S, _REAP_S = 1.0, 10.0
_BUSY_INTERVAL_S, _IDLE_INTERVAL_S = 0.005, 0.02


class Kernel(Protocol):
    """The kernel's programs, which may still be compiled and loaded."""

    def loaded(self, coverage: Coverage) -> Tracer:
        """Wait until the programs are loaded, and return their tracer. Raises KernelError."""

    def attach(self) -> None:
        """Attach the programs, unless they are attached. Raises KernelError."""


def run(
    given: WatchInputs,
    environment: Mapping[str, str],
    kernel: Kernel,
    asked: Requests,
    be_ready: Callable[[], None],
) -> int:
    """Watch until `asked` says to end, flush, and report the result; returns the exit status.

    `be_ready` is called once no act is missed any more.
    """
    config = given.config
    warn_of_ignored(ignored_variables(environment))
    if given.policy and (in_vain := futile(config.fail_on, given.policy.of_others.mode)) is not None:
        warn(in_vain)
    rotation = Rotation.within(config.otlp_dir_limit_mib << 20)
    destinations = resolve_destinations(environment, otlp_dir=config.output.otlp_dir, rotation=rotation)
    go_first()
    with ExitStack() as stack:
        spooling = Spooling(SpoolFolder(default_folder(environment, os.geteuid())))
        identity = worker_attributes(given.job) if given.job else {}
        reporting = stack.enter_context(Reporting(config.reports, environment))
        telemetry = stack.enter_context(
            Telemetry(destinations, identity, spooling=spooling, transcript=reporting.transcript)
        )
        telemetry.prepare()
        reporting.prepare()
        tracer = kernel.loaded(Coverage(is_host=True, reads_environments=True))
        daemon = _Daemon(given, environment, tracer, telemetry, reporting)
        daemon.prepare()
        kernel.attach()
        tell_leftovers()
        policy = given.policy.policy if given.policy else None
        for limit in enforcement_warnings(tracer, policy, is_enforced=policy is not None):
            warn(limit)
        daemon.begin()
        notify("READY=1", environment)
        be_ready()
        Messages.current().say(f"watching, telemetry goes to {', '.join(destinations.shown) or 'nowhere'}")
        if destinations.disabled:
            warn("OTEL_SDK_DISABLED is set: nothing is exported")
        with shown(daemon.view), held_unless_asked(tracer):
            daemon.loop(asked)
            daemon.end_job(asked)
        notify("STOPPING=1", environment)
        account = daemon.finish()
        for problem in (*drops(account), *daemon.missed.all(), *telemetry.complaints(), *telemetry.notes()):
            warn(problem)
        failings = daemon.failings(account)
        for failing in failings:
            Messages.current().say(failing, level=logging.ERROR)
        daemon.reports.finish(account)
        Messages.current().say(str(account), account=account.fields())
        has_losses = telemetry.has_losses or any(account.dropped.values())
    if config.strict and has_losses:
        return LOST_STATUS
    return FAIL_ON_STATUS if failings else 0


class _Daemon:
    """A watch, from its beginning to its end."""

    def __init__(
        self,
        given: WatchInputs,
        environment: Mapping[str, str],
        tracer: Tracer,
        telemetry: Telemetry,
        reporting: Reporting,
    ) -> None:
        config, policy, _, job, agents, above = given
        self._config, self._tracer, self._telemetry = config, tracer, telemetry
        self.view = screen(environment, is_live=config.is_live)
        self._ticker = Ticker(self.view)
        assembly = assemble(
            telemetry,
            partial(kernel_counts, tracer),
            system_clock(),
            config.output.process_spans,
            say=tell_act_of,
            view=self._ticker if self.view else None,
            has_lineages=config.metric_lineage,
        )
        outlets, self._books, flows = assembly
        self._holder = WatchPolicyHolder(tracer, policy, all_names, warn, has_one_job=job is not None)
        self._adopted_ns = 0
        """When a process was last found to be of a job, in nanoseconds since boot."""
        self.reports = WatchReporting(reporting, given, self._books.account)
        self._announcements = Announcements(self.view, self.reports, lambda: self._jobs.baseline)
        self._above = above or Above()
        self._apart = frozenset(self._above.everyone)
        """The processes that started the watch: they run beside the job's processes, and are none of them."""
        self._steps = Steps(tracer, agents, config.job_env, self._above)
        self._jobs = self._watch_for_jobs(given, environment, outlets)
        self._pipeline = assembly.pipeline(Proc(), self._jobs)
        self._source = LiveSource(tracer, self._handle, self._books, flows)
        self._takeover: Takeover | None = None
        if isinstance(self._jobs, JobWatch):
            self._takeover = Takeover(tracer, outlets, self._pipeline, self._jobs, self._holder, self._books)
        ends_by_token = config.end_folder is not None
        agent = self._above.agent if ends_by_token else None
        owner = Owner(warned=self._jobs.warned, ends_by_token=ends_by_token, agent=agent)
        self._guards = Guards(tracer, outlets, self._books, self._handle, owner)
        self._faults = Faults(self._guards.went_wrong)
        decide = partial(self._decide, comes_again=False)
        self.missed = LostRecords(tracer, self._source, decide, self._jobs)
        self._source.decide_first(self._decide, self.missed.make_up)
        self._sleep = tracer.sleep if policy else time.sleep
        self._pause_s = _IDLE_INTERVAL_S
        self._reaping = Rhythm(_REAP_S, at_once=False)

    def prepare(self) -> None:
        """Enter agents and steps into the kernel's maps, before its programs are attached."""
        self._steps.begin()

    def begin(self) -> None:
        """Find the processes that run already. If an instance was adopted, go on with its processes."""
        self._holder.start(self._guards.steering, self._pipeline.jobs, self._source.catch_up)
        self._jobs.begin(self._pipeline, boot_ns())
        if self._takeover is not None and self._tracer.is_adopted:
            self._takeover.begin(self._source.take)
            self._steps.find_again()
            return
        # All are entered before the first environment is read, which may take long.
        for found in list(find_everyone(self._tracer, besides={os.getpid()}, standing=self._steps.standing)):
            self._handle(found)
            if found.process not in self._apart and not self._steps.is_agent(found.process):
                read_environment(self._handle, found.process, exec_id=0)
        self._steps.find_again()

    def loop(self, asked: Requests) -> None:
        """Watch until `asked` says to end, or nobody is left who could ask for the end.

        When a part of a turn fails, the failure is reported, and the other parts are done all the same.
        """
        turn: list[Callable[[], object]] = [
            self._take_in,
            lambda: self._jobs.end_some(boot_ns()),
            lambda: self._sleep(self._pause_s),
            lambda: self._pipeline.tick(boot_ns()),
            self._ticker.tick,
            lambda: self._tracer.note(self._books.settled),
            lambda: self._heed(asked),
        ]
        looking = Rhythm(_LOOK_AROUND_S, at_once=False)
        self._tracer.frames.most_s = TURN_S
        while not (asked.end or self._guards.is_left_alone):
            for part in turn:
                self._faults.stand(part)
            if looking.is_time():
                for part in self._looks():
                    self._faults.stand(part)
                    self._faults.stand(self._source.decide)

    def _take_in(self) -> None:
        self._pause_s = _IDLE_INTERVAL_S
        pumped_ns = boot_ns()
        if self._source.pump():
            self._pause_s = _BUSY_INTERVAL_S
        if not self._source.is_behind:
            self.missed.tell(self._source.hand)
        if not self._tracer.frames.is_covering:
            # A job is announced once all its processes are held to its policy: processes that executed a
            # program before their root was found are found one by one.
            is_settled = self._adopted_ns < pumped_ns and not self._source.is_behind
            self._announcements.say_begun(is_settled=is_settled)

    def _heed(self, asked: Requests) -> None:
        asked.look()
        if asked.is_forged:
            self._guards.end_was_forged()
        if asked.reread:
            asked.reread = False
            reread(self._config, self._holder, self._jobs, self._source.catch_up)

    def end_job(self, asked: Requests) -> None:
        """End processes that steps of the machine's job left, if it is over and its policy is enforced.

        The job is over unless the end was asked for by a secret that lets it go on (see end_folder.py).
        Processes of steps that still run may go on, unless the watch ends because the agent is gone.
        """
        if self._config.end_folder is None or asked.goes_on:
            return
        if isinstance(self._jobs, MachineWatch):
            self._source.catch_up()  # to know all processes of the job
            running = RunningSteps(self._tracer, MACHINE, self._above, self._steps.ran_before)
            end_what_is_left(
                self._tracer,
                MACHINE,
                self._source.pump,
                goes_on=lambda process: not self._guards.is_left_alone and running.have(process),
                left_by="the job",
            )

    def finish(self) -> Account:
        """Detach the programs, report the rest, and flush the telemetry; returns the final account."""
        self._guards.look()
        self._source.finish()
        if self._takeover is not None:
            self._takeover.end()
        self.reports.ending()
        self._jobs.finish(boot_ns())
        with saying_long_flush():
            self._telemetry.close(before_logs=self._guards.tell_losses)
        return self._books.account()

    def failings(self, account: Account) -> list[str]:
        """Return why the watch ends with a failure, a line each."""
        return self._announcements.judged.failings(self._config.fail_on, account, self._jobs.turned_away)

    def _watch_for_jobs(
        self, given: WatchInputs, environment: Mapping[str, str], outlets: Outlets
    ) -> JobWatch | MachineWatch:
        job_env, changed, holder = given.config.job_env, self._announcements.changed, self._holder
        baseline = given.baseline
        if given.job is None:
            return JobWatch(
                outlets,
                job_env=job_env,
                on_change=changed,
                holder=holder,
                baseline=baseline,
                is_agent=self._tracer.scopes.is_agent,
                give_up_open=lambda scope: self._tracer.scopes.give_up_open(scope, self._source.take),
            )
        return MachineWatch(
            outlets,
            given.job,
            environment,
            job_env=job_env,
            apart=self._apart,
            on_change=changed,
            holder=holder,
            baseline=baseline,
            ends_by_token=given.config.end_folder is not None,
        )

    def _handle(self, event: Event) -> None:
        if isinstance(event, Environment) and event.process.pid == os.getpid():
            return  # it waited in the ring of an adopted instance, which followed this process
        self._pipeline.handle(event)
        if isinstance(event, Found | Environment):
            self._tell_kernel(event)

    def _tell_kernel(self, event: Found | Environment) -> None:
        program = self._pipeline.table.of(event.process)
        if program is None:
            return  # it isn't known any more whose process it was: an early decision about it stays
        if isinstance(event, Environment):
            self._steps.decide(event, program.scope)
        elif program.scope != HOST:
            self._tracer.scopes.adopt(event.process, 0, program.scope)
        if program.scope != HOST:
            self._adopted_ns = boot_ns()

    def _decide(self, event: Environment, *, comes_again: bool = True) -> None:
        """Hold a job's root to its policy, or release a process of no job, before the record is handled."""
        if event.process.pid == os.getpid() or isinstance(self._jobs, MachineWatch):
            return  # with one job there is nothing to decide: each root is a root of it
        scope = self._jobs.decide(event, comes_again=comes_again)
        if scope is not None:
            self._steps.decide(event, scope)

    def _looks(self) -> list[Callable[[], object]]:
        """Return the checks that are made once a second."""
        return [
            self._tracer.scopes.sweep,
            lambda: self._jobs.look_around(boot_ns()),
            self._reap,
            self._source.forget_ended,
            lambda: self._holder.look(lambda scopes: self._tracer.scopes.close(scopes, self._source.take)),
            self._guards.look_for_agent,
            self._guards.tick,
            self._tell_problems,
        ]

    def _reap(self) -> None:
        """End the programs whose exit records got lost."""
        if self._reaping.is_time():
            self._pipeline.table.reap(all_pids(), boot_ns())

    def _tell_problems(self) -> None:
        for problem in (*self.missed.news(), *self._telemetry.complaints()):
            warn(problem)
