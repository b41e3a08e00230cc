"""Encode spans as a serialized ExportTraceServiceRequest, each layer of their attributes once.

The SDK's encoder encodes all 29 attributes of every span anew, although most equal those of the span before.
In protobuf, the pieces of a message can be serialized separately and joined: repeated fields add up. So a
span is joined from pieces, most of which were serialized for another span. The tests compare the result with
that of the SDK's encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanKind, StatusCode

from .attributes import Layered
from .span_groups import flags, grouped, state

_KINDS = {kind: Span.SpanKind.Value(f"SPAN_KIND_{kind.name}") for kind in SpanKind}
_CODES = {code: Status.StatusCode.Value(f"STATUS_CODE_{code.name}") for code in StatusCode}


def encode_spans(spans: Sequence[ReadableSpan]) -> bytes:
    """Serialize a request with `spans`. Raises ValueError or TypeError for values that OTLP can't hold."""
    request = ExportTraceServiceRequest()
    for group in grouped(spans):
        of_resource = request.resource_spans.add(schema_url=group.resource.schema_url)
        of_resource.resource.attributes.extend(_key_values(group.resource.attributes))
        of_scope = of_resource.scope_spans.add()
        if group.scope is not None:
            of_scope.scope.name = group.scope.name
            of_scope.scope.version = group.scope.version or ""
        for span in group.spans:
            of_scope.spans.add().MergeFromString(b"".join((_fields(span), *_pieces(span.attributes))))
    return request.SerializeToString()


def _fields(span: ReadableSpan) -> bytes:
    """Serialize everything of a span but its attributes."""
    context, parent = span.context, span.parent
    return Span(
        trace_id=context.trace_id.to_bytes(16, "big"),
        span_id=context.span_id.to_bytes(8, "big"),
        trace_state=state(context),
        parent_span_id=parent.span_id.to_bytes(8, "big") if parent is not None else b"",
        name=span.name,
        kind=_KINDS[span.kind],
        start_time_unix_nano=span.start_time or 0,
        end_time_unix_nano=span.end_time or 0,
        events=[_event(event) for event in span.events],
        links=[_link(link) for link in span.links],
        status=_status(span.status.status_code, span.status.description or ""),
        flags=flags(parent),
    ).SerializeToString()


@lru_cache(maxsize=64)
def _status(code: StatusCode, message: str) -> Status:
    return Status(code=_CODES[code], message=message)


def _event(event: Event) -> Span.Event:
    attributes = _key_values(event.attributes or {})
    return Span.Event(name=event.name, time_unix_nano=event.timestamp, attributes=attributes)


def _link(link: Link) -> Span.Link:
    return Span.Link(
        trace_id=link.context.trace_id.to_bytes(16, "big"),
        span_id=link.context.span_id.to_bytes(8, "big"),
        attributes=_key_values(link.attributes or {}),
        flags=flags(link.context),
    )


def _pieces(attributes: Mapping[str, Any] | None) -> list[bytes]:
    if not isinstance(attributes, Layered):
        return [_layer(attributes or {})]
    shared = [layer.encoded(_layer) for layer in attributes.layers]
    own = [
        _layer({name: value}) if isinstance(value, list) else _attribute(name, value)
        for name, value in attributes.own.items()
    ]
    return shared + own


def _layer(values: Mapping[str, Any]) -> bytes:
    return Span(attributes=_key_values(values)).SerializeToString()


@lru_cache(maxsize=8192, typed=True)
def _attribute(name: str, value: str | int | bool) -> bytes:
    return _layer({name: value})


def _key_values(values: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_any_value(value)) for name, value in values.items()]


def _any_value(value: Any) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case Sequence():
            return AnyValue(array_value=ArrayValue(values=map(_any_value, value)))
        case _:
            raise TypeError(f"an attribute can't be a {type(value).__name__}")
