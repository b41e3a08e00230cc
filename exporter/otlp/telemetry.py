"""The front door: spans and a meter in, OTLP out, an account and complaints on the side."""

from __future__ import annotations

import platform
import time
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from opentelemetry.metrics import Meter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from exporter import __version__
from exporter.otlp.complaints import ComplaintHandler, Complaints
from exporter.otlp.lane import CAPACITY, Lane
from exporter.otlp.ledger import Account, Entry, Ledger
from exporter.otlp.metric_stream import MetricStream
from exporter.otlp.routes import open_sinks
from exporter.otlp.settings import Destinations, Signal

FLUSH_TIMEOUT_S = 10.0
_SHARE_FOR_SPANS = 0.7
_OVERRIDABLE = frozenset({"service.name", "host.name"})


class Telemetry:
    """Exports until closed; use it in a `with` block. All methods may be called from any thread.

    Exported means that a collector accepted it or that it stands in a file: with both, one of them is enough.
    """

    def __init__(
        self,
        destinations: Destinations,
        resource_attributes: Mapping[str, str],
        *,
        instance_id: str | None = None,
        queue_capacity: int = CAPACITY,
    ) -> None:
        """Open files, start threads. Raises CiEgressError for a directory or certificate that can't be used.

        `resource_attributes` are the identity known so far (`vcs.*`, `cicd.*`), which the environment can't
        change. `queue_capacity` counts spans, for each destination.
        """
        self.resource = _resource(destinations, resource_attributes, instance_id or str(uuid.uuid4()))
        """On metrics; spans of a job merge the job's attributes into it."""
        self._complaints = Complaints()
        self._ledger = Ledger()
        trace_sinks = open_sinks(Signal.TRACES, destinations.traces, self._complaints)
        metric_sinks = open_sinks(Signal.METRICS, destinations.metrics, self._complaints)
        self._refusal = "disabled" if destinations.disabled else None
        self._closed = False
        self._capacity = queue_capacity
        self._log_handler = ComplaintHandler(self._complaints)
        self._log_handler.install()
        self._lanes = [
            Lane(sink, self._ledger, self._complaints, capacity=queue_capacity) for sink in trace_sinks
        ]
        self._metrics = MetricStream(
            metric_sinks, self.resource, destinations.metric_interval_s, self._complaints
        )

    @property
    def meter(self) -> Meter:
        """Scope `ci_egress`, cumulative. Measurements in the context of a sampled span become exemplars."""
        return self._metrics.meter

    @property
    def account(self) -> Account:
        """What became of the attempts submitted so far."""
        return self._ledger.account()

    @property
    def room(self) -> int:
        """Spans that every queue has room for at this moment: a source that heeds it loses none to them."""
        return min((lane.room for lane in self._lanes), default=self._capacity)

    def submit(self, span: ReadableSpan, attempts: int, *, aggregated: bool = False) -> None:
        """Hand over a finished span that stands for `attempts` kernel events: 0 for a job's or a process's.

        Those of an `aggregated` span are accounted as such once it is delivered, not as exported one by one.
        Never waits: what finds its queue full is counted as dropped.
        """
        if self._refusal:
            self._ledger.refused(attempts, self._refusal)
            return
        entry = Entry(span, attempts, outstanding=len(self._lanes), is_aggregated=aggregated)
        self._ledger.open(entry)
        for lane in self._lanes:
            lane.put(entry)

    def complaints(self) -> list[str]:
        """Problems met since the last call, a line each; every distinct problem comes once."""
        return self._complaints.take()

    def close(self, timeout_s: float = FLUSH_TIMEOUT_S) -> None:
        """Flush spans, then metrics, which tell how the spans fared; `timeout_s` is for both together.

        Spans that aren't out by then are dropped as `timeout`. Closing again does nothing.
        """
        if self._closed:
            return
        self._closed = True
        self._refusal = self._refusal or "closed"
        start_s = time.monotonic()
        for lane in self._lanes:
            lane.finish(start_s + timeout_s * _SHARE_FOR_SPANS)
        for lane in self._lanes:
            lane.wait()
        self._metrics.finish(start_s + timeout_s)
        self._log_handler.remove()

    def __enter__(self) -> Self:
        """Nothing more: exporting began when it was made."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, with the time that a flush may take."""
        self.close()


def _resource(destinations: Destinations, identity: Mapping[str, str], instance_id: str) -> Resource:
    """OTEL_RESOURCE_ATTRIBUTES may name the service and the host, and add what isn't ours to say."""
    ours = {
        "service.name": "ci-egress",
        "service.version": __version__,
        "service.instance.id": instance_id,
        "host.name": platform.node(),
        **identity,
    }
    theirs = destinations.resource_attributes
    overridden = {key: theirs[key] for key in _OVERRIDABLE & theirs.keys() - identity.keys()}
    named = {"service.name": destinations.service_name} if destinations.service_name else {}
    return Resource({**theirs, **ours, **overridden, **named})
