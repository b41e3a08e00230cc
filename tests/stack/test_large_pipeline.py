"""A pipeline of 10,000 connects: all of them are in Jaeger, each below the program that made it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kernel.conftest import SOURCES
from tests.kernel.lab import CLOSED_PORT, PORT, V4, Lab
from tests.launch import PLAIN_ENVIRONMENT, ci_egress, spans_in
from tests.stack.apis import Jaeger
from tests.stack.conftest import wait_until
from tests.unit.watched_host import gitlab

if TYPE_CHECKING:
    from pathlib import Path

    from demo.stack.servers import Stack

PROGRAMS, CONNECTS_EACH = 500, 20
"""So few connects a program that none are aggregated: each is a span."""
WITHIN_S = 300.0
"""Each: to be run, and to arrive."""


@pytest.mark.stack
@pytest.mark.kernel
@pytest.mark.timeout(900)
def test_a_pipeline_of_10_000_connects_arrives_whole(stack: Stack, tmp_path: Path) -> None:
    subprocess.run(["make", "--silent", "-C", SOURCES, f"OUT={tmp_path}", f"{tmp_path}/flood"], check=True)
    env = {
        **PLAIN_ENVIRONMENT,
        **gitlab(run="10000", CI_PROJECT_PATH="large/app"),
        **stack.otlp_environ(),
        "STATE_DIRECTORY": str(tmp_path / "state"),
    }
    flood = f"{tmp_path}/flood connects {CONNECTS_EACH} 1 {V4.peer} {PORT} {CLOSED_PORT}"
    with Lab() as lab:
        loop = lab.command(["sh", "-c", f"for i in $(seq {PROGRAMS}); do {flood}; done"])
        command = ("run", "--otlp-dir", "out", "--", *map(str, loop))
        done = ci_egress(*command, cwd=tmp_path, env=env, within_s=WITHIN_S)
    attempts = PROGRAMS * CONNECTS_EACH
    account = f"attempts {attempts} = exported {attempts} + aggregated 0 + dropped 0 + pending 0\n"
    assert done.stderr.endswith(account), done.stderr

    in_files = {span["spanId"]: span.get("parentSpanId", "") for span in spans_in(tmp_path / "out")}
    assert len(in_files) == attempts + PROGRAMS + 2
    (trace_id,) = {span["traceId"] for span in spans_in(tmp_path / "out")}
    jaeger = Jaeger(stack.jaeger_url)
    wait_until(
        lambda: len(found.spans if (found := jaeger.trace(trace_id)) else ()) >= len(in_files),
        within_s=WITHIN_S,
    )
    trace = jaeger.trace(trace_id)
    assert trace
    assert len(trace.spans) == len(in_files)
    assert {span.span_id: span.parent_id for span in trace.spans} == in_files
    connects = [span for span in trace.spans if span.tags["span.kind"] == "client"]
    assert len(connects) == attempts
