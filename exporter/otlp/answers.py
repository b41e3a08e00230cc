"""Parsers of a collector's answer to a request that it accepted, maybe in part (OTLP's partial success)."""

from __future__ import annotations

import json
from collections.abc import Callable

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from .settings import Signal
from .sinks import Receipt

_JSON_COUNT = {
    Signal.TRACES: "rejectedSpans",
    Signal.METRICS: "rejectedDataPoints",
    Signal.LOGS: "rejectedLogRecords",
}


def parse_answer(signal: Signal, answer: bytes) -> Receipt | None:
    """Parse a serialized Export…ServiceResponse (empty when all was accepted). None: it isn't one."""
    try:
        return _PARSERS[signal](answer)
    except DecodeError:
        return None


def _traces(answer: bytes) -> Receipt:
    partial = ExportTraceServiceResponse.FromString(answer).partial_success
    return Receipt(max(partial.rejected_spans, 0), partial.error_message)


def _metrics(answer: bytes) -> Receipt:
    partial = ExportMetricsServiceResponse.FromString(answer).partial_success
    return Receipt(max(partial.rejected_data_points, 0), partial.error_message)


def _logs(answer: bytes) -> Receipt:
    partial = ExportLogsServiceResponse.FromString(answer).partial_success
    return Receipt(max(partial.rejected_log_records, 0), partial.error_message)


_PARSERS: dict[Signal, Callable[[bytes], Receipt]] = {
    Signal.TRACES: _traces,
    Signal.METRICS: _metrics,
    Signal.LOGS: _logs,
}


def parse_json_answer(signal: Signal, answer: bytes) -> Receipt | None:
    """Parse an Export…ServiceResponse in JSON, which some receivers send even if the request was protobuf."""
    try:
        partial = json.loads(answer or b"{}").get("partialSuccess") or {}
        return Receipt(max(int(partial.get(_JSON_COUNT[signal], 0)), 0), str(partial.get("errorMessage", "")))
    except (ValueError, TypeError, AttributeError):
        return None
