"""The metrics: what jobs connect to, and whether everything they did is accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import NonRecordingSpan, SpanContext

from exporter.account import Account
from exporter.jobs.model import Job

DESTINATIONS_MAX = 200
OTHER = "_other"


class Metrics:
    """The instruments of one job; names and attributes are fixed, other tools query them."""

    def __init__(self, meter: Meter, job: Job, account: Callable[[], Account]) -> None:
        """`account` is asked from the metric reader's thread."""
        self._pipeline = {"cicd.pipeline.name": job.pipeline} if job.pipeline else {}
        self._task = {"cicd.pipeline.task.name": job.task} if job.task else {}
        self._destinations: set[tuple[str, int, str | None]] = set()
        self._account = account
        self._connections = meter.create_counter(
            "cicd.egress.connections", "{connection}", "Connects and datagram sends that jobs attempted"
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

    def connection(self, host: str, port: int, transport: str | None, span: SpanContext) -> None:
        """Count an attempt, with its span as exemplar."""
        attributes: dict[str, str | int] = {
            **self._pipeline,
            **self._task,
            **self._bounded(host, port, transport),
            "egress.verdict": "allow",
        }
        self._connections.add(1, attributes, trace.set_span_in_context(NonRecordingSpan(span)))

    def unattributed(self, why: str) -> None:
        """Count an attempt whose process is unknown."""
        self._unattributed.add(1, {"error.type": why})

    def _bounded(self, host: str, port: int, transport: str | None) -> dict[str, str | int]:
        """A destination. A job can make them up without end, ports too; metrics must not grow with them."""
        destination = (host, port, transport)
        if len(self._destinations) < DESTINATIONS_MAX:
            self._destinations.add(destination)
        protocol = {"network.transport": transport} if transport else {}
        if destination not in self._destinations:
            return {"server.address": OTHER, **protocol}
        return {"server.address": host, "server.port": port, **protocol}

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
