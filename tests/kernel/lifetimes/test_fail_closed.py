"""What an exporter that is killed denied stays denied, until somebody stops it; and nothing else stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.lab import PORT, V4, Lab
from tests.kernel.running_exporter import in_session, stopped, wait_for
from tests.kernel.steered_runs import Host, agent, asked, end_agent, kill
from tests.kernel.tamper_records import tampering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

ROUNDS = int(os.environ.get("KILL_ROUNDS", "10"))
"""How often an exporter is killed while its job connects."""
ENFORCED = ("--enforce", "--allowed-endpoints", f"{V4.peer}:{PORT}")
AUDITED = ENFORCED[1:]


FORKING = """
import os, time
while True:
    if os.fork():
        time.sleep(0.01)
        os._exit(0)
"""
"""A process that is another one every 10 ms."""


def start(host: Host, tmp_path: Path) -> str:
    """Another run, which sweeps what it may; what it says."""
    return host.ci_egress("run", "--otlp-dir", str(tmp_path / "sweep"), "--", "true").stderr


def test_denial_outlives_the_exporter_and_stop_gets_the_host_back(
    host: Host, lab: Lab, tmp_path: Path
) -> None:
    with lab.watch() as watch, host.running(lab.command(agent()), tmp_path, *ENFORCED) as run:
        assert run.next_line() == "ready"
        (name,) = host.instances()
        with host.nothing_left():
            kill(run)
            assert asked(run, "open", "a", "tcp", V4.evil, PORT) == "EPERM"
            said = f"instance {name} still denies for run, although its exporter is gone; "
            assert f"{said}1 of its processes runs; `ci-egress stop {name}` ends it\n" in start(
                host, tmp_path
            )
            assert asked(run, "open", "a", "tcp", V4.evil, PORT) == "EPERM"
            assert asked(run, "open", "b", "tcp", V4.peer, PORT) == "ok"
            end_agent(run)
            assert f"{said}none of its processes runs; " in start(host, tmp_path)
            checks = {check["name"]: check for check in host.doctor()}
            assert not checks[f"instance {name}"]["ok"]
            assert checks[f"instance {name}"]["fix"] == f"ci-egress stop {name}"
            assert host.instances() == [name]
            assert host.ci_egress("stop").stdout == f"instance {name}: detached and removed\n"
        assert "leftovers" in {check["name"] for check in host.doctor()}
        assert host.instances() == []
    assert watch.arrivals.packets_to(V4.evil) == 0


def test_a_job_goes_on_undenied_when_its_dead_instance_is_stopped(
    host: Host, lab: Lab, tmp_path: Path
) -> None:
    with host.running(lab.command(agent()), tmp_path, *ENFORCED) as run:
        assert run.next_line() == "ready"
        (name,) = host.instances()
        kill(run)
        with host.nothing_left():
            host.ci_egress("stop", name[:5])
        assert asked(run, "open", "a", "tcp", V4.evil, PORT) == "ok"
        end_agent(run)


def test_a_dead_instance_that_was_turned_off_is_swept(host: Host, lab: Lab, tmp_path: Path) -> None:
    with host.running(lab.command(agent()), tmp_path, *ENFORCED) as run:
        assert run.next_line() == "ready"
        kill(run)
        host.ci_egress("enforce", "off")
        assert asked(run, "open", "a", "tcp", V4.evil, PORT) == "ok"
        end_agent(run)
        assert "still" not in start(host, tmp_path)
        assert host.instances() == []


def test_an_exporter_says_so_when_it_is_stopped(host: Host, lab: Lab, tmp_path: Path) -> None:
    with host.running(lab.command(agent()), tmp_path, *ENFORCED) as run:
        assert run.next_line() == "ready"
        (name,) = host.instances()
        assert host.ci_egress("stop").stdout == "nothing to stop: no dead exporter left anything\n"
        assert asked(run, "open", "a", "tcp", V4.evil, PORT) == "EPERM"
        said = host.ci_egress("stop", "--all").stdout
        assert said == f"instance {name}, whose exporter runs: detached and removed\n"
        assert asked(run, "open", "a", "tcp", V4.evil, PORT) == "ok"
        assert run.process.stderr is not None
        lines = iter(run.process.stderr.readline, "")
        told = next(line for line in lines if "detached" in line)
        words = "the programs were detached: from now on nothing is traced, nor denied"
        assert told == f"ci-egress: {words}; root called `ci-egress stop`\n"
        seen = run.end()
    assert seen.status == 0
    assert [span["egress.verdict"] for span in seen.egress] == ["deny"]
    assert [point.value for point in seen.metrics["cicd.egress.enforcing"]] == [0]
    assert tampering(tmp_path) == []


def test_pins_that_somebody_removes_are_tampering(host: Host, tmp_path: Path) -> None:
    with host.running(agent(), tmp_path, *ENFORCED) as run:
        assert run.next_line() == "ready"
        (name,) = host.instances()
        with stopped(run.pid):  # it pins programs of interfaces as these come
            subprocess.run([*host.under, "rm", "-r", f"/sys/fs/bpf/ci-egress/{name}"], check=True)
        assert run.process.stderr is not None
        assert "tampering: pins of ci-egress were removed" in run.process.stderr.readline()
        run.end()
    assert "unpinned" in {kind for kind, _ in tampering(tmp_path)}


def test_what_is_unknown_is_not_stopped(host: Host) -> None:
    told = host.ci_egress("stop", "zz", status=1).stderr
    assert told.startswith("ci-egress: error: there is no instance 'zz'; ")
    assert "INSTANCE and --all are both given" in host.ci_egress("stop", "a", "--all", status=2).stderr
    assert "INSTANCE is missing: it is empty" in host.ci_egress("stop", "", status=2).stderr


@pytest.mark.parametrize("options", [ENFORCED, AUDITED], ids=["enforce", "audit"])
def test_open_detaches_with_its_exporter(
    host: Host, lab: Lab, tmp_path: Path, options: tuple[str, ...]
) -> None:
    open_ = ("--on-exporter-death", "open", *options)
    with host.running(lab.command(agent()), tmp_path, *open_) as run:
        assert run.next_line() == "ready"
        denied = "EPERM" if options is ENFORCED else "ok"
        assert asked(run, "open", "a", "tcp", V4.evil, PORT) == denied
        assert host.modes() == [("enforce", "enforce") if options is ENFORCED else ("audit", "audit")]
        with host.nothing_left():
            kill(run)
        assert asked(run, "open", "a", "tcp", V4.evil, PORT) == "ok"
        assert host.modes() == [("enforce" if options is ENFORCED else "audit", None)]
        assert "still" not in start(host, tmp_path)
        assert host.instances() == []
        end_agent(run)


def test_stop_detaches_what_only_the_exporter_holds(host: Host, lab: Lab, tmp_path: Path) -> None:
    options = ("--on-exporter-death", "open", *ENFORCED)
    with host.running(lab.command(agent()), tmp_path, *options) as run:
        assert run.next_line() == "ready"
        assert asked(run, "open", "a", "tcp", V4.evil, PORT) == "EPERM"
        host.ci_egress("stop", "--all")
        assert asked(run, "open", "a", "tcp", V4.evil, PORT) == "ok"
        assert run.end().status == 0


DAEMON = 'setsid --fork sh -c "echo \\$\\$; exec sleep 100 >&- 2>&-"; read -r _'
"""Leaves a process behind that is in a session of its own, and whose parent is gone."""


def is_running(pid: str) -> bool:
    """Not so of what has ended, whether or not init has waited for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def sleeps(pid: str) -> bool:
    """Not so while its exec goes on, when it has the name already, and no arguments yet."""
    return "(sleep) S" in Path(f"/proc/{pid}/stat").read_text()


def test_what_an_enforced_command_leaves_behind_is_ended(host: Host, tmp_path: Path) -> None:
    with host.running(["sh", "-c", DAEMON], tmp_path, *ENFORCED) as run:
        pid = run.next_line()
        wait_for(lambda: sleeps(pid))
        run.tell("go on")
        seen = run.end()
        assert not is_running(pid)
    told = "ended 1 process that COMMAND left behind, since nothing would hold it to the policy: "
    assert f"ci-egress: {told}sleep ({pid})" in seen.stderr.splitlines()
    assert "left behind, no longer traced" not in seen.stderr
    assert seen.status == 0


def test_what_an_audited_command_leaves_behind_is_listed(host: Host, tmp_path: Path) -> None:
    with host.running(["sh", "-c", DAEMON], tmp_path, *AUDITED) as run:
        pid = run.next_line()
        wait_for(lambda: sleeps(pid))
        run.tell("go on")
        seen = run.end()
        os.kill(int(pid), signal.SIGKILL)
    assert f"  {pid} sleep 100" in seen.stderr.splitlines()


def test_a_crowd_that_goes_on_forking_is_ended(host: Host, tmp_path: Path) -> None:
    crowd = f"""
import subprocess, sys
nowhere = {{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}}
for _ in range(8):
    subprocess.Popen([sys.executable, "-c", {FORKING!r}], **nowhere)
"""
    with host.running([sys.executable, "-c", crowd], tmp_path, *ENFORCED) as run:
        seen = run.end()
        assert in_session(run.pid) == []
    assert " processes that COMMAND left behind, since nothing would hold them" in seen.stderr


HOPS_S = 14
"""Longer than anybody is after them: LIMIT_S in exporter/kernel/instances/scope_end.py."""


@pytest.mark.timeout(60 * ROUNDS)
def test_who_is_another_process_all_the_time_is_ended_or_stays_denied(
    host: Host, lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    hopper = lab.command(programs.lineage("hop", HOPS_S, V4.evil, PORT))
    reaping = replace(host, under=[*host.under, *programs.lineage("reap")])
    with lab.watch() as watch:
        for number in range(ROUNDS):
            with reaping.running(hopper, tmp_path / str(number), *ENFORCED) as run:
                seen = run.end()  # no process is left then
                is_denied = "stay denied" in seen.stderr
                assert is_denied or "since nothing would hold" in seen.stderr
                assert [mode for _, mode in host.modes()] == (["enforce"] if is_denied else [])
    assert watch.arrivals.packets_to(V4.evil) == 0


@pytest.fixture
def frozen(host: Host, tmp_path: Path) -> Iterator[Path]:
    """A directory, on that host, of a file system whose writers wait, and can't be killed."""
    image, mounted = tmp_path / "image", tmp_path / "mounted"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    subprocess.run([*host.under, "mount", "-o", "loop", str(image), str(mounted)], check=True)
    with ExitStack() as stack:
        umount = [*host.under, "umount", str(mounted)]
        stack.callback(wait_for, lambda: subprocess.run(umount, check=False).returncode == 0)
        subprocess.run([*host.under, "fsfreeze", "--freeze", str(mounted)], check=True)
        yield mounted


def test_what_cannot_be_ended_stays_denied(host: Host, frozen: Path, tmp_path: Path) -> None:
    script = '(exec touch "$1/file") >&- 2>&- & echo $!; read -r _'
    with host.running(["sh", "-c", script, "sh", str(frozen)], tmp_path / "otlp", *ENFORCED) as run:
        pid = run.next_line()
        # Not by its state: it also waits for the disk while it is loaded, and can be killed there.
        wait_for(lambda: "percpu_rwsem" in Path(f"/proc/{pid}/wchan").read_text())
        run.tell("go on")
        try:
            seen = run.end()
            (name,) = host.instances()
            told = f"1 process left behind by COMMAND can't be ended and stays denied: touch ({pid})"
            assert told in seen.stderr
            assert f"once it is gone: `ci-egress stop {name}`" in seen.stderr
            assert host.modes() == [("enforce", "enforce")]
        finally:
            subprocess.run([*host.under, "fsfreeze", "--unfreeze", str(frozen)], check=True)
        wait_for(lambda: in_session(run.pid) == [])
        host.ci_egress("stop", name)


def is_ended(session: int) -> bool:
    """Whether nothing of it runs; what does is killed."""
    pids = in_session(session)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return not pids


@pytest.mark.timeout(60 * ROUNDS)
def test_no_denied_connect_gets_through_while_exporters_are_killed(
    host: Host, lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    connect = programs.act("connect", V4.evil, PORT)
    script = 'echo ready; while true; do "$@"; done'
    with lab.watch() as watch:
        for number in range(ROUNDS):
            command = lab.command(["sh", "-c", script, "sh", *connect])
            with host.running(command, tmp_path / str(number), *ENFORCED) as run:
                assert run.next_line() == "ready"
                assert run.next_line() == "EPERM"
                kill(run)
                assert "still denies" in start(host, tmp_path)  # others come and go meanwhile
                assert {run.next_line() for _ in range(20)} == {"EPERM"}
                wait_for(partial(is_ended, run.pid))
    assert watch.arrivals.packets_to(V4.evil) == 0
    assert host.instances() == []
