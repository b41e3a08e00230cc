"""What a job does to get away from its policy, and where that leaves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernel.lab import PORT, V4, Lab
from tests.kernel.running_exporter import running
from tests.kernel.tracing import trace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

ESCAPES = {
    "another-cgroup": 'echo 0 > "$CGROUP"/cgroup.procs && "$@"',
    "another-session": 'setsid --wait "$@"',
    "another-user-and-pids": 'unshare --user --map-root-user --pid --fork "$@"',
    "another-mount-namespace": 'unshare --mount "$@"',
    "another-user-id": 'setpriv --reuid=65534 --regid=65534 --clear-groups "$@"',
}


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_process_that_gets_away_stays_denied(
    lab: Lab, programs: Programs, tmp_path: Path, cgroup: Path, escape: str
) -> None:
    act = programs.act("connect", V4.evil, PORT)
    command = ["sh", "-c", f"{ESCAPES[escape]}; true", "sh", *act]
    options = ("--enforce", "--allowed-endpoints", f"{V4.peer}:{PORT}")
    with lab.watch() as watch:
        seen = trace(lab, command, tmp_path, *options, env={"CGROUP": str(cgroup)})
    assert seen.stdout == "EPERM\n", seen.stderr
    assert watch.arrivals.packets_to(V4.evil) == 0
    assert [span["egress.verdict"] for span in seen.egress] == ["deny"]


def test_what_the_whole_hosts_processes_do_is_traced_and_not_denied(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    """The job's own is; what doesn't descend from it may be anybody's."""
    options = ("--host", "--enforce", "--allowed-endpoints", f"{V4.peer}:{PORT}")
    with running(agent(lab, programs), tmp_path, *options) as run:
        assert run.next_line() == "ready"
        assert lab.run(programs.act("connect", V4.evil, PORT)).stdout == "ok\n"
        run.tell("go on")
        assert run.next_line() == "EPERM"
        seen = run.end()
    told = [
        (span["egress.attribution"], span["egress.verdict"])
        for span in seen.egress
        if span.attributes.get("network.peer.address") == V4.evil
        and span.attributes.get("process.executable.path") == str(programs.directory / "act")
    ]
    assert told == [("host", "allow"), ("lineage", "deny")]


def agent(lab: Lab, programs: Programs) -> list[str | bytes]:
    """Says that it is there, and connects when it is told to."""
    act = programs.act("connect", V4.evil, PORT)
    return lab.command(["sh", "-c", 'echo ready; read -r _; "$@"; true', "sh", *act])
