"""A job that is traced: what its events become, and where that goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext

from exporter.attributes import LayeredSpan
from exporter.clock import Clock
from exporter.config import ProcessSpans
from exporter.denials import Denials
from exporter.destinations import Destination
from exporter.events import RULE_OF_ANSWERS, Act, Acted, Aggregated, Flowed, Metered
from exporter.jobs.attributes import resource_attributes
from exporter.jobs.model import Job
from exporter.metrics import JobMetrics, Metrics
from exporter.novelties import Novelties, why_novel
from exporter.otlp import Telemetry
from exporter.programs import Program
from exporter.spans import Spans
from exporter.summary import Summary
from exporter.terms import Ruling, Terms

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline
    from exporter.baseline.novelty import Novelty


class View(Protocol):
    """Shows acts."""

    def met(self, job: Job, where: Destination, program: Program | None, said: Ruling, attempts: int) -> None:
        """Take in acts of `job` that are alike, at once; `program` None: it isn't known who."""


@dataclass(frozen=True)
class Outlets:
    """Where the telemetry of all jobs goes."""

    telemetry: Telemetry
    metrics: Metrics
    clock: Clock
    process_spans: ProcessSpans
    say: Callable[..., object] = lambda *_, **__: None
    """Shows a line about what a job does, at once, with what programs read of it as keywords."""
    view: View | None = None
    """What shows acts to somebody who watches; None: nobody does."""


@dataclass(frozen=True)
class TracedJob:
    """What the events of one job become."""

    spans: Spans
    metrics: JobMetrics
    summary: Summary
    started_ns: int
    """Since boot."""
    denials: Denials
    novelties: Novelties
    is_a_job: bool = True
    """False: what belongs to no job."""
    terms: Terms | None = None
    """None: it has no policy."""
    earlier: Mapping[int, Terms] = field(default_factory=dict)
    """Those of other policies, by the kernel's numbers: for what was on its way when its own changed."""
    novelty: Novelty | None = None
    """None: it has no baseline."""
    shows: Callable[[Destination, Program | None, Ruling, int], None] | None = None
    """None: nobody watches."""
    ends_by_token: bool = False
    """Its machine is the job's alone: what the host's own processes send to ci-egress, they send for it."""

    def terms_of(self, policy: int) -> Terms | None:
        """Those that the kernel's policy `policy` has."""
        terms = self.earlier.get(policy, self.terms)
        if terms is None or policy in (0, terms.number) or not terms.number or policy in self.earlier:
            return terms
        return terms.of_another  # that of an exporter before, which is gone

    def is_novel(self, event: Acted | Aggregated, where: Destination, program: Program | None) -> bool | None:
        """Whether the baseline doesn't have an act; None without one. Who is asked may answer whomever."""
        if self.novelty is None:
            return None
        if event.rule == RULE_OF_ANSWERS:
            return False
        lineage = program.known_lineage if program else None
        return self.novelty.is_novel(where, lineage, is_connect=event.act is Act.CONNECT)

    def counts(
        self,
        where: Destination,
        program: Program | None,
        said: Ruling,
        context: SpanContext,
        attempts: int = 1,
    ) -> None:
        """Count attempts on which `said` was ruled; `context` is their span's.

        `program` is None where it isn't known who they are of.
        """
        lineage = program.known_lineage if program else None
        self.metrics.connection(where, context, attempts, said=said, lineage=lineage)
        self.summary.connected(where, program, attempts, said=said)
        if self.shows is not None:
            self.shows(where, program, said, attempts)

    def tells(
        self,
        where: Destination,
        program: Program | None,
        said: Ruling,
        span: Callable[[], LayeredSpan],
        attempts: int = 1,
    ) -> None:
        """Tell of the same attempts what is to be told at once, by the span that `span` makes."""
        self.denials.meet(program, where, said, span, attempts)
        if said.is_novel and self.novelty is not None:
            has = self.novelty.has

            def why() -> str:
                return why_novel(program, is_known=has(where), is_doubted=said.is_doubted)

            self.novelties.meet(program, where, why, span, attempts)

    def transferred(
        self,
        where: Destination,
        program: Program | None,
        event: Flowed | Metered | Aggregated,
        said: Ruling,
    ) -> None:
        """Count bytes."""
        if event.bytes_sent or event.bytes_received:
            self.metrics.transferred(where, event.bytes_sent, event.bytes_received)
            self.summary.transferred(where, program, event.bytes_sent, event.bytes_received, said=said)


def traced_job(
    job: Job, outlets: Outlets, summary: Summary, started_ns: int, *, is_a_job: bool = True
) -> TracedJob:
    """What the events of `job` become; acts that are of no job hang on one span, not on their programs'."""
    resource = outlets.telemetry.resource.merge(Resource(resource_attributes(job)))
    has_programs = is_a_job and outlets.process_spans is not ProcessSpans.NONE
    spans = Spans(job, resource, outlets.clock, has_programs=has_programs)
    log, say = outlets.telemetry.log, partial(outlets.say, job)
    denials, novelties = Denials(log, say), Novelties(log, say)
    shows = partial(outlets.view.met, job) if outlets.view else None
    metrics = outlets.metrics.of(job)
    return TracedJob(spans, metrics, summary, started_ns, denials, novelties, is_a_job, shows=shows)


def known_by(baseline: Baseline | None, job: Job) -> Novelty | None:
    """What `baseline` has of `job`; None without one."""
    if baseline is None:
        return None  # and nothing of it is imported
    from exporter.baseline.model import Task
    from exporter.baseline.novelty import Novelty

    return Novelty(baseline, Task(job.pipeline or None, job.task or None))
