"""OTLP: spans and log records of any text and numbers; as JSON and as protobuf they say the same."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from exporter.common.text import LIMIT_BYTES, clean
from exporter.otlp.attributes import Attributes, Layer, Layered, LayeredSpan
from exporter.otlp.encoders import SCOPE, json_line_encoder, protobuf_encoder
from exporter.otlp.records import LogRecord, Severity
from exporter.otlp.settings import Signal
from tests.fuzz.draw import Draw

_REQUESTS = {Signal.TRACES: ExportTraceServiceRequest, Signal.LOGS: ExportLogsServiceRequest}
_IDS = ("traceId", "spanId", "parentSpanId")
_NAMES = ("server.address", "process.command_line", "process.command_args", "egress.bytes_sent", "x", "é", "")


def check(draw: Draw) -> None:
    """Mostly spans."""
    if draw.chance(0.8):
        _says_the_same(Signal.TRACES, [_span(draw) for _ in range(1 + draw.length(4))])
    else:
        _says_the_same(Signal.LOGS, [_log_record(draw) for _ in range(1 + draw.length(4))])


def _says_the_same(signal: Signal, items: list[Any]) -> None:
    line = json_line_encoder(signal)(items)
    assert line.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in line[:-1]), line
    request = _REQUESTS[signal]()
    request.ParseFromString(protobuf_encoder(signal)(items))
    again = Parse(json.dumps(_with_base64_ids(json.loads(line))), _REQUESTS[signal]())
    assert again == request, (again, request)


def _with_base64_ids(value: Any) -> Any:
    """As protobuf's own JSON has bytes; OTLP has hexadecimal ids instead."""
    if isinstance(value, list):
        return [_with_base64_ids(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: b64encode(bytes.fromhex(each)).decode() if name in _IDS else _with_base64_ids(each)
        for name, each in value.items()
    }


def _span(draw: Draw) -> ReadableSpan:
    start_ns = draw.unsigned(63)
    return LayeredSpan(
        name=_text(draw),
        context=_context(draw),
        parent=draw.choice((None, _context(draw))),
        resource=_resource(draw),
        attributes=_attributes(draw),
        events=draw.some(lambda: Event("established", _attributes(draw), timestamp=draw.unsigned(64)), 2),
        links=draw.some(lambda: Link(_context(draw), _attributes(draw)), 1),
        kind=draw.choice((SpanKind.CLIENT, SpanKind.INTERNAL)),
        status=draw.choice((Status(), Status(StatusCode.ERROR, _text(draw)))),
        start_time=start_ns,
        end_time=min(start_ns + draw.unsigned(62), (1 << 64) - 1),
        instrumentation_scope=SCOPE,
    )


def _log_record(draw: Draw) -> LogRecord:
    context = _context(draw) if draw.chance(0.7) else None
    severity = draw.choice((Severity.WARN, Severity.ERROR))
    return LogRecord(_text(draw), severity, draw.unsigned(63), _attributes(draw), _resource(draw), context)


def _context(draw: Draw) -> SpanContext:
    state = TraceState.from_header([draw.choice(("a=b", "a=b,c=d", "", draw.text(20)))])
    return SpanContext(
        draw.getrandbits(128) or 1,
        draw.getrandbits(64) or 1,
        is_remote=draw.chance(0.3),
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=state,
    )


def _resource(draw: Draw) -> Resource:
    return Resource({"service.name": _text(draw) or "ci-egress", "host.name": _text(draw)})


def _attributes(draw: Draw) -> Layered:
    attributes = Attributes()
    for _ in range(draw.length(8)):
        name = draw.choice(_NAMES) or f"a{clean(draw.text(5))}"
        if draw.chance(0.6):
            attributes.add(name, _text(draw))
        elif draw.chance(0.5):
            attributes.add(name, draw.choice((draw.unsigned(63), -draw.unsigned(63), draw.chance(0.5))))
        else:
            attributes.add_list(name, draw.some(lambda: _text(draw), 5), each_bytes=draw.choice((100, 32768)))
    done = attributes.upon(Layer({"egress.verdict": "allow"}))
    for value in done.values():
        assert not isinstance(value, str) or len(value.encode()) <= LIMIT_BYTES
    return done


def _text(draw: Draw) -> str:
    """As all text comes here: any characters, surrogates replaced; now and then too long."""
    if draw.chance(0.03):
        return clean(draw.text(3)) * draw.length(12000)
    return clean(draw.text(40))
