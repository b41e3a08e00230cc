"""The metrics: what jobs connect to, and whether everything they did is accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, SpanContext

from exporter.account import Account
from exporter.destinations import OTHER, Destination
from exporter.events import Outcome
from exporter.jobs.model import Job

DESTINATIONS_MAX = 200

_DURATIONS_S = [
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    130.0,
]
"""Up to the two minutes after which Linux gives up."""


@dataclass
class _Count:
    attempts: int = 0
    last: SpanContext = INVALID_SPAN_CONTEXT
    """The latest attempt's."""


@dataclass
class _Bytes:
    sent: int = 0
    received: int = 0


class Metrics:
    """The instruments of one job; names and attributes are fixed, other tools query them."""

    def __init__(self, meter: Meter, job: Job, account: Callable[[], Account]) -> None:
        """`account` is asked from the metric reader's thread."""
        self._pipeline = {"cicd.pipeline.name": job.pipeline} if job.pipeline else {}
        self._task = {"cicd.pipeline.task.name": job.task} if job.task else {}
        self._connections: dict[tuple[str, int | None, str | None], _Count] = {}
        self._io: dict[str, _Bytes] = {}
        self._timed: set[str] = set()
        self._account = account
        # Observed, since an add for every attempt would cost as much as everything else done for it.
        meter.create_observable_counter(
            "cicd.egress.connections",
            [self._observe_connections],
            "{connection}",
            "Connects and datagram sends that jobs attempted",
        )
        meter.create_observable_counter(
            "cicd.egress.io", [self._observe_io], "By", "Payload that connections carried"
        )
        self._durations = meter.create_histogram(
            "cicd.egress.connect.duration",
            "s",
            "From a connect to its outcome",
            explicit_bucket_boundaries_advisory=_DURATIONS_S,
        )
        self._jobs = meter.create_up_down_counter("cicd.egress.jobs", "{job}", "Jobs being traced")
        self._unattributed = meter.create_counter(
            "cicd.egress.exporter.unattributed", "{event}", "Attempts whose process or job is unknown"
        )
        meter.create_observable_gauge(
            "cicd.egress.enforcing", [self._observe_enforcing], "1", "Whether the policy denies"
        )
        meter.create_observable_counter(
            "cicd.egress.exporter.attempts",
            [self._observe_attempts],
            "{event}",
            "Attempts the kernel counted",
        )
        meter.create_observable_counter(
            "cicd.egress.exporter.events", [self._observe_events], "{event}", "What became of the attempts"
        )
        meter.create_observable_gauge(
            "cicd.egress.exporter.pending", [self._observe_pending], "{event}", "Attempts on their way"
        )

    def job_began(self) -> None:
        """A job is being traced."""
        self._jobs.add(1, self._pipeline)

    def job_ended(self) -> None:
        """It isn't any more."""
        self._jobs.add(-1, self._pipeline)

    def connection(self, destination: Destination, span: SpanContext, attempts: int = 1) -> None:
        """Count attempts, with their span as exemplar."""
        key = (destination.host, destination.port, destination.transport)
        count = self._connections.get(key)
        if count is None:
            # A job can make up destinations without end, ports too; metrics must not grow with them.
            if len(self._connections) >= DESTINATIONS_MAX:
                key = (OTHER, None, destination.transport)
            count = self._connections.setdefault(key, _Count())
        count.attempts += attempts
        count.last = span

    def transferred(self, destination: Destination, bytes_sent: int, bytes_received: int) -> None:
        """Count the payload of connections that ended."""
        host = destination.host
        if host not in self._io and len(self._io) >= DESTINATIONS_MAX:
            host = OTHER
        count = self._io.setdefault(host, _Bytes())
        count.sent += bytes_sent
        count.received += bytes_received

    def connect_took(self, destination: Destination, outcome: Outcome, duration_s: float) -> None:
        """Count a connect by how long its outcome took."""
        host = destination.host
        if host not in self._timed and len(self._timed) >= DESTINATIONS_MAX:
            host = OTHER
        self._timed.add(host)
        attributes = {**self._pipeline, "server.address": host, "egress.outcome": outcome.value}
        self._durations.record(duration_s, attributes)

    def unattributed(self, why: str, attempts: int = 1) -> None:
        """Count attempts whose process is unknown."""
        self._unattributed.add(attempts, {"error.type": why})

    def _observe_connections(self, _: CallbackOptions) -> Iterable[Observation]:
        for (host, port, transport), count in list(self._connections.items()):
            attributes = {
                **self._pipeline,
                **self._task,
                "server.address": host,
                **({} if port is None else {"server.port": port}),
                **({"network.transport": transport} if transport else {}),
                "egress.verdict": "allow",
            }
            exemplar = trace.set_span_in_context(NonRecordingSpan(count.last))
            yield Observation(count.attempts, attributes, exemplar)

    def _observe_io(self, _: CallbackOptions) -> Iterable[Observation]:
        for host, count in list(self._io.items()):
            attributes = {**self._pipeline, **self._task, "server.address": host}
            yield Observation(count.sent, {**attributes, "network.io.direction": "transmit"})
            yield Observation(count.received, {**attributes, "network.io.direction": "receive"})

    def _observe_enforcing(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(0, self._pipeline)]

    def _observe_attempts(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self._account().attempts)]

    def _observe_events(self, _: CallbackOptions) -> Iterable[Observation]:
        account = self._account()
        yield Observation(account.exported, {"egress.stage": "export", "egress.result": "exported"})
        yield Observation(account.aggregated, {"egress.stage": "kernel", "egress.result": "aggregated"})
        for (stage, error_type), number in account.dropped.items():
            attributes = {"egress.stage": stage, "egress.result": "dropped", "error.type": error_type}
            yield Observation(number, attributes)

    def _observe_pending(self, _: CallbackOptions) -> Iterable[Observation]:
        for stage, number in self._account().pending.items():
            yield Observation(number, {"egress.stage": stage})
