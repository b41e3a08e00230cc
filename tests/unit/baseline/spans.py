"""Egress spans of runs, as objects and as files of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from exporter.baseline.acts import add_span
from exporter.baseline.conclude import Learnt, conclude
from exporter.baseline.learn import read_files, require_jobs
from exporter.baseline.seen import Seen
from exporter.otlp.reading.files import span_files
from exporter.otlp.reading.json import SCOPE
from exporter.otlp.reading.spans import EgressSpan

CHAIN = ("bash", "npm")
DAY_NS = 86_400 * 10**9


def at_ns(text: str) -> int:
    """Of an ISO time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


FIRST_NS = at_ns("2026-11-02T00:00:00")


def span(
    host: str | None = "registry.example",
    *,
    run: int | str | None = 1,
    task: str | None = "build",
    pipeline: str | None = "release",
    port: int | None = 443,
    chain: Iterable[Any] = CHAIN,
    started_ns: int | None = None,
    **more: Any,
) -> EgressSpan:
    """Of a run; the one numbered n is n days after the first. Underscores in names of `more` are dots."""
    if started_ns is None:
        started_ns = FIRST_NS + (run if isinstance(run, int) else 0) * DAY_NS
    attributes: dict[str, Any] = {
        "cicd.pipeline.name": pipeline,
        "cicd.pipeline.run.id": None if run is None else str(run),
        "cicd.pipeline.task.name": task,
        "egress.lineage": list(chain),
        "egress.verdict": "allow",
        "server.address": host,
        "server.port": port,
        "network.transport": "tcp",
        "network.peer.address": "192.0.2.80",
        **{name.replace("_", "."): value for name, value in more.items()},
    }
    return EgressSpan(started_ns, {name: value for name, value in attributes.items() if value is not None})


def seen_of(spans: Iterable[EgressSpan]) -> Seen:
    seen = Seen()
    for each in spans:
        add_span(seen, each)
    return seen


def learnt(spans: Iterable[EgressSpan]) -> Learnt:
    """By one process, in this order."""
    return conclude(seen_of(spans))


def learnt_from(*paths: Path) -> Learnt:
    """As the command does it."""
    seen = read_files(span_files(paths))
    require_jobs(seen, ", ".join(map(str, paths)))
    return conclude(seen)


def line(spans: Iterable[EgressSpan], scope: str = SCOPE, resource: Mapping[str, str] | None = None) -> bytes:
    """One request of them, of one `resource`."""
    written = [
        {
            "kind": 3,
            "startTimeUnixNano": str(each.started_ns),
            "attributes": [{"key": key, "value": _value(value)} for key, value in each.attributes.items()],
        }
        for each in spans
    ]
    scoped = [{"scope": {"name": scope}, "spans": written}]
    attributes = [{"key": key, "value": _value(value)} for key, value in (resource or {}).items()]
    by_resource = {"resource": {"attributes": attributes}, "scopeSpans": scoped}
    return json.dumps({"resourceSpans": [by_resource]}).encode() + b"\n"


def _value(value: Any) -> dict[str, Any]:
    match value:
        case str():
            return {"stringValue": value}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case _:
            return {"arrayValue": {"values": [_value(each) for each in value]}}


def attributes(
    host: str | None,
    port: int | None = 443,
    transport: str = "tcp",
    **more: Any,
) -> dict[str, Any]:
    """As an egress span's attributes: None is left out, `_` in a name is a dot."""
    told = {
        "server.address": host,
        "network.peer.address": "198.51.100.7",
        "server.port": port,
        "network.transport": transport,
        "cicd.pipeline.name": "release",
        "cicd.pipeline.task.name": "build",
        "cicd.pipeline.run.id": "1",
        **{name.replace("_", "."): value for name, value in more.items()},
    }
    return {name: value for name, value in told.items() if value is not None}
