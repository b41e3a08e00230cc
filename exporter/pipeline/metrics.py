"""The metrics: the connections of jobs, and whether every attempt is accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics.export import Metric
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, SpanContext

from exporter.events.destinations import OTHER
from exporter.events.facts import Outcome
from exporter.jobs.model import Job
from exporter.otlp.histograms import Durations, Producer, durations_metric

from .account import Account
from .attempt import Attempt
from .series import DESTINATIONS_MAX, UNKNOWN_LINEAGE, Cap, Caps, CountedDestination, Series

PIPELINES_MAX = 200

Labels = tuple[dict[str, str], dict[str, str]]


@dataclass
class _Count:
    attempts: int = 0
    last: SpanContext = INVALID_SPAN_CONTEXT
    """Context of the latest attempt's span."""


@dataclass
class _Bytes:
    sent: int = 0
    received: int = 0


class _OfPipeline:
    """The limits and histograms that all jobs of a pipeline share."""

    def __init__(self, pipeline: Mapping[str, str]) -> None:
        self.connections, self.hosts = Caps(), Cap(DESTINATIONS_MAX)
        self.durations = Durations(pipeline)


class JobMetrics:
    """The counters of the jobs of one pipeline and task."""

    def __init__(self, labels: Labels, shared: _OfPipeline, *, has_lineages: bool = False) -> None:
        """`labels` are the attributes of pipeline and task; `shared` is common to the pipeline's jobs.

        With `has_lineages`, connections are also counted by chains of processes.
        """
        self.pipeline, self._task = labels
        self.running = 0
        """Number of jobs that are being traced."""
        self.is_enforcing = False
        """Whether the policy of the latest job is enforced."""
        self._shared = shared
        self._has_lineages = has_lineages
        self._connections: dict[Series, _Count] = {}
        self._io: dict[str, _Bytes] = {}

    def connection(self, attempt: Attempt) -> None:
        """Count an attempt, or several that are alike; the attempt's span is the exemplar."""
        host, port, transport, _ = attempt.destination
        chain = (attempt.known_lineage or UNKNOWN_LINEAGE) if self._has_lineages else None
        series = Series(
            CountedDestination(host, port, transport), attempt.ruling.verdict, attempt.ruling.is_novel, chain
        )
        count = self._connections.get(series)
        if count is None:
            count = self._connections.setdefault(self._shared.connections.capped(series), _Count())
        count.attempts += attempt.attempts
        count.last = attempt.context

    def transferred(self, attempt: Attempt, bytes_sent: int, bytes_received: int) -> None:
        """Count payload bytes, once they are final."""
        count = self._io.setdefault(self._host(attempt), _Bytes())
        count.sent += bytes_sent
        count.received += bytes_received

    def connect_took(self, attempt: Attempt, outcome: Outcome, duration_s: float) -> None:
        """Add a connect to the histogram of its outcome; the attempt's span is the exemplar."""
        self._shared.durations.add(self._host(attempt), outcome, duration_s, attempt.context)

    def observe_connections(self) -> Iterator[Observation]:
        """Yield the attempts so far, one observation for each series."""
        for series, count in list(self._connections.items()):
            attributes = {**self.pipeline, **self._task, **series.attributes()}
            exemplar = trace.set_span_in_context(NonRecordingSpan(count.last))
            yield Observation(count.attempts, attributes, exemplar)

    def observe_io(self) -> Iterator[Observation]:
        """Yield the payload bytes so far, two series for each host."""
        for host, count in list(self._io.items()):
            attributes = {**self.pipeline, **self._task, "server.address": host}
            yield Observation(count.sent, {**attributes, "network.io.direction": "transmit"})
            yield Observation(count.received, {**attributes, "network.io.direction": "receive"})

    def _host(self, attempt: Attempt) -> str:
        host = attempt.destination.host
        return host if self._shared.hosts.admits(host) else OTHER


class Metrics:
    """The instruments. Their names and attributes are fixed, since other tools query them."""

    def __init__(
        self,
        meter: Meter,
        add_producer: Callable[[Producer], object],
        account: Callable[[], Account],
        *,
        has_lineages: bool = False,
    ) -> None:
        """Create the instruments of `meter`.

        `add_producer` adds a producer of histograms, which no instrument can hold. The metric reader's thread
        reads instruments and histograms. With `has_lineages`, connections are also counted by chains of
        processes.
        """
        add_producer(self._produce)
        self._has_lineages = has_lineages
        self._account = account
        self._moment = Account(0, 0, 0)
        self._jobs: dict[tuple[str | None, str | None], JobMetrics] = {}
        self._pipelines: dict[str | None, _OfPipeline] = {}
        # Observed, since an add for every attempt would cost as much as all other work on it.
        observed = meter.create_observable_counter
        observed(
            "cicd.egress.connections",
            [lambda _: self._of_all(JobMetrics.observe_connections)],
            "{connection}",
            "Connects and datagram sends that jobs attempted",
        )
        observed(
            "cicd.egress.io",
            [lambda _: self._of_all(JobMetrics.observe_io)],
            "By",
            "Payload that connections carried",
        )
        self._is_detached = False
        self._running = meter.create_up_down_counter("cicd.egress.jobs", "{job}", "Jobs being traced")
        self._unattributed = meter.create_counter(
            "cicd.egress.exporter.unattributed", "{event}", "Attempts whose process or job is unknown"
        )
        meter.create_observable_gauge(
            "cicd.egress.enforcing", [self._observe_enforcing], "1", "Whether the policy denies"
        )
        observed(
            "cicd.egress.exporter.attempts",
            [self._observe_attempts],
            "{event}",
            "Attempts the kernel counted",
        )
        observed(
            "cicd.egress.exporter.events", [self._observe_events], "{event}", "What became of the attempts"
        )
        meter.create_observable_gauge(
            "cicd.egress.exporter.pending", [self._observe_pending], "{event}", "Attempts on their way"
        )

    def of(self, job: Job) -> JobMetrics:
        """Return the counters for `job`, which all jobs of one pipeline and task share."""
        key = (job.pipeline, job.task)
        if key not in self._jobs and len(self._jobs) >= PIPELINES_MAX:
            key = (OTHER, None)
        found = self._jobs.get(key)
        if found is None:
            pipeline, task = key
            labels = (
                {"cicd.pipeline.name": pipeline} if pipeline else {},
                {"cicd.pipeline.task.name": task} if task else {},
            )
            if pipeline not in self._pipelines:
                self._pipelines[pipeline] = _OfPipeline(labels[0])
            shared = self._pipelines[pipeline]
            found = self._jobs[key] = JobMetrics(labels, shared, has_lineages=self._has_lineages)
        return found

    def began(self, job: JobMetrics, *, is_enforcing: bool = False) -> None:
        """Count a job whose tracing begins."""
        job.running += 1
        job.is_enforcing = is_enforcing
        self._running.add(1, job.pipeline)

    def ended(self, job: JobMetrics) -> None:
        """Count a job whose tracing has ended."""
        job.running -= 1
        self._running.add(-1, job.pipeline)

    def detached(self) -> None:
        """Report from now on that nothing is enforced, since the kernel's programs are no longer attached."""
        self._is_detached = True

    def unattributed(self, why: str, attempts: int = 1) -> None:
        """Count attempts whose process or job is unknown."""
        self._unattributed.add(attempts, {"error.type": why})

    def _produce(self, start_ns: int, now_ns: int) -> Iterator[Metric]:
        pipelines = list(self._pipelines.values())
        points = (shared.durations.points(start_ns, now_ns) for shared in pipelines)
        return durations_metric(chain.from_iterable(points))

    def _of_all(self, observe: Callable[[JobMetrics], Iterator[Observation]]) -> Iterator[Observation]:
        return chain.from_iterable(map(observe, list(self._jobs.values())))

    def _observe_enforcing(self, _: CallbackOptions) -> Iterable[Observation]:
        jobs = list(self._jobs.values())
        enforcing = {
            tuple(job.pipeline.items()) for job in jobs if job.is_enforcing and not self._is_detached
        }
        pipelines = {tuple(job.pipeline.items()): job.pipeline for job in jobs}
        return [Observation(int(key in enforcing), pipeline) for key, pipeline in pipelines.items()]

    def _observe_attempts(self, _: CallbackOptions) -> Iterable[Observation]:
        # This one is asked first in each collection: the next two report the same moment.
        self._moment = self._account()
        return [Observation(self._moment.attempts)]

    def _observe_events(self, _: CallbackOptions) -> Iterable[Observation]:
        account = self._moment
        yield Observation(account.exported, {"egress.stage": "export", "egress.result": "exported"})
        yield Observation(account.aggregated, {"egress.stage": "kernel", "egress.result": "aggregated"})
        for (stage, error_type), number in account.dropped.items():
            attributes = {"egress.stage": stage, "egress.result": "dropped", "error.type": error_type}
            yield Observation(number, attributes)

    def _observe_pending(self, _: CallbackOptions) -> Iterable[Observation]:
        for stage, number in self._moment.pending.items():
            yield Observation(number, {"egress.stage": stage})
