"""Encoders of spans, metrics and log records as OTLP requests: protobuf for the network, JSON for files.

Each encoder is imported when it is first used: files need no protobuf, a collector needs no JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan

from exporter import __version__

from .records import LogRecord
from .settings import Signal

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord

SCOPE = InstrumentationScope("ci_egress", __version__)

Encoder = Callable[[Any], bytes]


def protobuf_encoder(signal: Signal) -> Encoder:
    """Return a function that makes a serialized Export…ServiceRequest of spans, metrics or log records."""
    match signal:
        case Signal.TRACES:
            return _protobuf_spans
        case Signal.METRICS:
            return _protobuf_metrics
        case Signal.LOGS:
            return _protobuf_logs


def json_line_encoder(signal: Signal) -> Encoder:
    """Return a function that makes one line of OTLP/JSON of spans, metrics or log records, with its newline.

    Everything outside ASCII is escaped, so that no text can start a new line or steer a terminal.
    """
    match signal:
        case Signal.TRACES:
            return _json_spans
        case Signal.METRICS:
            return _json_metrics
        case Signal.LOGS:
            return _json_logs


def _protobuf_spans(spans: Sequence[ReadableSpan]) -> bytes:
    from .protobuf_spans import encode_spans

    return encode_spans(spans)


def _protobuf_metrics(metrics: MetricsData) -> bytes:
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

    return encode_metrics(metrics).SerializeToString()


def _protobuf_logs(records: Sequence[LogRecord]) -> bytes:
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs

    return encode_logs([_sdk_record(record) for record in records]).SerializeToString()


def _json_spans(spans: Sequence[ReadableSpan]) -> bytes:
    from .json_spans import encode_spans

    return encode_spans(spans)


def _json_metrics(metrics: MetricsData) -> bytes:
    from opentelemetry.exporter.otlp.json.common.metrics_encoder import encode_metrics

    return _line(encode_metrics(metrics).to_dict())


def _json_logs(records: Sequence[LogRecord]) -> bytes:
    from opentelemetry.exporter.otlp.json.common._log_encoder import encode_logs

    return _line(encode_logs([_sdk_record(record) for record in records]).to_dict())


def _sdk_record(record: LogRecord) -> ReadableLogRecord:
    from opentelemetry._logs import LogRecord as ApiRecord
    from opentelemetry._logs import SeverityNumber
    from opentelemetry.sdk._logs import ReadableLogRecord

    span = NonRecordingSpan(record.context or INVALID_SPAN_CONTEXT)
    api_record = ApiRecord(
        timestamp=record.at_ns,
        observed_timestamp=record.at_ns,
        context=trace.set_span_in_context(span),
        severity_text=record.severity.name,
        severity_number=SeverityNumber(record.severity),
        body=record.body,
        attributes=record.attributes,
        event_name=record.event_name,
    )
    return ReadableLogRecord(api_record, record.resource, SCOPE)


def _line(request: dict[str, Any]) -> bytes:
    return json.dumps(request, separators=(",", ":")).encode("ascii") + b"\n"
