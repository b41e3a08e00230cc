"""A job, a clock and programs, for tests of what becomes of them."""

from __future__ import annotations

from exporter.arguments import arguments_of
from exporter.clock import Clock
from exporter.events import ProcessKey
from exporter.jobs.model import Job, TraceIds
from exporter.programs import Program
from tests.unit.records import BASH, CURL

TRACE_ID = 0x7AF8CD1DE3FA344B938DED2AF6D4282F
JOB_SPAN_ID = 0xD2080AB2C1B9E899

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
