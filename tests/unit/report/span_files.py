"""Files of spans and metrics, written by hand: as they come, and as nobody would write them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from exporter.otlp.reading.json import SCOPE
from exporter.report.model import JobReport

TRACE = "7af8cd1de3fa344b938ded2af6d4282f"
BEGAN_NS = 1_795_633_494 * 10**9
MS = 1_000_000
_INTERNAL, _CLIENT = 1, 3

Span = dict[str, Any]


def span_id(number: int) -> str:
    return f"{number:016x}"


def job(number: int, *, trace: str = TRACE, at_ms: int = 0, took_ms: int = 1000, name: str = "build") -> Span:
    """The span of a job, under its pipeline's and its task's names."""
    return _span(number, None, _INTERNAL, name, trace, at_ms, took_ms, _of_job(name))


def program(
    number: int, parent: int | None, name: str = "sh", *, at_ms: int = 10, trace: str = TRACE, **more: Any
) -> Span:
    """That of a program, which lasts for a tenth of a second."""
    known = {"process.pid": 4000 + number, "process.executable.name": name, "process.command_line": name}
    return _span(number, parent, _INTERNAL, name, trace, at_ms, 100, {**_of_job("build"), **known, **more})


def act(number: int, parent: int | None, *, at_ms: int = 20, trace: str = TRACE, **more: Any) -> Span:
    """That of a connect; `more` are attributes, with underscores for dots."""
    known: dict[str, Any] = {
        "server.address": "registry.example",
        "server.port": 443,
        "network.transport": "tcp",
        "network.peer.address": "192.0.2.80",
        "process.pid": 4001,
        "process.command_line": "npm ci",
        "egress.lineage": ["sh", "npm"],
        "egress.verdict": "allow",
        "egress.attempts": 1,
        "egress.outcome": "established",
    }
    changed = {name.replace("__", "."): value for name, value in more.items()}
    attributes = {**_of_job("build"), **known, **changed}
    return _span(number, parent, _CLIENT, "connect registry.example:443", trace, at_ms, 5, attributes)


def lines(*requests: Iterable[Span], instance: str = "one", **resource: Any) -> bytes:
    """A line for each of `requests`."""
    return b"".join(line(request, instance, **resource) for request in requests)


def line(spans: Iterable[Span], instance: str = "one", **resource: Any) -> bytes:
    """One request."""
    named = {name.replace("__", "."): value for name, value in resource.items()}
    own = pairs({"service.instance.id": instance, **named})
    scoped = {"scope": {"name": SCOPE}, "spans": list(spans)}
    request = {"resourceSpans": [{"resource": {"attributes": own}, "scopeSpans": [scoped]}]}
    return json.dumps(request).encode() + b"\n"


def account_line(instance: str, at_ns: int, attempts: int, exported: int = 0, **counts: int) -> bytes:
    """What an instance tells of itself: `dropped`, `aggregated`, and what waits in a `ring` or a `spool`."""
    events = [
        ({"egress.stage": "export", "egress.result": "exported"}, exported),
        ({"egress.stage": "kernel", "egress.result": "aggregated"}, counts.get("aggregated", 0)),
    ]
    if "dropped" in counts:
        dropped = {"egress.stage": "kernel", "egress.result": "dropped", "error.type": "ring_full"}
        events.append((dropped, counts["dropped"]))
    pending = [({"egress.stage": stage}, counts.get(stage, 0)) for stage in ("ring", "queue", "spool")]
    metrics = [
        _metric("attempts", "sum", at_ns, [({}, attempts)]),
        _metric("events", "sum", at_ns, events),
        _metric("pending", "gauge", at_ns, pending),
    ]
    scoped = {"scope": {"name": SCOPE}, "metrics": metrics}
    own = pairs({"service.instance.id": instance})
    request = {"resourceMetrics": [{"resource": {"attributes": own}, "scopeMetrics": [scoped]}]}
    return json.dumps(request).encode() + b"\n"


def written(folder: Path, data: bytes, name: str = "traces.jsonl") -> Path:
    """The file of that name in `folder`, with `data` in it."""
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / name
    path.write_bytes(data)
    return path


def pairs(attributes: dict[str, Any]) -> list[Span]:
    return [{"key": name, "value": _value(value)} for name, value in attributes.items()]


def _value(value: Any) -> Span:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case list():
            return {"arrayValue": {"values": [_value(each) for each in value]}}
        case _:
            return {"stringValue": value}


def _metric(name: str, kind: str, at_ns: int, points: list[tuple[dict[str, Any], int]]) -> Span:
    told = [
        {"attributes": pairs(attributes), "timeUnixNano": str(at_ns), "asInt": str(value)}
        for attributes, value in points
    ]
    return {"name": f"cicd.egress.exporter.{name}", kind: {"dataPoints": told}}


def _of_job(task: str) -> dict[str, Any]:
    return {"cicd.pipeline.name": "release", "cicd.pipeline.task.name": task, "cicd.pipeline.run.id": "987"}


def _span(
    number: int,
    parent: int | None,
    kind: int,
    name: str,
    trace: str,
    at_ms: int,
    took_ms: int,
    attributes: dict[str, Any],
) -> Span:
    began_ns = BEGAN_NS + at_ms * MS
    return {
        "traceId": trace,
        "spanId": span_id(number),
        **({} if parent is None else {"parentSpanId": span_id(parent)}),
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(began_ns),
        "endTimeUnixNano": str(began_ns + took_ms * MS),
        "attributes": pairs(attributes),
    }


def is_a_tree(found: JobReport) -> None:
    """All hang on the job, by way of programs that are there."""
    above = {each.span_id: each.parent_id for each in found.programs}
    for start in [*above.values(), *(each.parent_id for each in found.acts)]:
        way = [start]
        while way[-1] in above:
            way.append(above[way[-1]])
            assert len(way) <= len(above) + 1
        assert way[-1] == (found.span_id or None)
