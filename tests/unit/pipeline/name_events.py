"""Events of programs that look names up and connect, and what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from exporter.events.facts import Acted, Event, Execed, ProcessKey
from exporter.jobs.model import TraceIds
from exporter.pipeline.recording import Beginning
from tests.unit.dns_samples import answer, answered, asked, mapped, query
from tests.unit.pipelines import ROOT, spans
from tests.unit.records import ACT, EXEC
from tests.unit.samples import CLOCK, JOB

PEER = mapped("192.0.2.7")
NAME = "registry.example"
OTHER_ROOT, THIRD_ROOT = ProcessKey(60, 510), ProcessKey(70, 520)


def beginning(root: ProcessKey, scope: int, trace_id: int) -> Beginning:
    job = replace(JOB, ids=TraceIds(trace_id, scope, parent_span_id=None))
    return Beginning(job, CLOCK, root, scope, at_ns=600)


OTHER, THIRD = beginning(OTHER_ROOT, 2, 0xB), beginning(THIRD_ROOT, 3, 0xC)


def started(process: ProcessKey = ROOT, scope: int = 1) -> Execed:
    return EXEC._replace(at_ns=700, process=process, scope=scope)


def looked_up(
    name: str, address: str, *, process: ProcessKey = ROOT, scope: int = 1, at_ns: int = 1000
) -> list[Event]:
    """A question and its answer."""
    question = query(name)
    who = {"process": process, "scope": scope, "cookie": scope}
    told = answer(question, f"{name} A {address}")
    return [
        asked(question, at_ns=at_ns, **who),
        answered(told, at_ns=at_ns + 10, **who),
    ]


def connected(process: ProcessKey = ROOT, scope: int = 1, *, at_ns: int = 2000, **changes: object) -> Acted:
    to_peer = ACT._replace(process=process, scope=scope, at_ns=at_ns, peer=PEER, cookie=0)
    return to_peer._replace(**changes)  # type: ignore[arg-type]


def told(span: dict[str, Any]) -> dict[str, str]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def egress(directory: Path) -> list[dict[str, Any]]:
    return [span for span in spans(directory) if span["kind"] == 3]
