"""Functions that both encoders of spans use: json_spans.py and protobuf_spans.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext

_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200


class Group(NamedTuple):
    """Spans of one resource and one scope."""

    resource: Resource
    scope: InstrumentationScope | None
    spans: list[ReadableSpan]


def grouped(spans: Sequence[ReadableSpan]) -> Iterator[Group]:
    """Group `spans` by resource and scope, in their order.

    Resources and scopes are compared by identity: a resource's hash is made of a JSON text each time, and a
    job has one resource object. Raises ValueError for a span without a context.
    """
    groups: dict[tuple[int, int], Group] = {}
    for span in spans:
        if span.context is None:
            raise ValueError("a span without a context")
        key = id(span.resource), id(span.instrumentation_scope)
        if key not in groups:
            groups[key] = Group(span.resource, span.instrumentation_scope, [])
        groups[key].spans.append(span)
    yield from groups.values()


def state(context: SpanContext) -> str:
    """Return the W3C tracestate of a context; empty if it has none."""
    return (
        ",".join(f"{key}={value}" for key, value in context.trace_state.items())
        if context.trace_state
        else ""
    )


def flags(other: SpanContext | None) -> int:
    """Return OTLP's flags for a parent or a link: whether it is remote, and that this is known."""
    return _HAS_IS_REMOTE | (_IS_REMOTE if other is not None and other.is_remote else 0)
