"""How an event becomes telemetry, from top to bottom.

    decode → process table (psutil) → job → flows → spans, metrics → OTLP

The left end is the kernel's ring or a recording; nothing here knows which.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import assert_never

from opentelemetry.sdk.resources import Resource

from exporter.account import Account
from exporter.config import ProcessSpans
from exporter.destinations import Destination, destination
from exporter.events import (
    Acted,
    Aggregated,
    Event,
    Execed,
    Exited,
    Flowed,
    Forked,
    ProcessKey,
    Stage,
    Tampered,
)
from exporter.flows import Flow, Flows
from exporter.jobs.attributes import resource_attributes
from exporter.metrics import Metrics
from exporter.otlp import Telemetry
from exporter.processes import ProcessTable
from exporter.programs import Lookup, Program, mark_egress
from exporter.recording import Beginning
from exporter.spans import Spans
from exporter.summary import Summary


@dataclass(frozen=True)
class Stages:
    """What the events of a job pass through."""

    spans: Spans
    metrics: Metrics
    summary: Summary
    telemetry: Telemetry
    process_spans: ProcessSpans


class Pipeline:
    """The events of one job, one by one, in the order in which they happened."""

    def __init__(self, stages: Stages, lookup: Lookup, flows: Flows) -> None:
        """`lookup` fills in what the kernel doesn't say; `flows` holds what has begun and not ended."""
        self._stages = stages
        self._flows = flows
        self._lookup = lookup
        self._table = ProcessTable(lookup, on_end=self._ended)

    def begin(self, root: ProcessKey, scope: int, at_ns: int) -> None:
        """The job's root is there, about to become COMMAND."""
        self._table.seed(root, scope, at_ns)
        self._started_ns = at_ns
        self._stages.metrics.job_began()

    def handle(self, event: Event) -> None:
        """Take in one event; whatever it completes is on its way when this returns."""
        match event:
            case Forked():
                self._table.forked(event)
            case Execed():
                self._stages.summary.ran(self._table.execed(event))
            case Exited():
                self._table.exited(event)
            case Acted():
                self._acted(event)
            case Flowed():
                self._flowed(event)
            case Aggregated():
                self._aggregated(event)
            case Tampered():
                self._stages.summary.tampered(event, self._program(event))
            case _:
                assert_never(event)

    def finish(self, at_ns: int, *, left_behind: Collection[int]) -> None:
        """The job is over: close what is open, the job's span last.

        `left_behind` are the pids that still run. The table alone can't tell: an exit's record may be lost.
        """
        for flow in self._flows.rest():
            self._submit_flow(flow, at_ns)
        live = self._table.live()
        self._stages.summary.left_behind([program for program in live if program.process.pid in left_behind])
        self._table.end_all(at_ns)
        self._stages.metrics.job_ended()
        self._stages.telemetry.submit(self._stages.spans.job(self._started_ns, at_ns), attempts=0)

    def _acted(self, event: Acted) -> None:
        stages = self._stages
        program = self._program(event)
        flow = Flow(
            event,
            destination(event),
            program,
            self._lookup.owner(event.uid),
            stages.spans.next_context(event.at_ns),
        )
        stages.metrics.connection(flow.destination, flow.context)
        stages.summary.connected(flow.destination, program)
        if not self._flows.hold(flow):
            self._submit_flow(flow, event.at_ns)  # last: whatever fails before is an attempt not handed over
        for oldest in self._flows.surplus():
            self._submit_flow(oldest, event.at_ns)

    def _flowed(self, event: Flowed) -> None:
        flow = self._flows.advance(event)
        if flow is None:
            return
        metrics, where = self._stages.metrics, flow.destination
        is_outcome = event.stage is not Stage.NEVER_SENT and flow.established in (None, event)
        if is_outcome:
            metrics.connect_took(where, event.outcome, (event.at_ns - flow.event.at_ns) / 1e9)
        if flow.end is not None:
            self._transferred(where, flow.program, event)
            self._submit_flow(flow, event.at_ns)

    def _aggregated(self, event: Aggregated) -> None:
        stages, where = self._stages, destination(event)
        is_known = event.process.pid != 0
        program = self._program(event) if is_known else None
        if not is_known:
            stages.metrics.unattributed("table_full", event.attempts)
        owner = self._lookup.owner(event.uid) if is_known else None
        span = stages.spans.aggregate(event, where, program, owner)
        stages.metrics.connection(where, span.context, event.attempts)
        stages.summary.connected(where, program, event.attempts)
        self._transferred(where, program, event)
        stages.telemetry.submit(span, event.attempts, aggregated=True)

    def _program(self, event: Acted | Aggregated | Tampered) -> Program:
        """Who did it; from now on it and what it descends from have spans."""
        program = self._table.acted(event)
        if program.is_recovered:
            attempts = event.attempts if isinstance(event, Aggregated) else 1
            self._stages.metrics.unattributed("process_record_lost", attempts)
        for fresh in mark_egress(program):
            if fresh.ended_ns is not None:  # it ended before anybody knew that it matters
                self._submit_program(fresh)
        return program

    def _transferred(self, where: Destination, program: Program | None, event: Flowed | Aggregated) -> None:
        if event.bytes_sent or event.bytes_received:
            self._stages.metrics.transferred(where, event.bytes_sent, event.bytes_received)
            self._stages.summary.transferred(where, program, event.bytes_sent, event.bytes_received)

    def _submit_flow(self, flow: Flow, ended_ns: int) -> None:
        self._stages.telemetry.submit(self._stages.spans.egress(flow, ended_ns), attempts=1)

    def _ended(self, program: Program) -> None:
        was_only_forked = program.exec_id == 0 and program.became_another
        is_wanted = self._stages.process_spans is ProcessSpans.ALL and not was_only_forked
        if program.has_egress or is_wanted:
            self._submit_program(program)

    def _submit_program(self, program: Program) -> None:
        if self._stages.process_spans is not ProcessSpans.NONE and not program.is_reported:
            program.is_reported = True
            self._stages.telemetry.submit(self._stages.spans.program(program), attempts=0)


def stages(
    beginning: Beginning,
    telemetry: Telemetry,
    summary: Summary,
    account: Callable[[], Account],
    *,
    process_spans: ProcessSpans,
) -> Stages:
    """Everything that the events of a job pass through on their way to `telemetry`."""
    job = beginning.job
    resource = telemetry.resource.merge(Resource(resource_attributes(job)))
    has_programs = process_spans is not ProcessSpans.NONE
    return Stages(
        Spans(job, resource, beginning.clock, has_programs=has_programs),
        Metrics(telemetry.meter, job, account),
        summary,
        telemetry,
        process_spans,
    )
