"""What attacks do to hide, at full size and over both IP versions: docs/scenarios.md lists all of them."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.integration.receivers import Answer, collector
from tests.kernel.arrivals import Endpoint
from tests.kernel.job_variables import GITLAB, PRETENDED, TRACEPARENTS
from tests.kernel.lab import CLOSED_PORT, NETWORKS, PORT, V4, Lab, Network
from tests.kernel.running_exporter import Running, attached, in_session, running, wait_for
from tests.kernel.tracing import CROWD_LIMIT_S, announced, crowd, trace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Programs


def whole_account(attempts: int) -> str:
    return f"attempts {attempts} = exported {attempts} + aggregated 0 + dropped 0 + pending 0"


@crowd
@NETWORKS
def test_of_10000_processes_of_a_millisecond_each_is_told_with_its_creator(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network
) -> None:
    n = 10_000
    act = programs.act("connect", network.peer, PORT)
    burst = programs.lineage("burst", n, *act)
    with lab.watch() as watch:
        seen = trace(lab, ["sh", "-c", f"{shlex.join(burst)} >/dev/null"], tmp_path, limit_s=CROWD_LIMIT_S)
    assert seen.status == 0
    assert watch.arrivals.accepted == {Endpoint(network.peer, PORT): n}
    assert seen.account == whole_account(n)
    assert len({leaf.parent_id for leaf in seen.egress}) == len(seen.egress) == n
    outcomes = Counter(leaf["egress.outcome"] for leaf in seen.egress)
    assert outcomes == {"established": n}, seen.stderr
    for leaf in seen.egress:
        program = seen.by_id[leaf.parent_id]
        assert program["process.pid"] == leaf["process.pid"]
        assert leaf["process.command_args"] == act
        assert leaf["egress.lineage"] == ["dash", "lineage", "act"]
        assert leaf["egress.ancestors"][-1] == shlex.join(burst)  # type: ignore[index]


def test_the_exporter_has_the_processor_first_and_command_as_it_was_started(tmp_path: Path) -> None:
    nice = "cut -d ' ' -f 19 /proc/self/stat /proc/$PPID/stat"
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert trace(None, ["sh", "-c", nice], tmp_path).stdout == f"{before}\n-10\n"


@crowd
@NETWORKS
def test_of_100000_connects_of_one_process_each_is_accounted_for(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network
) -> None:
    n = 100_000
    connects = programs.flood("connects", n, 1, network.peer, PORT, CLOSED_PORT)
    seen = trace(lab, connects, tmp_path, limit_s=CROWD_LIMIT_S)
    assert (seen.status, seen.stdout.split()[:2]) == (0, [str(n * 3 // 4), str(n // 4)])
    assert seen.account.startswith(f"attempts {n} = ")
    assert seen.account.endswith("+ dropped 0 + pending 0")
    assert sum(int(str(leaf["egress.attempts"])) for leaf in seen.egress) == n
    assert {leaf["process.pid"] for leaf in seen.egress} == {seen.processes[0]["process.pid"]}


@NETWORKS
def test_of_200_processes_that_connect_at_once_each_is_told(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network
) -> None:
    n = 200
    act = programs.act("connect", network.peer, PORT)
    with lab.watch() as watch:
        seen = trace(lab, programs.lineage("at-once", n, *announced(act)), tmp_path)
    assert watch.arrivals.accepted == {Endpoint(network.peer, PORT): n}
    assert seen.account == whole_account(n)
    pids = {int(line.split()[0]) for line in seen.stdout.splitlines() if line != "ok"}
    assert {leaf["process.pid"] for leaf in seen.egress} == pids
    assert [leaf["process.command_args"] for leaf in seen.egress] == [act] * n


@NETWORKS
@pytest.mark.parametrize("parent", TRACEPARENTS, ids=["another", "bogus", "empty", "hostile"])
def test_what_a_build_script_sets_moves_no_act_to_another_job(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network, parent: str
) -> None:
    act = programs.act("connect", network.peer, PORT)
    settings = [f"{name}={value}" for name, value in {**PRETENDED, "TRACEPARENT": parent}.items()]
    seen = trace(lab, ["sh", "-c", '"$@"; true', "sh", "env", "-i", *settings, *act], tmp_path, env=GITLAB)
    assert seen.stdout == "ok\n"
    (leaf,) = seen.egress
    told = {name: value for name, value in leaf.attributes.items() if name.startswith("cicd.")}
    assert told == {
        "cicd.pipeline.name": "group/app",
        "cicd.pipeline.run.id": "987",
        "cicd.pipeline.task.name": "build",
        "cicd.pipeline.task.run.id": "4321",
    }
    assert (leaf["egress.attribution"], leaf["egress.lineage"]) == ("lineage", ["dash", "act"])
    assert {span.trace_id for span in seen.spans} == {seen.job.trace_id}
    assert seen.above(leaf)[0] is seen.job
    assert {span.resource["service.name"] for span in seen.spans} == {"ci-egress"}
    assert seen.account == whole_account(1)


def test_a_build_script_cannot_say_of_itself_that_it_is_another_step(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    act = programs.act("connect", V4.peer, PORT)
    script = ["sh", "-c", '"$@"; env GITHUB_ACTION=checkout "$@"', "sh", *act]
    step = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "77", "GITHUB_ACTION": "__run_2"}
    seen = trace(lab, script, tmp_path, env=step)
    assert [leaf["egress.job.step"] for leaf in seen.egress] == ["__run_2"] * 2
    assert {span["egress.job.step"] for span in seen.processes} == {"__run_2"}


def listening(programs: Programs, network: Network) -> list[str]:
    """A COMMAND that connects at each line that it gets, until it gets none."""
    act = shlex.join(programs.act("connect", network.peer, PORT))
    return ["sh", "-c", f"echo ready; while read line; do {act}; done"]


@NETWORKS
def test_a_collector_that_comes_back_while_the_job_runs_gets_everything(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network
) -> None:
    is_back = threading.Event()
    spool = tmp_path / "state" / "spool"
    with collector(lambda _: Answer(200 if is_back.is_set() else 503)) as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "STATE_DIRECTORY": str(spool.parent)}
        with running(lab.command(listening(programs, network)), tmp_path / "otlp", env=env) as run:
            assert run.next_line() == "ready"
            connect_once(run, lab, network)
            wait_for(lambda: any(request.path == "/v1/traces" for request in receiver.requests))
            assert receiver.taken == []
            is_back.set()
            connect_once(run, lab, network)
            seen = run.end()
    assert len(seen.egress) == 2
    assert Counter(receiver.spans()) == Counter(span.name for span in seen.spans)
    assert seen.account == whole_account(2)
    assert list(spool.iterdir()) == []


def links_of(instance: Path) -> frozenset[int]:
    """Ids of what is pinned there and attached."""
    return frozenset(
        int(done.stdout.split(":")[0])
        for pin in instance.glob("link_*")
        for done in [
            subprocess.run(
                ["bpftool", "link", "show", "pinned", str(pin)], capture_output=True, text=True, check=True
            )
        ]
    )


def connect_once(run: Running, lab: Lab, network: Network) -> None:
    """Let COMMAND connect: it succeeds, and arrives."""
    with lab.watch() as watch:
        run.tell("go")
        assert run.next_line() == "ok"
    assert watch.arrivals.accepted == {Endpoint(network.peer, PORT): 1}


@NETWORKS
@pytest.mark.parametrize("options", [[], ["--host"]], ids=["job", "host"])
def test_a_killed_exporter_hinders_no_job_and_the_next_start_leaves_nothing_of_it(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network, options: list[str]
) -> None:
    with running(lab.command(listening(programs, network)), tmp_path / "killed", *options) as run:
        assert run.next_line() == "ready"
        connect_once(run, lab, network)
        instance = run.instance()
        links = links_of(instance)
        assert len(links) > 10
        os.kill(run.pid, signal.SIGKILL)
        run.process.wait()
        connect_once(run, lab, network)
        assert links <= attached().links
        assert run.process.stdin is not None
        run.process.stdin.close()
        wait_for(lambda: in_session(run.pid) == [])
    seen = trace(lab, programs.act("connect", network.peer, PORT), tmp_path / "again")
    assert (seen.stdout, [leaf["egress.outcome"] for leaf in seen.egress]) == ("ok\n", ["established"])
    assert seen.account == whole_account(1)
    wait_for(lambda: not instance.exists())  # a stranger's start may be at it
    wait_for(lambda: not links & attached().links)
