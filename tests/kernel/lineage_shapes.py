"""Shapes of processes of a job: who made whom, and what is told of the chain."""

from __future__ import annotations

import re

from tests.kernel.tracing import INTERNAL, Span, Trace

PAIR = re.compile(r"^(\d+) (\d+)$", re.MULTILINE)
LINEAGES = {
    "double-fork": ["lineage", "lineage", "act"],
    "setsid-fork": ["lineage", "act"],
    "clone-parent": ["lineage", "lineage", "act"],
    "vfork": ["lineage", "act"],
    "leader-exits": ["lineage", "act"],
    "thread-exec": ["act"],
}


def announcements(seen: Trace) -> list[tuple[int, int]]:
    """Pid and kernel's parent, of each that told."""
    return [(int(pid), int(parent)) for pid, parent in PAIR.findall(seen.stdout)]


def assert_whole(seen: Trace) -> None:
    """One trace without loose ends: job, in it programs, below them leaves; names and times fit.

    A connection begins in its program's time, and may end later: it says goodbye when that is gone.
    """
    assert {span.trace_id for span in seen.spans} == {seen.job.trace_id}
    assert len(seen.by_id) == len(seen.spans)
    assert seen.job.parent_id == ""
    for span in seen.spans:
        assert span is seen.job or span.parent_id in seen.by_id
        assert seen.job.started_ns <= span.started_ns <= seen.job.ended_ns
        assert span.started_ns <= span.ended_ns
    for span in seen.processes:
        assert span.kind == INTERNAL
        assert span.ended_ns <= seen.job.ended_ns
        assert seen.by_id[span.parent_id].started_ns <= span.started_ns
    for leaf in seen.egress:
        assert_leaf(seen, leaf)


def assert_leaf(seen: Trace, leaf: Span) -> None:
    """It hangs on the program that it says, within its time, and tells the chain that stands above it."""
    program = seen.by_id[leaf.parent_id]
    assert program.started_ns <= leaf.started_ns <= program.ended_ns
    assert program["process.pid"] == leaf["process.pid"]
    above = [span for span in seen.above(leaf) if span is not seen.job]
    assert leaf["egress.lineage"] == [span.name for span in above]
    assert leaf["egress.ancestors"] == [span["process.command_line"] for span in above[:-1]]
