"""A recording through the whole pipeline, as `ci-egress replay` does it, with the encoders at its end."""

from __future__ import annotations

import json
from typing import Any, cast

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData, Sum
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from exporter.common.settings import ProcessSpans
from exporter.otlp import LogRecord, Telemetry
from exporter.otlp.encoders import json_line_encoder, protobuf_encoder
from exporter.otlp.settings import Signal
from exporter.pipeline.account import Account
from exporter.pipeline.core import Pipeline
from exporter.pipeline.flows import Flows
from exporter.pipeline.job import Outlets, traced_job
from exporter.pipeline.metrics import Metrics
from exporter.pipeline.summary import Summary
from exporter.session.replay import Replay


class _Kept:
    """In place of `Telemetry`: keeps what is handed over."""

    resource = Resource({"service.name": "ci-egress"})

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.logs: list[LogRecord] = []
        self.attempts = 0

    def submit(self, span: ReadableSpan, attempts: int, *, aggregated: bool = False) -> None:
        del aggregated
        self.spans.append(span)
        self.attempts += attempts

    def log(self, record: LogRecord) -> None:
        self.logs.append(record)


def play(recording: Replay) -> None:
    """Every attempt is in a span, and all that comes of it can be encoded."""
    kept = _Kept()
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], resource=kept.resource, shutdown_on_exit=False)
    metrics = Metrics(provider.get_meter("ci_egress"), lambda _: None, lambda: Account(0, 0, 0))
    outlets = Outlets(cast(Telemetry, kept), metrics, recording.beginning.clock, ProcessSpans.ALL)
    pipeline = Pipeline(outlets, recording, Flows())
    beginning, summary = recording.beginning, Summary({})
    pipeline.jobs.begin(
        beginning.scope, traced_job(beginning.job, outlets, summary, beginning.at_ns), takes_rest=True
    )
    pipeline.table.seed(beginning.root, beginning.scope, beginning.at_ns, beginning.step)
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
