"""A job that is traced: what its events become, and where that goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from opentelemetry.sdk.resources import Resource

from exporter.clock import Clock
from exporter.config import ProcessSpans
from exporter.denials import Denials
from exporter.jobs.attributes import resource_attributes
from exporter.jobs.model import Job
from exporter.metrics import JobMetrics, Metrics
from exporter.otlp import Telemetry
from exporter.spans import Spans
from exporter.summary import Summary
from exporter.terms import Terms


@dataclass(frozen=True)
class Outlets:
    """Where the telemetry of all jobs goes."""

    telemetry: Telemetry
    metrics: Metrics
    clock: Clock
    process_spans: ProcessSpans
    say: Callable[..., object] = lambda *_, **__: None
    """Shows a line about what is denied to a job, at once, with what programs read of it as keywords."""


@dataclass(frozen=True)
class TracedJob:
    """What the events of one job become."""

    spans: Spans
    metrics: JobMetrics
    summary: Summary
    started_ns: int
    """Since boot."""
    denials: Denials
    is_a_job: bool = True
    """False: what belongs to no job."""
    terms: Terms | None = None
    """None: it has no policy."""
    earlier: Mapping[int, Terms] = field(default_factory=dict)
    """Those of other policies, by the kernel's numbers: for what was on its way when its own changed."""

    def terms_of(self, policy: int) -> Terms | None:
        """Those that the kernel's policy `policy` has."""
        return self.earlier.get(policy, self.terms)


def traced_job(
    job: Job, outlets: Outlets, summary: Summary, started_ns: int, *, is_a_job: bool = True
) -> TracedJob:
    """What the events of `job` become; acts that are of no job hang on one span, not on their programs'."""
    resource = outlets.telemetry.resource.merge(Resource(resource_attributes(job)))
    has_programs = is_a_job and outlets.process_spans is not ProcessSpans.NONE
    spans = Spans(job, resource, outlets.clock, has_programs=has_programs)
    denials = Denials(outlets.telemetry.log, partial(outlets.say, job))
    return TracedJob(spans, outlets.metrics.of(job), summary, started_ns, denials, is_a_job)
