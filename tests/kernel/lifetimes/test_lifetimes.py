"""However a run ends, nothing of it stays: not in the kernel, not in bpffs, no process."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.common.errors import KernelError
from exporter.kernel.compilation.compiling import system_compiler
from exporter.kernel.instances.loading import loading
from tests.kernel.lab import PORT, V4, Lab
from tests.kernel.running_exporter import (
    PROGRAMS_IN_CGROUP,
    attached,
    in_session,
    links,
    nothing_left,
    running,
    wait_for,
)
from tests.kernel.tracing import copy_of_the_program, read, run_command, trace

if TYPE_CHECKING:
    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.alone

WAITS = ["sh", "-c", "echo ready; read line; exit 7"]
"""A COMMAND that waits for a line, then fails."""

ENDINGS = {
    "well": (["true"], 0),
    "with a failure": (["sh", "-c", "exit 3"], 3),
    "by a signal": (["sh", "-c", "kill -9 $$"], 137),
    "without a command": (["/no/such/command"], 127),
    "without an executable": (["/etc/passwd"], 126),
}


@pytest.mark.parametrize("has_policy", [False, True], ids=["without-a-policy", "with-a-policy"])
def test_while_it_runs_its_programs_are_attached_and_afterwards_not(
    tmp_path: Path, *, has_policy: bool
) -> None:
    """Those for policies only where there is one."""
    before = attached()
    options = ["--allowed-endpoints", "registry.example:443"] if has_policy else []
    with nothing_left(), running(WAITS, tmp_path, *options) as run:
        assert run.next_line() == "ready"
        now = attached().beyond(before)
        pins = list(run.instance().iterdir())
        assert len(now.programs) >= PROGRAMS_IN_CGROUP
        assert len(now.links) >= links(has_policy=has_policy)
        assert len([pin for pin in pins if pin.name.startswith("link_")]) == links(has_policy=has_policy)
        assert any(pin.name.startswith("prog_") for pin in pins) == has_policy
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
        wait_for(lambda: len(in_session(run.pid)) > 1)  # COMMAND is held, programs are being loaded
        os.kill(run.pid, signal.SIGTERM)
        assert run.end().status == 128 + signal.SIGTERM
        assert in_session(run.pid) == []


@pytest.mark.parametrize(
    ("python", "what"),
    [
        ("/no/such/python", "cannot run /no/such/python: No such file or directory"),
        ("/bin/false", "the compiler ended with status 1"),
    ],
)
def test_nothing_is_left_of_a_compiler_that_fails(python: str, what: str) -> None:
    compiler = system_compiler(python)
    with nothing_left(), pytest.raises(KernelError, match=what):  # noqa: SIM117 - the one encloses the other
        with loading(compiler, compiles=True) as kernel:
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
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "STATE_DIRECTORY": str(tmp_path / "state")}
    with nothing_left():
        seen = trace(None, ["sh", "-c", "echo out; exit 5"], tmp_path, env=env)
    assert (seen.status, seen.stdout) == (5, "out\n")
    warnings = [line for line in seen.stderr.splitlines() if line.startswith("ci-egress: warning: ")]
    # Beside what a killed exporter of somebody else has left.
    (warning,) = (line for line in warnings if not line.startswith("ci-egress: warning: instance "))
    assert "can't be sent to http://127.0.0.1:9/" in warning
    assert "Traceback" not in seen.stderr
    assert seen.job.name == "run"


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
