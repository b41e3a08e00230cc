"""However a run ends, nothing of it stays in the kernel; what a SIGKILL leaves, a later start sweeps."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import struct
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter import wire
from exporter.errors import KernelError
from exporter.kernel.tracer import loading

from .attached import (
    LINKS,
    PINS,
    PROGRAMS_IN_CGROUP,
    Running,
    attached,
    in_session,
    nothing_left,
    running,
    wait_for,
)
from .lab import PORT, V4, Lab
from .tracing import copy_of_the_program, read, run_command, trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Programs

WAITS = ["sh", "-c", "ulimit -c 0; echo ready; read line; exit 7"]
"""A COMMAND that waits for a line, then fails."""

ENDINGS = {
    "well": (["true"], 0),
    "with a failure": (["sh", "-c", "exit 3"], 3),
    "by a signal": (["sh", "-c", "kill -9 $$"], 137),
    "without a command": (["/no/such/command"], 127),
    "without an executable": (["/etc/passwd"], 126),
}


def start(tmp_path: Path) -> None:
    """Another run, which sweeps."""
    assert trace(None, ["true"], tmp_path / "sweep").status == 0


def connect(programs: Programs) -> str:
    """For a shell."""
    return shlex.join(programs.act("connect", "127.0.0.1", PORT))


def test_while_it_runs_its_programs_are_attached_and_afterwards_not(tmp_path: Path) -> None:
    before = attached()
    with nothing_left(), running(WAITS, tmp_path) as run:
        assert run.next_line() == "ready"
        now = attached().beyond(before)
        pins = list(run.instance().iterdir())
        assert len(now.programs) >= PROGRAMS_IN_CGROUP
        assert len(now.links) >= LINKS
        assert len([pin for pin in pins if pin.name.startswith("link_")]) == LINKS
        run.tell("go on")
        assert run.end().status == 7
        assert in_session(run.pid) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_left_when_command_ends(tmp_path: Path, ending: str) -> None:
    command, status = ENDINGS[ending]
    with nothing_left(), running(command, tmp_path) as run:
        assert run.end().status == status
        assert in_session(run.pid) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_command_and_the_trace_is_written(tmp_path: Path, number: signal.Signals) -> None:
    with nothing_left(), running(["sh", "-c", "ulimit -c 0; echo ready; exec sleep 60"], tmp_path) as run:
        assert run.next_line() == "ready"
        os.kill(run.pid, number)
        seen = run.end()
        assert seen.status == 128 + number
        assert seen.job.name == "run"
        assert seen.account.startswith("attempts 0 ")
        assert in_session(run.pid) == []


def test_a_signal_while_the_programs_are_loaded_ends_command_too(tmp_path: Path) -> None:
    with nothing_left(), running(["sh", "-c", "echo started; exec sleep 60"], tmp_path) as run:
        wait_for(lambda: len(in_session(run.pid)) > 1)  # COMMAND's process is held, the loader is at work
        os.kill(run.pid, signal.SIGTERM)
        assert run.end().status == 128 + signal.SIGTERM
        assert in_session(run.pid) == []


@pytest.mark.parametrize(
    ("python", "what"),
    [
        ("/no/such/python", "cannot run /no/such/python: No such file or directory"),
        ("/bin/false", "the loader ended with status 1"),
    ],
)
def test_nothing_is_left_of_a_loader_that_fails(python: str, what: str) -> None:
    with nothing_left(), pytest.raises(KernelError, match=what), loading(python=python) as kernel:
        kernel.ready()


@pytest.mark.parametrize("broken", ["this is no C", "int on_exit(void *ctx) { return *(int *)0; }"])
def test_nothing_is_left_of_programs_that_cannot_be_loaded(tmp_path: Path, broken: str) -> None:
    env = copy_of_the_program(tmp_path / "copy")
    source = tmp_path / "copy/bpf/process.bpf.c"
    source.write_text(source.read_text().replace("int on_exit(", f"{broken}\nint replaced("))
    marker = tmp_path / "started"
    with nothing_left():
        seen = trace(None, ["touch", str(marker)], tmp_path / "otlp", env=env, cwd=tmp_path)
    assert seen.status == 91
    assert not marker.exists()
    lines = seen.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(("ci-egress: error: cannot compile", "ci-egress: error: cannot load"))
    assert lines[1] == "ci-egress: run with -v for the details"


def test_an_unreachable_collector_changes_nothing_for_command(tmp_path: Path) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with nothing_left():
        seen = trace(None, ["sh", "-c", "echo out; exit 5"], tmp_path, env=env)
    assert (seen.status, seen.stdout) == (5, "out\n")
    (complaint,) = (line for line in seen.stderr.splitlines() if line.startswith("ci-egress: warning: "))
    assert "can't be sent to http://127.0.0.1:9/" in complaint
    assert "Traceback" not in seen.stderr
    assert seen.job.name == "run"


@contextmanager
def killed(tmp_path: Path, command: list[str]) -> Iterator[tuple[Running, Path]]:
    """A run whose ci-egress was killed while COMMAND waits, and what it left pinned."""
    with running(command, tmp_path / "killed") as run:
        assert run.next_line() == "ready"
        instance = run.instance()
        os.kill(run.pid, signal.SIGKILL)
        run.process.wait()
        yield run, instance


def end_command(run: Running) -> None:
    """Let the orphaned COMMAND end."""
    run.tell("go on")
    wait_for(lambda: in_session(run.pid) == [])


def test_command_goes_on_when_its_exporter_is_killed(tmp_path: Path, programs: Programs) -> None:
    script = f"echo ready; read line; {connect(programs)}; echo done"
    with nothing_left():
        with killed(tmp_path, ["sh", "-c", script]) as (run, instance):
            wait_for(lambda: len(in_session(run.pid)) == 1)  # what helped ci-egress is gone, COMMAND is not
            run.tell("go on")
            assert [run.next_line(), run.next_line()] == ["ECONNREFUSED", "done"]
            assert instance.is_dir()
        start(tmp_path)


def test_a_start_sweeps_what_was_left_once_no_process_of_its_job_lives(tmp_path: Path) -> None:
    with nothing_left(), killed(tmp_path, WAITS) as (run, instance):
        start(tmp_path)
        assert instance.is_dir()
        end_command(run)
        start(tmp_path)
        assert not instance.exists()


def test_a_process_that_was_forked_after_the_kill_counts_too(tmp_path: Path) -> None:
    script = "echo ready; read line; (exec sleep 60 >&- 2>&-) & echo $!"
    with nothing_left(), killed(tmp_path, ["sh", "-c", script]) as (run, instance):
        run.tell("go on")
        left = int(run.next_line())
        wait_for(lambda: in_session(run.pid) == [left])
        start(tmp_path)
        assert instance.is_dir()
        os.kill(left, signal.SIGKILL)
        wait_for(lambda: in_session(run.pid) == [])
        start(tmp_path)
        assert not instance.exists()


def set_enforcing(instance: Path, enforcing: int) -> None:
    """Write the instance's configuration as the exporter would."""
    value = struct.pack("=II", wire.LAYOUT, enforcing)
    key = ["key", "0", "0", "0", "0", "value", *map(str, value)]
    subprocess.run(["bpftool", "map", "update", "pinned", instance / "map_config", *key], check=True)


def test_an_enforcing_instance_is_never_swept(tmp_path: Path) -> None:
    with nothing_left(), killed(tmp_path, WAITS) as (run, instance):
        set_enforcing(instance, 1)
        end_command(run)
        start(tmp_path)
        assert instance.is_dir()
        set_enforcing(instance, 0)
        start(tmp_path)
        assert not instance.exists()


def test_a_locked_instance_is_never_swept(tmp_path: Path) -> None:
    with nothing_left(), killed(tmp_path, WAITS) as (run, instance):
        end_command(run)
        descriptor = os.open(instance, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        start(tmp_path)
        assert instance.is_dir()
        os.close(descriptor)
        start(tmp_path)
        assert not instance.exists()


def test_a_live_instance_is_not_touched_by_another_start(tmp_path: Path, programs: Programs) -> None:
    script = f"echo ready; read line; {connect(programs)}"
    with nothing_left(), running(["sh", "-c", script], tmp_path / "first") as run:
        assert run.next_line() == "ready"
        start(tmp_path)
        run.tell("go on")
        assert len(run.end().egress) == 1


def kill_while_loading(command: list[str], tmp_path: Path) -> None:
    """Kill ci-egress as soon as it has a pin directory, and start another one at once."""
    before = set(PINS.glob("*"))
    with running(command, tmp_path / "otlp") as run:
        wait_for(lambda: bool(set(PINS.glob("*")) - before))
        os.kill(run.pid, signal.SIGKILL)
        start(tmp_path)  # the loader may still be at work
        wait_for(lambda: in_session(run.pid) == [])


def test_an_exporter_killed_while_loading_leaves_nothing_that_hinders(tmp_path: Path) -> None:
    marker = tmp_path / "started"
    with nothing_left():
        for _ in range(3):
            kill_while_loading(["touch", str(marker)], tmp_path)
        start(tmp_path)
    assert not marker.exists()


PIN_WITHOUT_END = "import os, sys\nfor n in range(10**6): os.symlink('anything', f'{sys.argv[1]}/{n}')"


def test_a_start_succeeds_while_something_is_still_pinned_in_a_dead_instance(tmp_path: Path) -> None:
    with nothing_left():
        PINS.mkdir(mode=0o700, exist_ok=True)
        instance = PINS / f"test-{os.getpid()}"
        instance.mkdir()
        with subprocess.Popen([sys.executable, "-c", PIN_WITHOUT_END, instance]) as loader:
            wait_for(lambda: any(instance.iterdir()))
            start(tmp_path)
            loader.kill()
        start(tmp_path)


def test_two_runs_at_once_each_trace_their_own(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    def waits(address: str) -> list[str | bytes]:
        act = shlex.join(programs.act("connect", address, PORT))
        return lab.command(["sh", "-c", f"echo ready; read line; {act}"])

    with (
        nothing_left(),
        running(waits(V4.peer), tmp_path / "a") as a,
        running(waits(V4.evil), tmp_path / "b") as b,
    ):
        assert [a.next_line(), b.next_line()] == ["ready", "ready"]
        a.tell("go on")
        b.tell("go on")
        assert [leaf["server.address"] for leaf in a.end().egress] == [V4.peer]
        assert [leaf["server.address"] for leaf in b.end().egress] == [V4.evil]


def test_a_run_inside_a_run_is_seen_by_both(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    act = programs.act("connect", V4.peer, PORT)
    inner_dir = tmp_path / "inner"
    with nothing_left():
        outer = trace(lab, run_command(inner_dir, act), tmp_path / "outer")
    inner = read(subprocess.CompletedProcess([], 0, "", ""), inner_dir)
    assert outer.status == 0
    ((outer_leaf,), (inner_leaf,)) = outer.egress, inner.egress
    assert outer_leaf["process.pid"] == inner_leaf["process.pid"]
    assert inner_leaf["egress.lineage"] == ["act"]
    assert outer_leaf["egress.lineage"] == [Path(sys.executable).resolve().name, "act"]
    assert (inner.job.trace_id, inner.job.parent_id) == (outer.job.trace_id, outer.job.span_id)


def test_many_starts_at_once_do_not_get_into_each_others_way(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    command = lab.command(programs.act("connect", V4.peer, PORT))
    with nothing_left(), ExitStack() as stack:
        runs = [stack.enter_context(running(command, tmp_path / str(number))) for number in range(8)]
        for run in runs:
            seen = run.end()
            assert (seen.status, len(seen.egress)) == (0, 1), seen.stderr
