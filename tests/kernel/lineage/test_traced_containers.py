"""What a container connects to is seen, told on the host's terms, and shows which container it was."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kernel.arrivals import Endpoint
from tests.kernel.containers import Container, container
from tests.kernel.lab import NETWORKS, PORT, V4, Lab, Network
from tests.kernel.running_exporter import running
from tests.kernel.tracing import Span, Trace, trace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.kernel.conftest import Programs

LIMIT_S = 60
WAITS = ["sh", "-c", "echo ready; read line"]
"""A COMMAND that waits for a line."""


def connecting(programs: Programs, network: Network) -> list[str]:
    """A container's command: two processes that live for a millisecond each."""
    act = shlex.join(programs.act("connect", network.peer, PORT))
    return ["sh", "-c", f"{act}; {act}"]


def in_container(seen: Trace, made: Container) -> list[Span]:
    return [span for span in seen.egress if span.attributes.get("container.id") == made.id]


def assert_told_right(leaves: Sequence[Span], made: Container, command: Sequence[str]) -> None:
    """By the host's pids and ancestors beyond the container's own."""
    assert [leaf["egress.outcome"] for leaf in leaves] == ["established"] * 2
    assert {leaf["process.parent_pid"] for leaf in leaves} == {made.pid}
    assert len({leaf["process.pid"] for leaf in leaves} - {made.pid}) == 2
    for leaf in leaves:
        lineage, ancestors = leaf["egress.lineage"], leaf["egress.ancestors"]
        assert isinstance(lineage, list)
        assert isinstance(ancestors, list)
        assert lineage[-2:] == ["dash", "act"]
        assert made.command[0] == lineage[ancestors.index(shlex.join(made.command))]
        assert ancestors[-1] == shlex.join(command)
        assert leaf["process.executable.path"] == leaf["process.command_args"][0]  # type: ignore[index]


@NETWORKS
@pytest.mark.parametrize("cgroup", ["", "/docker-{id}.scope"])
def test_a_container_that_the_job_runs_is_the_jobs(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network, cgroup: str
) -> None:
    command = connecting(programs, network)
    bundle, shown = tmp_path / "bundle", [programs.directory]
    with (
        container(command, bundle, network=lab.build.path, shown=shown, cgroup=cgroup) as made,
        lab.watch() as watch,
    ):
        seen = trace(None, made.command, tmp_path / "otlp")
    assert (seen.status, seen.stdout) == (0, "ok\nok\n")
    assert watch.arrivals.accepted == {Endpoint(network.peer, PORT): 2}
    assert in_container(seen, made) == seen.egress
    assert_told_right(seen.egress, made, command)
    assert {leaf["egress.attribution"] for leaf in seen.egress} == {"lineage"}
    assert {leaf["egress.ancestors"][0] for leaf in seen.egress} == {shlex.join(made.command)}  # type: ignore[index]
    assert seen.called("dash")[0]["container.id"] == made.id
    assert "container.id" not in seen.called("runc")[0].attributes
    assert seen.account == "attempts 2 = exported 2 + aggregated 0 + dropped 0 + pending 0"


def run_beside_the_job(made: Container, otlp_dir: Path, *options: str) -> Trace:
    """Run the container while a job waits, as a daemon does, which is no process of the job's."""
    with running(WAITS, otlp_dir, *options) as run:
        assert run.next_line() == "ready"
        done = subprocess.run(made.command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert (done.stdout, done.stderr, done.returncode) == ("ok\nok\n", "", 0)
        run.tell("go on")
        return run.end()


@NETWORKS
def test_a_container_that_a_daemon_runs_is_the_jobs_where_the_whole_host_is(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network
) -> None:
    command = connecting(programs, network)
    bundle, shown = tmp_path / "bundle", [programs.directory]
    with container(command, bundle, network=lab.build.path, shown=shown) as made:
        seen = run_beside_the_job(made, tmp_path / "otlp", "--host")
    leaves = in_container(seen, made)
    assert_told_right(leaves, made, command)
    assert {leaf["egress.attribution"] for leaf in leaves} == {"container"}
    assert {leaf["cicd.pipeline.run.id"] for leaf in leaves} == {seen.job["cicd.pipeline.run.id"]}
    assert {leaf.trace_id for leaf in leaves} == {seen.job.trace_id}
    assert seen.account.endswith("+ dropped 0 + pending 0")


def test_a_container_that_a_daemon_runs_is_nobodys_where_the_host_is_not_the_jobs(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    command = connecting(programs, V4)
    bundle, shown = tmp_path / "bundle", [programs.directory]
    with container(command, bundle, network=lab.build.path, shown=shown) as made:
        seen = run_beside_the_job(made, tmp_path / "otlp")
    assert (seen.status, seen.egress) == (0, [])
