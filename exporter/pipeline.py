"""How an event becomes telemetry, from top to bottom.

    decode → process table (psutil) → job → spans, metrics → OTLP

The left end is the kernel's ring or a recording; nothing here knows which.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import assert_never

from opentelemetry.sdk.resources import Resource

from exporter.account import Account
from exporter.addresses import address, transport
from exporter.config import ProcessSpans
from exporter.events import Acted, Answered, Asked, Event, Execed, Exited, Forked, ProcessKey
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

    def __init__(self, stages: Stages, lookup: Lookup) -> None:
        """`lookup` fills in what the kernel doesn't say."""
        self._stages = stages
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
                self._egress(event)
            case Asked() | Answered():
                pass
            case _:
                assert_never(event)

    def finish(self, at_ns: int, *, left_behind: Collection[int]) -> None:
        """The job is over: close what is open, the job's span last.

        `left_behind` are the pids that still run. The table alone can't tell: an exit's record may be lost.
        """
        live = self._table.live()
        self._stages.summary.left_behind([program for program in live if program.process.pid in left_behind])
        self._table.end_all(at_ns)
        self._stages.metrics.job_ended()
        self._stages.telemetry.submit(self._stages.spans.job(self._started_ns, at_ns), attempts=0)

    def _egress(self, event: Acted) -> None:
        stages = self._stages
        program = self._table.acted(event)
        span = stages.spans.egress(event, program, owner=self._lookup.owner(event.uid))
        peer = address(event.peer)
        stages.metrics.connection(peer.text, event.peer_port, transport(event.protocol), span.context)
        if program.is_recovered:
            stages.metrics.unattributed("process_record_lost")
        stages.summary.connected(event, peer, program)
        for fresh in mark_egress(program):
            if fresh.ended_ns is not None:  # it ended before anybody knew that it matters
                self._submit_program(fresh)
        stages.telemetry.submit(span, attempts=1)  # last: whatever fails before is an attempt not handed over

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
