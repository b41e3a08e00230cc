"""A recording through the whole pipeline, as `ci-egress replay` does it, with the encoders at its end."""

from __future__ import annotations

import json
from typing import Any, cast

from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData, Sum
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from exporter.otlp.encoders import json_line_encoder, protobuf_encoder
from exporter.otlp.ledger import LedgerTotals
from exporter.otlp.records import LogRecord
from exporter.otlp.settings import Signal
from exporter.otlp.telemetry import Telemetry
from exporter.pipeline.account import KernelCounts
from exporter.pipeline.assembly import assemble, begin
from exporter.pipeline.process_spans import ProcessSpans
from exporter.pipeline.recording_reader import RecordingReader
from exporter.pipeline.summary import Summary


class _Kept:
    """In place of `Telemetry`: keeps what is handed over."""

    resource = Resource({"service.name": "ci-egress"})

    earlier = LedgerTotals()

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.spans: list[ReadableSpan] = []
        self.logs: list[LogRecord] = []
        self.attempts = 0

    @property
    def account(self) -> LedgerTotals:
        return LedgerTotals(self.attempts)

    def add_producer(self, _: object) -> None:
        """None of its metrics are looked at."""

    def submit(self, span: ReadableSpan, attempts: int, *, aggregated: bool = False) -> None:
        del aggregated
        self.spans.append(span)
        self.attempts += attempts

    def log(self, record: LogRecord) -> None:
        self.logs.append(record)


def play(recording: RecordingReader) -> None:
    """Every attempt is in a span, and all that comes of it can be encoded."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], resource=_Kept.resource, shutdown_on_exit=False)
    kept = _Kept(provider.get_meter("ci_egress"))
    beginning, summary = recording.beginning, Summary({})
    assembly = assemble(
        cast(Telemetry, kept), lambda: KernelCounts(kept.attempts, 0), beginning.clock, ProcessSpans.ALL
    )
    pipeline = assembly.pipeline(recording)
    begin(pipeline, beginning, assembly.job(beginning, summary))
    at_ns = beginning.at_ns
    for event in recording.events():
        at_ns = max(at_ns, event.at_ns)
        pipeline.tick(at_ns)
        pipeline.handle(event)
    pipeline.end(beginning.scope, at_ns, left_behind=recording.ending.left_behind if recording.ending else ())
    assert kept.attempts == recording.attempts
    assert json.dumps(summary.fields())
    _are_encoded(Signal.TRACES, kept.spans)
    _are_encoded(Signal.LOGS, kept.logs)
    measured = reader.get_metrics_data()
    assert measured is not None
    assert _sum(measured, "cicd.egress.connections") == recording.attempts
    _are_encoded(Signal.METRICS, measured)
    provider.shutdown()


def _sum(measured: MetricsData, name: str) -> int:
    metrics = [
        metric
        for resource in measured.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
    ]
    return sum(int(point.value) for metric in metrics for point in cast(Sum, metric.data).data_points)


def _are_encoded(signal: Signal, items: Any) -> None:
    line = json_line_encoder(signal)(items)
    assert line.isascii()
    assert line.count(b"\n") == 1
    protobuf_encoder(signal)(items)
