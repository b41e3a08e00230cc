"""Encode spans as one line of OTLP/JSON, each layer of their attributes once: see protobuf_spans.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanKind

from .attributes import Layered
from .span_groups import Group, flags, grouped, state

# OTLP has other numbers for the kinds than the API.
_KINDS = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}
_dumps = json.JSONEncoder(separators=(",", ":")).encode


def encode_spans(spans: Sequence[ReadableSpan]) -> bytes:
    """Return a line of ASCII with its newline. Raises ValueError or TypeError for values OTLP can't hold."""
    resources = ",".join(map(_resource_spans, grouped(spans)))
    return f'{{"resourceSpans":[{resources}]}}\n'.encode("ascii")


def _resource_spans(group: Group) -> str:
    scope: dict[str, Any] = {}
    if group.scope is not None:
        scope = _without_defaults({"name": group.scope.name, "version": group.scope.version})
    spans = f"[{','.join(map(_span, group.spans))}]"
    attributes = _attributes(group.resource.attributes)
    members = {
        "resource": f'{{"attributes":[{attributes}]}}' if attributes else "{}",
        "scopeSpans": f"[{_object({'scope': _dumps(scope), 'spans': spans})}]",
    }
    if group.resource.schema_url:
        members["schemaUrl"] = _dumps(group.resource.schema_url)
    return _object(members)


def _span(span: ReadableSpan) -> str:
    context, parent, status = span.context, span.parent, span.status
    fields = {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "traceState": state(context),
        "parentSpanId": f"{parent.span_id:016x}" if parent is not None else "",
        "flags": flags(parent),
        "name": span.name,
        "kind": _KINDS[span.kind],
        "startTimeUnixNano": str(span.start_time or ""),
        "endTimeUnixNano": str(span.end_time or ""),
        "events": [_event(event) for event in span.events],
        "links": [_link(link) for link in span.links],
    }
    told = _without_defaults({"code": status.status_code.value, "message": status.description})
    members = _dumps({**_without_defaults(fields), "status": told})
    attributes = ",".join(filter(None, _pieces(span.attributes)))
    return f'{members[:-1]},"attributes":[{attributes}]}}' if attributes else members


def _object(members: Mapping[str, str]) -> str:
    """Build a JSON object of members that are encoded already."""
    return "{" + ",".join(f'"{name}":{text}' for name, text in members.items()) + "}"


def _event(event: Event) -> dict[str, Any]:
    attributes = _key_values(event.attributes or {})
    fields = {"timeUnixNano": str(event.timestamp), "name": event.name, "attributes": attributes}
    return _without_defaults(fields)


def _link(link: Link) -> dict[str, Any]:
    fields = {
        "traceId": f"{link.context.trace_id:032x}",
        "spanId": f"{link.context.span_id:016x}",
        "attributes": _key_values(link.attributes or {}),
        "flags": flags(link.context),
    }
    return _without_defaults(fields)


def _pieces(attributes: Mapping[str, Any] | None) -> list[str]:
    if not isinstance(attributes, Layered):
        return [_attributes(attributes or {})]
    return [*(layer.encoded(_attributes) for layer in attributes.layers), _attributes(attributes.own)]


def _attributes(values: Mapping[str, Any]) -> str:
    """Encode attributes as the elements of a JSON array, without its brackets."""
    return _dumps(_key_values(values))[1:-1]


def _key_values(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _any_value(value)} for name, value in values.items()]


def _any_value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case Sequence():
            return {"arrayValue": {"values": [_any_value(one) for one in value]}}
        case _:
            raise TypeError(f"an attribute can't be a {type(value).__name__}")


def _without_defaults(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out fields that are empty or zero, as proto3 does."""
    return {name: value for name, value in fields.items() if value not in ("", 0, None, [])}
