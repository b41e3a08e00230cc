"""The metrics: what jobs connect to, and whether everything they did is accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, SpanContext

from exporter.account import Account
from exporter.jobs.model import Job

DESTINATIONS_MAX = 200
OTHER = "_other"


class _Destination(NamedTuple):
    host: str
    port: int | None
    transport: str | None

    def attributes(self) -> dict[str, str | int]:
        port = {} if self.port is None else {"server.port": self.port}
        protocol = {"network.transport": self.transport} if self.transport else {}
        return {"server.address": self.host, **port, **protocol}


@dataclass
class _Count:
    attempts: int = 0
    last: SpanContext = INVALID_SPAN_CONTEXT
    """The latest attempt's."""


class Metrics:
    """The instruments of one job; names and attributes are fixed, other tools query them."""

    def __init__(self, meter: Meter, job: Job, account: Callable[[], Account]) -> None:
        """`account` is asked from the metric reader's thread."""
        self._pipeline = {"cicd.pipeline.name": job.pipeline} if job.pipeline else {}
        self._task = {"cicd.pipeline.task.name": job.task} if job.task else {}
        self._connections: dict[_Destination, _Count] = {}
        self._account = account
        # Observed, since an add for every attempt would cost as much as everything else done for it.
        meter.create_observable_counter(
            "cicd.egress.connections",
            [self._observe_connections],
            "{connection}",
            "Connects and datagram sends that jobs attempted",
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
        destination = _Destination(host, port, transport)
        count = self._connections.get(destination)
        if count is None:
            count = self._new_count(destination)
        count.attempts += 1
        count.last = span

    def unattributed(self, why: str) -> None:
        """Count an attempt whose process is unknown."""
        self._unattributed.add(1, {"error.type": why})

    def _new_count(self, destination: _Destination) -> _Count:
        """A job can make up destinations without end, ports too; metrics must not grow with them."""
        if len(self._connections) >= DESTINATIONS_MAX:
            destination = _Destination(OTHER, None, destination.transport)
        return self._connections.setdefault(destination, _Count())

    def _observe_connections(self, _: CallbackOptions) -> Iterable[Observation]:
        for destination, count in list(self._connections.items()):
            attributes = {
                **self._pipeline,
                **self._task,
                **destination.attributes(),
                "egress.verdict": "allow",
            }
            exemplar = trace.set_span_in_context(NonRecordingSpan(count.last))
            yield Observation(count.attempts, attributes, exemplar)

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
