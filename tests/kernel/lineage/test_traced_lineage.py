"""Whoever did it hangs in the trace below whoever created it, however the processes came about."""

from __future__ import annotations

import os
import shlex
import signal
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.kernel.arrivals import Endpoint
from tests.kernel.lab import NETWORKS, PORT, V4, Lab, Network
from tests.kernel.lineage_shapes import LINEAGES, announcements, assert_whole
from tests.kernel.tracing import Trace, announced, names, trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.kernel.conftest import Programs


def connect(programs: Programs, network: Network = V4) -> list[str]:
    """The act that shows where it hangs."""
    return programs.act("connect", network.peer, PORT)


def shape(lab: Lab, programs: Programs, to: Path, *arguments: object, network: Network = V4) -> Trace:
    """A connect in a shape of `lineage`; both its outer and its inner process tell their pids."""
    inner = announced(connect(programs, network))
    return trace(lab, announced(programs.lineage(*map(str, arguments), *inner)), to)


@NETWORKS
@pytest.mark.parametrize("name", LINEAGES)
def test_the_span_hangs_below_whoever_created_the_process(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network, name: str
) -> None:
    seen = shape(lab, programs, tmp_path, name, network=network)
    (leaf,) = seen.egress
    assert (seen.status, seen.stdout.splitlines()[-1]) == (0, "ok")
    assert_whole(seen)
    assert leaf["egress.lineage"] == LINEAGES[name]
    assert (leaf["process.pid"], leaf["process.parent_pid"]) == announcements(seen)[1]
    assert len(seen.processes) == len(LINEAGES[name])


def test_a_sibling_made_by_a_child_hangs_below_the_child(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    seen = shape(lab, programs, tmp_path, "clone-parent")
    first, maker, _ = seen.processes
    (leaf,) = seen.egress
    assert leaf["process.parent_pid"] == first["process.pid"] != maker["process.pid"]
    assert [span.span_id for span in seen.above(leaf)[1:3]] == [first.span_id, maker.span_id]


def test_programs_of_one_process_are_spans_side_by_side(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    chain = programs.lineage("exec-chain", 3, *announced(connect(programs)))
    seen = trace(lab, chain, tmp_path, "--process-spans", "all")
    assert_whole(seen)
    assert [span.name for span in seen.processes] == ["nsenter", *["lineage"] * 4, "dash", "act"]
    assert {span.parent_id for span in seen.processes} == {seen.job.span_id}
    assert [span.ended_ns for span in seen.processes[:-1]] == [span.started_ns for span in seen.processes[1:]]
    assert [span.attributes.get("process.exit.code") for span in seen.processes] == [None] * 6 + [0]


def test_a_program_without_a_file_shows_what_it_was_called(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    seen = trace(lab, programs.lineage("memfd-exec", *connect(programs)), tmp_path)
    (leaf,) = seen.egress
    assert_whole(seen)
    assert leaf["process.executable.path"] == "/memfd:program"
    assert leaf["egress.lineage"] == ["memfd:program"]
    assert leaf["process.command_args"] == connect(programs)


@NETWORKS
def test_one_pid_four_times_is_four_programs(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network
) -> None:
    seen = shape(lab, programs, tmp_path, "pid-reuse", 4, network=network)
    assert_whole(seen)
    acts = seen.called("act")
    assert len({span["process.pid"] for span in acts}) == 1
    assert [leaf.parent_id for leaf in seen.egress] == [span.span_id for span in acts]
    assert len({span.span_id for span in acts}) == 4
    assert [a.ended_ns <= b.started_ns for a, b in pairwise(acts)] == [True] * 3


def test_of_many_short_processes_each_is_told_apart(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    n = 300
    one = """i=$i sh -c 'echo $$ $i; exec "$@" -- $i' sh "$@" &"""
    script = f"for i in $(seq {n}); do {one} done; wait"
    seen = trace(lab, ["sh", "-c", script, "sh", *connect(programs)], tmp_path)
    assert_whole(seen)
    numbers = {pid: str(number) for pid, number in announcements(seen)}
    assert set(numbers.values()) == set(map(str, range(1, n + 1)))
    told = [(leaf["process.pid"], leaf["process.command_args"]) for leaf in seen.egress]
    expected = [(pid, [*connect(programs), "--", number]) for pid, number in numbers.items()]
    assert sorted(told) == sorted(expected)


def test_a_crowd_that_starts_at_the_same_moment_is_complete(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    n = 200
    with lab.watch() as watch:
        seen = trace(lab, programs.lineage("at-once", n, *connect(programs)), tmp_path)
    assert watch.arrivals.accepted == {Endpoint(V4.peer, PORT): n}
    assert_whole(seen)
    assert names(seen.processes) == {"lineage": 1, "act": n}
    assert len({leaf["process.pid"] for leaf in seen.egress}) == len(seen.egress) == n


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["exit", 7], 7), (["exit", 255], 255), (["kill-self", 9], 137), (["kill-self", 15], 143)],
)
def test_how_a_process_ended_is_on_its_span(
    lab: Lab, programs: Programs, tmp_path: Path, arguments: Sequence[object], status: int
) -> None:
    command = programs.lineage(*map(str, arguments))
    seen = trace(lab, ["sh", "-c", f"{shlex.join(command)}; exit $?"], tmp_path, "--process-spans", "all")
    (span,) = seen.called("lineage")
    assert seen.status == status
    assert span["process.exit.code"] == status
    assert seen.called("dash")[-1]["process.exit.code"] == status


def test_the_status_of_a_process_is_its_last_threads(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    command = programs.lineage("leader-exits", "sh", "-c", "exit 3")
    seen = trace(lab, command, tmp_path, "--process-spans", "all")
    (span,) = seen.called("lineage")
    (child,) = seen.called("dash")
    assert (seen.status, span["process.exit.code"]) == (3, 3)
    assert span.ended_ns >= child.ended_ns


def test_a_process_that_leaves_its_cgroup_stays_in_its_job(
    lab: Lab, programs: Programs, tmp_path: Path, cgroup: Path
) -> None:
    leave = f'echo 0 > {cgroup}/cgroup.procs; grep -c {cgroup.name} /proc/self/cgroup; exec "$@"'
    seen = trace(lab, ["sh", "-c", leave, "sh", *connect(programs)], tmp_path)
    assert seen.stdout == "1\nok\n"
    assert_whole(seen)
    assert [leaf.name for leaf in seen.egress] == [f"connect {V4.peer}:{PORT}"]


def test_a_process_in_a_network_of_its_own_stays_in_its_job(programs: Programs, tmp_path: Path) -> None:
    command = programs.act("connect", "127.0.0.1", PORT)
    script = f"ip link set lo up && {shlex.join(command)}"
    seen = trace(None, ["unshare", "--net", "sh", "-c", script], tmp_path)
    assert seen.stdout == "ECONNREFUSED\n"
    assert_whole(seen)
    assert [leaf["egress.lineage"] for leaf in seen.egress] == [["dash", "act"]]


def test_in_a_pid_and_user_namespace_the_hosts_numbers_count(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    # This /proc is the host's, and `read` is the shell itself.
    tell = 'read pid rest < /proc/self/stat; echo $$ $pid; exec "$@"'
    inside = ["unshare", "-Urpf", "sh", "-c", tell, "sh", *connect(programs)]
    seen = trace(lab, inside, tmp_path)
    ((own, hosts),) = announcements(seen)
    (leaf,) = seen.egress
    assert_whole(seen)
    assert (own, leaf["process.pid"]) == (1, hosts)
    assert leaf["egress.lineage"] == ["unshare", "act"]


MODES = {
    "network": {"dash": 1, "act": 1},
    "all": {"nsenter": 1, "dash": 1, "true": 2, "act": 1},
    "none": {},
}


@pytest.mark.parametrize("mode", MODES)
def test_programs_have_spans_as_asked_for(lab: Lab, programs: Programs, tmp_path: Path, mode: str) -> None:
    script = f"/bin/true; {shlex.join(connect(programs))}; /bin/true"
    seen = trace(lab, ["sh", "-c", script], tmp_path, "--process-spans", mode)
    (leaf,) = seen.egress
    assert names(seen.processes) == MODES[mode]
    assert leaf["egress.lineage"] == ["dash", "act"]
    assert [span.name for span in seen.above(leaf)] == ["run", *(["dash", "act"] if MODES[mode] else [])]


def test_a_valid_parent_from_outside_is_the_jobs_and_nobody_elses(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    parent = {"TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    seen = trace(
        lab, ["sh", "-c", f"echo $TRACEPARENT; {shlex.join(connect(programs))}"], tmp_path, env=parent
    )
    assert (seen.job.trace_id, seen.job.parent_id) == (
        "0af7651916cd43dd8448eb211c80319c",
        "b7ad6b7169203331",
    )
    assert {span.trace_id for span in seen.spans} == {seen.job.trace_id}
    assert all(span.parent_id in seen.by_id for span in seen.spans if span is not seen.job)
    assert seen.stdout.splitlines()[0] == f"00-{seen.job.trace_id}-{seen.job.span_id}-01"


@contextmanager
def ended_afterwards(seen: Trace) -> Iterator[int]:
    """The process that told its pid; it doesn't outlive the test."""
    ((pid, _),) = announcements(seen)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)


def test_what_is_left_behind_ends_with_the_job_in_the_trace_only(lab: Lab, tmp_path: Path) -> None:
    stay = f"exec 3>/dev/udp/{V4.peer}/{PORT}; echo $BASHPID 0; exec sleep 1000 >&- 2>&-"
    sleeps = '[[ $(</proc/$!/stat) == *" (sleep) S "* ]]'
    script = f"({stay}) & for _ in {{1..3000}}; do {sleeps} && break; sleep 0.01; done"
    seen = trace(lab, ["bash", "-c", script], tmp_path, "--process-spans", "all")
    with ended_afterwards(seen) as pid:
        assert_whole(seen)
        (left,) = (span for span in seen.called("sleep") if span["process.pid"] == pid)
        assert left.ended_ns == seen.job.ended_ns
        assert "process.exit.code" not in left.attributes
        assert f"  {pid} sleep 1000" in seen.stderr.splitlines()
