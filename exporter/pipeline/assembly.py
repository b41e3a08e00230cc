"""Put the parts of the pipeline together, for `run`, `watch` and `replay`, for tests and benchmarks.

assembly = assemble(telemetry, counts, clock, ProcessSpans.NETWORK)
pipeline = assembly.pipeline(Proc())
begin(pipeline, beginning, assembly.job(beginning, Summary(environment)))
pipeline.handle(event)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from exporter.common.clock import Clock
from exporter.events.programs import Lookup
from exporter.otlp.telemetry import Telemetry

from .account import Bookkeeping, KernelCounts
from .core import Pipeline
from .finder import JobFinder, NoJobFinder
from .flows import Flows
from .job import Outlets, TracedJob, View, known_by, silent, traced_job
from .metrics import Metrics
from .process_spans import ProcessSpans
from .recording import Beginning
from .summary import Summary

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline


class Assembly(NamedTuple):
    """The parts that all jobs share."""

    outlets: Outlets
    books: Bookkeeping
    flows: Flows

    def pipeline(self, lookup: Lookup, finder: JobFinder = NoJobFinder()) -> Pipeline:  # noqa: B008 - it has no state
        """Return a pipeline without jobs, which gets facts from `lookup` and jobs from `finder`."""
        return Pipeline(self.outlets, lookup, self.flows, finder)

    def job(self, beginning: Beginning, summary: Summary, baseline: Baseline | None = None) -> TracedJob:
        """Return the job that `beginning` describes, to be compared with `baseline`."""
        traced = traced_job(beginning.job, self.outlets, summary, beginning.at_ns)
        return replace(traced, terms=beginning.terms, novelty=known_by(baseline, beginning.job))


def assemble(  # noqa: PLR0913 - each is another thing that callers differ in
    telemetry: Telemetry,
    counts: Callable[[], KernelCounts],
    clock: Clock,
    process_spans: ProcessSpans,
    *,
    say: Callable[..., object] = silent,
    view: View | None = None,
    has_lineages: bool = False,
) -> Assembly:
    """Put together parts that hand their telemetry to `telemetry`; `counts` returns the kernel's counts.

    `say` gets lines about acts of a job, at once. With `has_lineages`, metrics also count by process chain.
    """
    flows = Flows()
    books = Bookkeeping(counts, lambda: telemetry.account, lambda: len(flows), lambda: telemetry.earlier)
    metrics = Metrics(telemetry.meter, telemetry.add_producer, books.published, has_lineages=has_lineages)
    return Assembly(Outlets(telemetry, metrics, clock, process_spans, say, view), books, flows)


def begin(pipeline: Pipeline, beginning: Beginning, job: TracedJob) -> None:
    """Begin `job`, whose root runs already. It also gets the events of scopes that have no job."""
    pipeline.jobs.begin(beginning.scope, job, takes_rest=True)
    pipeline.table.seed(beginning.root, beginning.scope, beginning.at_ns, beginning.step)
