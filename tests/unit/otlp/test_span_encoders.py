"""Our encoders of spans against those of the SDK: not a byte of meaning may differ."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.exporter.otlp.json.common.trace_encoder import encode_spans as sdk_json
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as sdk_protobuf
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from exporter.otlp import json_spans, protobuf_spans
from exporter.otlp.attributes import Layer, Layered, LayeredSpan

SCOPE = InstrumentationScope("ci_egress", "1.2.3")
RESOURCE = Resource({"service.name": "ci-egress", "process.pid": 7, "list": ["a", "b"]})
PARENT = SpanContext(1, 3, is_remote=True, trace_flags=TraceFlags(1))
STATE = TraceState([("vendor", "value"), ("other", "more")])
HOSTILE = '\0\x1b[31m</script>"\\\u2028\u202e\U0001f600 é ' + "x" * 300
SHARED = (
    Layer({"cicd.pipeline.name": "release", "egress.lineage": ["bash", "node"], "process.pid": 4242}),
    Layer({"server.port": 443, "egress.verdict": "allow"}),
)


def span(name: str = "connect registry.example:443", **changes: Any) -> ReadableSpan:
    fields: dict[str, Any] = {
        "context": SpanContext(1 << 127, 1, False, TraceFlags(1)),
        "parent": SpanContext(1, 2, is_remote=False),
        "resource": RESOURCE,
        "attributes": Layered(SHARED, {"egress.attempts": 1, "egress.novel": True}),
        "kind": SpanKind.CLIENT,
        "start_time": 1_700_000_000_000_000_001,
        "end_time": 1_700_000_000_000_000_002,
        "instrumentation_scope": SCOPE,
    }
    fields |= changes
    kind = LayeredSpan if isinstance(fields["attributes"], Layered) else ReadableSpan
    return kind(name, **fields)


CASES = {
    "plain": [span()],
    "several, which share what they share": [span("a"), span("b"), span("c")],
    "without a parent": [span(parent=None)],
    "below another process's span": [span(parent=PARENT)],
    "with a trace state": [span(context=SpanContext(2, 3, False, TraceFlags(1), STATE))],
    "with an event": [span(events=[Event("established", timestamp=5), Event("x", {"y": 1}, timestamp=6)])],
    "with links": [span(links=[Link(PARENT, {"why": "step"}), Link(SpanContext(5, 6, is_remote=False))])],
    "with an error": [span(status=Status(StatusCode.ERROR)), span(status=Status(StatusCode.ERROR, "no"))],
    "without attributes": [span(attributes=None), span(attributes={})],
    "with attributes of its own alone": [span(attributes={"a": 1, "b": [HOSTILE, ""], "c": True, "d": 2.5})],
    "with empty layers": [span(attributes=Layered((Layer({}),), {}))],
    "with true and one": [span(attributes=Layered((), {"a": 1, "b": True, "c": False, "d": 0}))],
    "with a list of its own": [span(attributes=Layered(SHARED, {"egress.truncated": ["a", "b"]}))],
    "hostile": [span(HOSTILE, attributes=Layered((Layer({HOSTILE: HOSTILE}),), {"own": [HOSTILE]}))],
    "large numbers": [span(attributes={"a": (1 << 63) - 1, "b": -(1 << 63)}, start_time=0, end_time=1 << 63)],
    "of all kinds": [span(kind=kind) for kind in SpanKind],
    "of two jobs": [span("a"), span("b", resource=Resource({"x": "y"})), span("c")],
    "with schemas": [span(resource=Resource({"x": "y"}, "https://schema.example"))],
}


@pytest.mark.parametrize("case", CASES)
def test_protobuf_is_the_sdks(case: str) -> None:
    ours = ExportTraceServiceRequest.FromString(protobuf_spans.encode_spans(CASES[case]))
    assert told(json_format.MessageToDict(ours)) == told(json_format.MessageToDict(sdk_protobuf(CASES[case])))


@pytest.mark.parametrize("case", CASES)
def test_json_is_the_sdks_on_one_line_of_ascii(case: str) -> None:
    line = json_spans.encode_spans(CASES[case])
    assert (line.isascii(), line.count(b"\n"), line[-1:]) == (True, 1, b"\n")
    assert told(json.loads(line)) == told(sdk_json(CASES[case]).to_dict())


def told(request: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it, attributes by name: their order means nothing, and each name is there once."""

    def by_name(value: Any) -> Any:
        if isinstance(value, list):
            return [by_name(one) for one in value]
        if not isinstance(value, dict):
            return value
        made = {key: by_name(one) for key, one in value.items()}
        if listed := made.get("attributes"):
            made["attributes"] = {one["key"]: one["value"] for one in listed}
            assert len(made["attributes"]) == len(listed)
        return made

    result: dict[str, Any] = by_name(request)
    return result


def test_what_spans_share_is_encoded_once() -> None:
    calls: list[object] = []

    def encode(values: object) -> int:
        calls.append(values)
        return len(calls)

    layer = Layer({"a": 1})
    assert [layer.encoded(encode), layer.encoded(encode)] == [1, 1]
    assert calls == [{"a": 1}]


@pytest.mark.parametrize("encoder", [json_spans, protobuf_spans], ids=["json", "protobuf"])
@pytest.mark.parametrize(
    "impossible",
    [
        {"attributes": {"a": object()}},
        {"attributes": {"a": {"b": 1}}},
        {"context": None},
    ],
    ids=["an object", "a mapping", "no context"],
)
def test_what_cannot_be_told_is_refused_and_not_left_out(encoder: Any, impossible: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        encoder.encode_spans([span(**impossible)])
