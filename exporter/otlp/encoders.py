"""From the SDK's spans and metrics to OTLP requests, as protobuf for the network and as JSON for files.

Each encoder is imported when it is first asked for: files need no protobuf, a collector no JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import ReadableSpan

from exporter.otlp.settings import Signal

Encoder = Callable[[Any], bytes]


def protobuf_encoder(signal: Signal) -> Encoder:
    """A function from spans or metrics to a serialized Export…ServiceRequest."""
    return _protobuf_spans if signal is Signal.TRACES else _protobuf_metrics


def json_line_encoder(signal: Signal) -> Encoder:
    """A function from spans or metrics to one line of OTLP/JSON, newline included.

    Everything outside ASCII is escaped, so that no text can start a new line or steer a terminal.
    """
    return _json_spans if signal is Signal.TRACES else _json_metrics


def _protobuf_spans(spans: Sequence[ReadableSpan]) -> bytes:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    return encode_spans(spans).SerializeToString()


def _protobuf_metrics(metrics: MetricsData) -> bytes:
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

    return encode_metrics(metrics).SerializeToString()


def _json_spans(spans: Sequence[ReadableSpan]) -> bytes:
    from opentelemetry.exporter.otlp.json.common.trace_encoder import encode_spans

    return _line(encode_spans(spans).to_dict())


def _json_metrics(metrics: MetricsData) -> bytes:
    from opentelemetry.exporter.otlp.json.common.metrics_encoder import encode_metrics

    return _line(encode_metrics(metrics).to_dict())


def _line(request: dict[str, Any]) -> bytes:
    return json.dumps(request, separators=(",", ":")).encode("ascii") + b"\n"
