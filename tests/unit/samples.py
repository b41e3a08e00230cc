"""A job, a clock, programs and attempts, for tests of what becomes of them."""

from __future__ import annotations

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext, TraceFlags

from exporter.common.clock import Clock
from exporter.events.arguments import arguments_of
from exporter.events.destinations import Destination, destination
from exporter.events.facts import Acted, Aggregated, ProcessKey
from exporter.events.programs import Program
from exporter.jobs.model import Job, TraceIds
from exporter.pipeline.attempt import Attempt, AttemptOf, EventT
from exporter.pipeline.ruling import Ruling
from exporter.pipeline.spans import Spans
from tests.unit.records import ACT, AGGREGATE, BASH, CURL

TRACE_ID = 0x7AF8CD1DE3FA344B938DED2AF6D4282F
JOB_SPAN_ID = 0xD2080AB2C1B9E899
SPAN = SpanContext(TRACE_ID, 0xABC, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
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


def by(*names: str) -> Program:
    """A program with those above it."""
    made: Program | None = None
    for number, name in enumerate(names, 100):
        key = ProcessKey(number, number)
        made = Program(key, 1, 1, made, 1, number, f"/bin/{name}", arguments_of([name]))
    assert made is not None
    return made


def attempt(
    where: Destination,
    who: Program | None = None,
    said: Ruling = Ruling(),  # noqa: B008 - immutable
    *,
    attempts: int = 1,
    span: SpanContext = SPAN,
) -> Attempt:
    """An act with `where`, to be counted or shown; with `attempts`, several that the kernel only counted."""
    event: Acted | Aggregated = ACT if attempts == 1 else AGGREGATE._replace(attempts=attempts)
    return AttemptOf(event, where, who, OWNER if who else None, said, span, SPAN)


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


RESOURCE = Resource({"service.name": "ci-egress"})
