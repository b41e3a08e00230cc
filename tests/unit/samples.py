"""A job, a clock, programs and attempts, for tests of what becomes of them."""

from __future__ import annotations

from opentelemetry.sdk.resources import Resource

from exporter.arguments import arguments_of
from exporter.attempt import AttemptOf, EventT
from exporter.clock import Clock
from exporter.destinations import Destination, destination
from exporter.events import ProcessKey
from exporter.jobs.model import Job, TraceIds
from exporter.programs import Program
from exporter.spans import Spans
from exporter.terms import Ruling
from tests.unit.records import BASH, CURL

TRACE_ID = 0x7AF8CD1DE3FA344B938DED2AF6D4282F
JOB_SPAN_ID = 0xD2080AB2C1B9E899
OWNER = "builder"

JOB = Job(
    provider="gitlab",
    run_id="987",
    ids=TraceIds(TRACE_ID, JOB_SPAN_ID, parent_span_id=None),
    pipeline="release",
    task="build",
    task_run_id="4321",
    attempt="1",
    repository="group/app",
)
CLOCK = Clock(offset_ns=1_700_000_000_000_000_000)


def program(
    path: str | None = "/usr/bin/curl",
    arguments: tuple[str, ...] = ("curl", "-s", "registry.example"),
    *,
    process: ProcessKey = CURL,
    parent: Program | None = None,
    exec_id: int = 1,
    is_cut: bool = False,
) -> Program:
    return Program(process, exec_id, 1, parent, BASH.pid, 3_000_000, path, arguments_of(arguments), is_cut)


def bash() -> Program:
    return program("/usr/bin/bash", ("bash", "-c", "make all"), process=BASH)


def attempt_of(
    event: EventT,
    who: Program | None,
    said: Ruling = Ruling(),  # noqa: B008 - immutable
    *,
    where: Destination | None = None,
    spans: Spans | None = None,
) -> AttemptOf[EventT]:
    """What `event` reports: to its peer unless there is a `where`, with the next span of `spans`."""
    spans = spans or Spans(JOB, Resource({}), CLOCK)
    owner, where = OWNER if who else None, where or destination(event)
    context, parent = spans.next_context(event.at_ns), spans.program_context(who)
    return AttemptOf(event, where, who, owner, said, context, parent)
