"""The pipeline, run over events into OTLP files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter.baseline.model import Baseline
from exporter.events.arguments import arguments_of
from exporter.events.facts import Event, Execed, Exited, Forked, ProcessKey, attempts_of
from exporter.events.programs import Facts, Image, Lookup
from exporter.otlp.environment import resolve_destinations
from exporter.otlp.telemetry import Telemetry
from exporter.pipeline.account import Account, KernelCounts
from exporter.pipeline.assembly import assemble, begin
from exporter.pipeline.process_spans import ProcessSpans
from exporter.pipeline.recording import Beginning
from exporter.pipeline.summary import Summary
from tests.unit.records import ACT, EXEC
from tests.unit.samples import CLOCK, JOB

ROOT = ProcessKey(50, 500)
BEGINNING = Beginning(JOB, CLOCK, ROOT, scope=1, at_ns=600)
END_NS = 99_000_000


class NothingKnown:
    """A host on which /proc tells nothing."""

    def facts(self, _: ProcessKey) -> Facts:
        return Facts()

    def image(self, _: ProcessKey) -> Image:
        return Image()

    def owner(self, uid: int) -> str:
        return str(uid)

    def host_name(self, _peer: bytes, _at_ns: int) -> str | None:
        return None


def run(
    events: Iterable[Event],
    directory: Path,
    *,
    lookup: Lookup | None = None,
    process_spans: ProcessSpans = ProcessSpans.NETWORK,
    beginning: Beginning = BEGINNING,
    environment: Mapping[str, str] | None = None,
    others: Sequence[Beginning] = (),
    baseline: Baseline | None = None,
    say: Callable[..., object] = print,
) -> Account:
    """Run a whole job of `events`; its telemetry is in `directory` when this returns.

    `others` are jobs that run at the same time; the events of theirs are among `events`. `say` gets the
    lines about what is told at once.
    """
    attempts = 0
    destinations = resolve_destinations(environment or {}, otlp_dir=directory)
    with Telemetry(destinations, {}, instance_id="test") as telemetry:
        assembly = assemble(
            telemetry, lambda: KernelCounts(attempts, 0), beginning.clock, process_spans, say=say
        )
        pipeline = assembly.pipeline(lookup or NothingKnown())
        for one in (*others, beginning):  # the last one gets the events of no job
            begin(pipeline, one, assembly.job(one, Summary({}), baseline))
        for event in events:
            attempts += attempts_of(event)
            pipeline.handle(event)
        for one in (*others, beginning):
            pipeline.end(one.scope, END_NS)
        telemetry.close(60)  # a busy machine may need long
        return assembly.books.account()


def spans(directory: Path) -> list[dict[str, Any]]:
    """Every span in `directory`, as OTLP/JSON has it."""
    return _in_lines(directory / "traces.jsonl", "resourceSpans", "scopeSpans", "spans")


def log_records(directory: Path) -> list[dict[str, Any]]:
    """Every log record in `directory`, as OTLP/JSON has it."""
    return _in_lines(directory / "logs.jsonl", "resourceLogs", "scopeLogs", "logRecords")


def _in_lines(path: Path, resources: str, scopes: str, items: str) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [
        item
        for line in lines
        for resource in json.loads(line)[resources]
        for scope in resource[scopes]
        for item in scope[items]
    ]


CHILD, GRANDCHILD = ProcessKey(51, 700), ProcessKey(52, 800)


def execed(process: ProcessKey, name: str, exec_id: int = 1) -> Execed:
    return EXEC._replace(
        at_ns=process.started_ns + exec_id,
        process=process,
        exec_id=exec_id,
        path=f"/bin/{name}",
        arguments=arguments_of([name]),
    )


def forked(child: ProcessKey, creator: ProcessKey, creator_exec_id: int = 1) -> Forked:
    return Forked(child.started_ns, child, creator, creator_exec_id, creator.pid, 1)


def acted(process: ProcessKey, exec_id: int = 1) -> Event:
    return ACT._replace(process=process, exec_id=exec_id, at_ns=process.started_ns + 50)


BUILD: list[Event] = [
    execed(ROOT, "bash"),
    forked(CHILD, ROOT),
    execed(CHILD, "npm"),
    forked(GRANDCHILD, CHILD),
    execed(GRANDCHILD, "curl"),
    acted(GRANDCHILD),
    Exited(900, GRANDCHILD, 0),
    Exited(901, CHILD, 0),
]
