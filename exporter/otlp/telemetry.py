"""The front door: spans and a meter in, OTLP out, an account and complaints on the side."""

from __future__ import annotations

import platform
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from opentelemetry.metrics import Meter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from exporter import __version__
from exporter.otlp.complaints import ComplaintHandler, Complaints
from exporter.otlp.encoders import json_line_encoder, protobuf_encoder
from exporter.otlp.files import JsonLines
from exporter.otlp.lane import CAPACITY, Lane
from exporter.otlp.ledger import Account, Entry, Ledger
from exporter.otlp.metric_stream import MetricStream
from exporter.otlp.settings import Destinations, Endpoint, Protocol, Route, Signal
from exporter.otlp.sinks import Sink, Transport

FLUSH_TIMEOUT_S = 10.0
_SHARE_FOR_SPANS = 0.7
_LARGEST_REQUEST = 3_500_000
_LARGEST_LINE = 16_000_000
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

        `resource_attributes` are the identity known so far (`vcs.*`, `cicd.*`); the environment can't change
        them.
        `queue_capacity` counts spans, for each destination.
        """
        self.resource = _resource(destinations, resource_attributes, instance_id or str(uuid.uuid4()))
        """On metrics; spans of a job merge the job's attributes into it."""
        self._complaints = Complaints()
        self._ledger = Ledger()
        trace_sinks = self._sinks(Signal.TRACES, destinations.traces)
        metric_sinks = self._sinks(Signal.METRICS, destinations.metrics)
        self._refusal = "disabled" if destinations.disabled else "closed"
        self._closed = destinations.disabled
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

    def submit(self, span: ReadableSpan, attempts: int) -> None:
        """Hand over a finished span that stands for `attempts` kernel events: 0 for a job's or a process's.

        Never waits: what finds its queue full is counted as dropped.
        """
        if self._closed:
            self._ledger.refused(attempts, self._refusal)
            return
        entry = Entry(span, attempts, outstanding=len(self._lanes))
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

    def _sinks(self, signal: Signal, route: Route) -> list[Sink]:
        """The file first: it answers at once."""
        sinks: list[Sink] = []
        if route.directory:
            sinks.append(self._file_sink(signal, route.directory / f"{signal}.jsonl"))
        if route.endpoint:
            sinks.append(_collector_sink(route.endpoint))
        return sinks

    def _file_sink(self, signal: Signal, path: Path) -> Sink:
        def complain() -> None:
            self._complaints.add(
                (path, "deleted"), f"{path} was deleted: what it held is lost; a new one is written"
            )

        file = JsonLines(path, on_deleted=complain)
        return Sink(str(path), file, json_line_encoder(signal), FLUSH_TIMEOUT_S, _LARGEST_LINE)


def _collector_sink(endpoint: Endpoint) -> Sink:
    return Sink(
        endpoint.shown,
        _transport(endpoint),
        protobuf_encoder(endpoint.signal),
        endpoint.timeout_s,
        _LARGEST_REQUEST,
    )


def _transport(endpoint: Endpoint) -> Transport:
    """Imports only what the protocol needs: start-up time and memory."""
    if endpoint.protocol is Protocol.GRPC:
        from exporter.otlp.over_grpc import GrpcTransport

        return GrpcTransport(endpoint)
    from exporter.otlp.over_http import HttpTransport

    return HttpTransport(endpoint)


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
