"""A traced job: the makers of its telemetry, and the outlets that the telemetry goes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

from opentelemetry.sdk.resources import Resource

from exporter.common.clock import Clock
from exporter.events.destinations import Destination
from exporter.events.facts import RULE_OF_ANSWERS, Act, Acted, Aggregated, Flowed, Metered
from exporter.events.programs import Program
from exporter.jobs.attributes import resource_attributes
from exporter.jobs.model import Job
from exporter.otlp.attributes import LayeredSpan
from exporter.otlp.telemetry import Telemetry

from .alerts import Denials, Novelties, why_novel
from .attempt import Attempt
from .metrics import JobMetrics, Metrics
from .process_spans import ProcessSpans
from .ruling import Terms
from .spans import Spans
from .summary import Summary

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline
    from exporter.baseline.novelty import Novelty


class View(Protocol):
    """A display of acts for somebody who watches."""

    def met(self, job: Job, attempt: Attempt) -> None:
        """Show an attempt of `job`, or several that are alike."""


def silent(*_: object, **__: object) -> None:
    """Show no line."""


@dataclass(frozen=True)
class Outlets:
    """The outlets that the telemetry of all jobs goes to."""

    telemetry: Telemetry
    metrics: Metrics
    clock: Clock
    process_spans: ProcessSpans
    say: Callable[..., object] = silent
    """Function that shows a line about an act of a job at once; its keywords give programs the same facts."""
    view: View | None = None
    """Display of acts for somebody who watches; None: nobody watches."""


@dataclass(frozen=True)
class TracedJob:
    """A job, with the parts that turn its events into telemetry."""

    spans: Spans
    metrics: JobMetrics
    summary: Summary
    started_ns: int
    """When the job began, in nanoseconds since boot."""
    denials: Denials
    novelties: Novelties
    is_a_job: bool = True
    """False for the stand-in job that gets the events of processes of no job."""
    terms: Terms | None = None
    """The terms of its policy; None: it has no policy."""
    earlier: Mapping[int, Terms] = field(default_factory=dict)
    """Terms of other policies that may have decided on its events, by their numbers in the kernel."""
    novelty: Novelty | None = None
    """The baseline for its task; None: it has no baseline."""
    shows: Callable[[Attempt], None] | None = None
    """Function that shows acts to somebody who watches; None: nobody watches."""
    ends_by_token: bool = False
    """Whether only a token ends its watch: then no process of the host signals ci-egress in good faith."""

    def terms_of(self, policy: int) -> Terms | None:
        """Return the terms of the policy that has the number `policy` in the kernel."""
        terms = self.earlier.get(policy, self.terms)
        if terms is None or policy in (0, terms.number) or not terms.number or policy in self.earlier:
            return terms
        return terms.of_another  # a policy of an earlier exporter, which is gone

    def is_novel(
        self, event: Acted | Aggregated, destination: Destination, program: Program | None
    ) -> bool | None:
        """Whether the baseline lacks an act. Answers of a listener aren't novel.

        Returns None without a baseline, and for an event that only adds bytes of peers that aren't told
        apart.
        """
        meets_nobody = isinstance(event, Aggregated) and event.is_other and not event.attempts
        if self.novelty is None or meets_nobody:
            return None
        if event.rule == RULE_OF_ANSWERS:
            return False
        lineage = program.known_lineage if program else None
        return self.novelty.is_novel(destination, lineage, is_connect=event.act is Act.CONNECT)

    def counts(self, attempt: Attempt) -> None:
        """Count an attempt in the metrics and the summary, and show it to whoever watches."""
        self.metrics.connection(attempt)
        self.summary.connected(attempt)
        if self.shows is not None:
            self.shows(attempt)

    def tells(self, attempt: Attempt, span: Callable[[], LayeredSpan]) -> None:
        """Report an attempt at once if it was denied, would be denied, or is novel.

        `span` makes the attempt's span; it is called only where there is something to report.
        """
        self.denials.meet(attempt, span)
        if attempt.ruling.is_novel and self.novelty is not None:
            has = self.novelty.has
            self.novelties.meet(attempt, lambda: why_novel(attempt, is_known=has(attempt.destination)), span)

    def transferred(self, attempt: Attempt, event: Flowed | Metered | Aggregated) -> None:
        """Add the bytes of `event` to the metrics and the summary."""
        if event.bytes_sent or event.bytes_received:
            self.metrics.transferred(attempt, event.bytes_sent, event.bytes_received)
            self.summary.transferred(attempt, event.bytes_sent, event.bytes_received)


def traced_job(
    job: Job, outlets: Outlets, summary: Summary, started_ns: int, *, is_a_job: bool = True
) -> TracedJob:
    """Set up the tracing of `job`.

    With `is_a_job` False, programs have no spans: the spans of their acts are children of the job's span.
    """
    resource = outlets.telemetry.resource.merge(Resource(resource_attributes(job)))
    has_programs = is_a_job and outlets.process_spans is not ProcessSpans.NONE
    spans = Spans(job, resource, outlets.clock, has_programs=has_programs)
    log, say = outlets.telemetry.log, partial(outlets.say, job)
    denials, novelties = Denials(log, say), Novelties(log, say)
    shows = partial(outlets.view.met, job) if outlets.view else None
    metrics = outlets.metrics.of(job)
    return TracedJob(spans, metrics, summary, started_ns, denials, novelties, is_a_job, shows=shows)


def known_by(baseline: Baseline | None, job: Job) -> Novelty | None:
    """Return the part of `baseline` that is about the task of `job`; None without a baseline."""
    if baseline is None:
        return None  # without importing the code that reads one
    from exporter.baseline.model import Task
    from exporter.baseline.novelty import Novelty

    return Novelty(baseline, Task(job.pipeline or None, job.task or None))
