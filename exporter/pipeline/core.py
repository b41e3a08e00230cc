"""The pipeline that turns events into telemetry, stage by stage.

    decode → process table (/proc fills in) → job → names → policy, baseline → flows → spans, metrics → OTLP

Read on from `Pipeline.handle`: it finds out who acted and where to, gets a ruling, counts and reports the
attempt, and holds it until its end. The events come from the kernel's ring or from a recording; no code here
knows which.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import assert_never

from exporter.common.net.addresses import UNIX
from exporter.events.destinations import Destination, destination
from exporter.events.facts import (
    HOST,
    RULE_OF_LOOKUPS,
    RULE_OF_NAMES,
    Acted,
    Aggregated,
    Answered,
    Asked,
    Environment,
    Event,
    Execed,
    Exited,
    Flowed,
    Forked,
    Found,
    Metered,
    Stage,
    Switched,
    Tampered,
    Verdict,
    attempts_of,
)
from exporter.events.programs import Lookup, Program, mark_egress

from . import tampering
from .attempt import AttemptOf, EventT
from .event_log import TAMPER, EventLog
from .finder import JobFinder, NoJobFinder
from .flows import Flow, Flows
from .job import Outlets, TracedJob
from .job_table import JobTable
from .names import Names
from .process_spans import ProcessSpans
from .processes import ProcessTable
from .ruling import Ruling, early_ruling, ruling


class Pipeline:
    """A handler for the events of all jobs, taken one by one in the order in which they happened."""

    def __init__(
        self,
        outlets: Outlets,
        lookup: Lookup,
        flows: Flows,
        finder: JobFinder = NoJobFinder(),  # noqa: B008
    ) -> None:
        """Create a pipeline without jobs.

        `lookup` supplies facts that events lack, `flows` holds the attempts that haven't ended, and `finder`
        finds the jobs that nobody announced.
        """
        self._finder = finder
        self._outlets = outlets
        self._lookup = lookup
        self._flows = flows
        self.table = ProcessTable(lookup, on_end=self._ended)
        """The programs that run, and their ancestors."""
        self.jobs = JobTable(outlets, lookup.host_name)
        """The jobs that run."""

    def handle(self, event: Event) -> None:
        """Process one event; the telemetry that it completes has been submitted when this returns."""
        event = self.settled(event)
        match event:
            case Acted():
                self._acted(event)
            case Flowed() | Metered():
                self._went_on(event)
            case Aggregated():
                self._aggregated(event)
            case Tampered():
                self._tampered(event)
            case Found() | Environment() | Forked() | Execed() | Exited():
                self._lived(event)
            case Asked() | Answered():
                self._looked_up(event)
            case Switched():
                self.jobs.switched(event)
            case _:
                assert_never(event)

    def settled(self, event: Event) -> Event:
        """Return `event` with the number of the rule that decided.

        Where a rule for a name decided, the kernel reports RULE_OF_NAMES without saying which; the event
        keeps that number when the rule can't be found. Other events are returned unchanged.
        """
        if not isinstance(event, Acted | Aggregated) or event.rule != RULE_OF_NAMES:
            return event
        terms = self.jobs.of(self._scope_of(event)).terms_of(event.policy)
        if terms is None:
            return event
        names = self._names_of(event).names_of(event.peer, event.at_ns)
        return event._replace(rule=terms.rule_for(event, names))

    def _acted(self, event: Acted) -> None:
        program, owner = self._who(event)
        job = self.jobs.of(program.scope)
        attempt = self._ruled(job, event, self._where(event), program, owner)
        flow = Flow(attempt, attempt.ruling.refused)
        job.counts(attempt)
        job.tells(attempt, lambda: job.spans.egress(flow, event.at_ns))
        for known in self._flows.hold(flow):  # last: no flow may have an attempt that failed above
            self._submit_flow(known, event.at_ns)

    def _who(self, event: Acted | Aggregated) -> tuple[Program, str]:
        """Return the program behind `event`, and the name of its user."""
        return self._program(event), self._lookup.owner(event.uid)

    def _program(self, event: Acted | Aggregated | Tampered) -> Program:
        """Find the program behind `event`; from now on it and its ancestors have spans."""
        program = self.table.acted(event)
        attempts = attempts_of(event)
        if program.scope not in self.jobs:
            self._finder.stirs(program.scope, event.at_ns)
        if program.is_recovered:
            self._outlets.metrics.unattributed("process_record_lost", attempts)
        if not self.jobs.of(program.scope).is_a_job:
            self._outlets.metrics.unattributed("no_job", attempts)
        for fresh in mark_egress(program):
            if fresh.ended_ns is not None:  # it ended before it was known to be an ancestor of egress
                self._submit_program(fresh)
        return program

    def _where(self, event: Acted | Aggregated) -> Destination:
        names = self._names_of(event)
        if event.protocol == UNIX:
            return destination(event, names.socket_of(event))
        return destination(event, names.name_of(event.peer, event.at_ns, event.process))

    def _names_of(self, event: Acted | Aggregated | Asked | Answered) -> Names:
        """Return the names that the job behind `event` looked up."""
        return self.jobs.names_in(self._scope_of(event))

    def _scope_of(self, event: Acted | Aggregated | Asked | Answered) -> int:
        """Return the scope of the process behind `event`; the event's own if the process isn't known."""
        program = self.table.of(event.process)
        return program.scope if program else event.scope

    def _ruled(
        self, job: TracedJob, event: EventT, where: Destination, program: Program | None, owner: str | None
    ) -> AttemptOf[EventT]:
        """Return the attempt that `event` reports: with the ruling on it, and with its place in the trace."""
        said = self._said(job, event, where, program)
        context, parent = job.spans.next_context(event.at_ns), job.spans.program_context(program)
        return AttemptOf(event, where, program, owner, said, context, parent)

    def _said(
        self, job: TracedJob, event: Acted | Aggregated, where: Destination, program: Program | None
    ) -> Ruling:
        """Return the ruling of the job's policy and baseline; it has the name in a refused lookup."""
        said = self._by_policy(job, event, program)
        if event.rule == RULE_OF_LOOKUPS and isinstance(event, Acted):
            said = said._replace(refused=self._flows.last_asked(event.cookie))
        if job.novelty is None:
            return said
        is_doubted = self._names_of(event).doubts(where.host, event.peer, event.at_ns)
        judged = destination(event) if is_doubted else where
        return said._replace(is_novel=job.is_novel(event, judged, program), is_doubted=is_doubted)

    def _by_policy(self, job: TracedJob, event: Acted | Aggregated, program: Program | None) -> Ruling:
        terms = job.terms_of(event.policy)
        if terms is None or event.verdict is not Verdict.NONE or program is None or program.scope == HOST:
            return ruling(terms, event)  # policies are for jobs' processes alone, even on a job's machine
        names = self._names_of(event).names_of(event.peer, event.at_ns)
        return early_ruling(terms, event, names, [each.path or "" for each in program.chain])

    def _went_on(self, event: Flowed | Metered) -> None:
        if isinstance(event, Flowed):
            self._flowed(event)
            return
        flow = self._flows.measure(event)
        if flow is not None:
            self._submit_flow(flow, event.at_ns)

    def _flowed(self, event: Flowed) -> None:
        flow = self._flows.advance(event)
        if flow is None:
            return
        job = self.jobs.of(flow.attempt.scope)
        is_outcome = event.stage is not Stage.NEVER_SENT and flow.established in (None, event)
        if is_outcome:
            took_s = (event.at_ns - flow.attempt.event.at_ns) / 1e9
            job.metrics.connect_took(flow.attempt, event.outcome, took_s)
        if flow.end is not None:
            job.transferred(flow.attempt, event)
            self._submit_flow(flow, event.at_ns)

    def _looked_up(self, event: Asked | Answered) -> None:
        names = self._names_of(event)
        if isinstance(event, Answered):
            names.answered(event)
            return
        for flow in self._flows.asked(event, names.asked(event)):
            self._submit_flow(flow, flow.attempt.event.at_ns)

    def tick(self, at_ns: int) -> None:
        """Stop waiting for DNS questions that are overdue at `at_ns`. Call this regularly."""
        for flow in self._flows.overdue(at_ns):
            self._submit_flow(flow, flow.attempt.event.at_ns)

    def _submit_flow(self, flow: Flow, ended_ns: int) -> None:
        job = self.jobs.of(flow.attempt.scope)
        job.summary.ended(flow.attempt, flow.outcome)
        if flow.metered is not None:
            job.transferred(flow.attempt, flow.metered)
        self._outlets.telemetry.submit(job.spans.egress(flow, flow.ended_ns(ended_ns)), attempts=1)

    def _aggregated(self, event: Aggregated) -> None:
        where = self._where(event)
        program, owner = self._who(event) if event.process.pid else (None, None)
        if program is None:
            self._outlets.metrics.unattributed("table_full", event.attempts)
        job = self.jobs.of(program.scope if program else event.scope)
        attempt = self._ruled(job, event, where, program, owner)
        span = job.spans.aggregate(attempt)
        if event.attempts:
            job.counts(attempt)
            job.tells(attempt, lambda: span)
            job.summary.ended(attempt, event.outcome)
        job.transferred(attempt, event)
        self._outlets.telemetry.submit(span, event.attempts, aggregated=True)

    def _tampered(self, event: Tampered) -> None:
        program = self._program(event)
        job = self.jobs.of(program.scope)
        if program.scope == HOST and tampering.is_of_the_host(event, ends_by_token=job.ends_by_token):
            return
        job.summary.tampered(event, program)
        attributes = {
            **job.spans.process_attributes(program, event.parent_pid, self._lookup.owner(event.uid)),
            **tampering.attributes(event),
        }
        at_ns = job.spans.clock.wall_ns(event.at_ns)
        context = job.spans.program_context(program)
        log = EventLog(self._outlets.telemetry.log, job.spans.resource, context)
        log.write(TAMPER, tampering.told(event, program.name), attributes, at_ns)

    def _lived(self, event: Found | Environment | Forked | Execed | Exited) -> None:
        match event:
            case Found():
                self.table.found(event)
            case Environment():
                self._environment(event)
            case Forked():
                self.table.forked(event)
            case Execed():
                program = self.table.execed(event)
                self.jobs.of(program.scope).summary.ran(program)
            case Exited():
                self.table.exited(event)

    def _environment(self, event: Environment) -> None:
        program = self.table.of(event.process) or self.table.missed(event)
        if program is None or program.scope != HOST:
            self._finder.passed(event)
        else:
            found = self._finder.discover(event, program)
            if found is not None:
                self.table.make_root(program, found.scope, "environment", found.step)

    def _ended(self, program: Program) -> None:
        was_only_forked = program.exec_id == 0 and program.became_another
        is_wanted = self._outlets.process_spans is ProcessSpans.ALL and not was_only_forked
        if program.has_egress or is_wanted:
            self._submit_program(program)

    def _submit_program(self, program: Program) -> None:
        spans = self.jobs.of(program.scope).spans
        if spans.has_programs and not program.is_reported:
            program.is_reported = True
            self._outlets.telemetry.submit(spans.program(program), attempts=0)
        spans.ended(program)

    def end(
        self, scope: int, at_ns: int, *, left_behind: Collection[int] = (), still_traced: bool = False
    ) -> None:
        """End the job of `scope`: submit its open attempts and its programs, and the job's span last.

        `left_behind` are the pids that still run; the table alone doesn't show that, since the record of an
        exit may be lost. With `still_traced`, these processes stay in the table, and their acts are still
        reported.
        """
        job, scopes = self.jobs.of(scope), self.jobs.scopes_of(scope)
        for flow in self._flows.rest(scopes):
            self._submit_flow(flow, at_ns)
        pids = frozenset(left_behind)
        left = [program for program in self.table.live(scopes) if program.process.pid in pids]
        job.summary.left_behind(left, still_traced=still_traced)
        if still_traced:
            self.table.report_all(scopes, at_ns)
        else:
            self.table.end_all(scopes, at_ns)
        self.jobs.end(scope, at_ns)
