"""Spans of a run that never was, sent by the real exporter to the real servers."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from exporter import __version__
from exporter.otlp.environment import resolve_destinations
from exporter.otlp.telemetry import Telemetry
from tests.stack.apis import Jaeger, JaegerSpan
from tests.stack.conftest import WITHIN_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opentelemetry.util.types import AttributeValue

    from demo.stack.servers import Stack

START_NS = 1_764_000_000_123_456_000
"""Of every span, in whole microseconds, which is what Jaeger keeps."""


@contextmanager
def patient(telemetry: Telemetry) -> Iterator[Telemetry]:
    """Close it in the end, with more time than a job would have: here a busy machine must cost nothing."""
    with telemetry:
        yield telemetry
        telemetry.close(WITHIN_S)


@contextmanager
def telemetry_to(environ: Mapping[str, str]) -> Iterator[Telemetry]:
    """The exporter as a job with these variables has it, but patient."""
    destinations = resolve_destinations(environ, otlp_dir=None)
    with patient(Telemetry(destinations, {"host.name": "runner.example"})) as telemetry:
        yield telemetry


def new_trace_id() -> int:
    """One that no other test has."""
    return secrets.randbits(128) | 1


def context(trace_id: int, span_id: int) -> SpanContext:
    """Of a span of this run."""
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def submit(
    telemetry: Telemetry,
    trace_id: int,
    span_ids: Iterable[int],
    attributes: Mapping[str, AttributeValue] | None = None,
) -> None:
    """Hand over a span for each id."""
    for span_id in span_ids:
        one = ReadableSpan(
            name="connect registry.example:443",
            context=context(trace_id, span_id),
            resource=telemetry.resource,
            attributes=attributes,
            kind=SpanKind.CLIENT,
            start_time=START_NS,
            end_time=START_NS + 1_000_000,
            instrumentation_scope=InstrumentationScope("ci_egress", __version__),
        )
        telemetry.submit(one, 1)


def stored(stack: Stack, trace_id: int) -> list[JaegerSpan]:
    """What Jaeger has of this trace, in the order of the span ids; nothing while it has none."""
    trace = Jaeger(stack.jaeger_url).trace(f"{trace_id:032x}")
    return sorted(trace.spans, key=lambda span: int(span.span_id, 16)) if trace else []


def stored_ids(stack: Stack, trace_id: int) -> list[int]:
    """Ids of the spans that Jaeger has of this trace, as often as it has them."""
    return [int(span.span_id, 16) for span in stored(stack, trace_id)]
