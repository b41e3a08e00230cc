"""What a SIGKILL leaves in the kernel, a later start sweeps: never what is needed."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.kernel.lab import PORT
from tests.kernel.running_exporter import PINS, Running, in_session, links, nothing_left, running, wait_for
from tests.kernel.tracing import trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.alone

WAITS = ["sh", "-c", "echo ready; read line"]
"""A COMMAND that waits for a line."""


def start(tmp_path: Path) -> None:
    """Another run, which sweeps."""
    assert trace(None, ["true"], tmp_path / "sweep").status == 0


def connect(programs: Programs) -> str:
    """For a shell."""
    return shlex.join(programs.act("connect", "127.0.0.1", PORT))


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
    script = "echo ready; read line; (exec sleep 1000 >&- 2>&-) & echo $!"
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


def is_killed_while_loading(command: list[str], tmp_path: Path) -> bool:
    """Kill ci-egress as soon as it has a pin directory, and start another one at once.

    False where it had come so far by then that COMMAND, which goes on, may have been let go.
    """
    before = set(PINS.glob("*"))
    with running(command, tmp_path / "otlp") as run:
        wait_for(lambda: bool(set(PINS.glob("*")) - before))
        os.kill(run.pid, signal.SIGKILL)
        if sum(pin.parent not in before for pin in PINS.glob("*/link_*")) >= links():
            return False
        start(tmp_path)  # what was killed may still be at work
        wait_for(lambda: in_session(run.pid) == [])
    return True


def test_an_exporter_killed_while_loading_leaves_nothing_that_hinders(tmp_path: Path) -> None:
    marker = tmp_path / "started"
    with nothing_left():
        for _ in range(3):
            while not is_killed_while_loading(["sh", "-c", f"touch {marker}; read -r _"], tmp_path):
                marker.unlink(missing_ok=True)
        start(tmp_path)
    assert not marker.exists()


PIN_WITHOUT_END = "import os, sys\nfor n in range(10**6): os.symlink('anything', f'{sys.argv[1]}/{n}')"


def test_a_start_succeeds_while_something_is_still_pinned_in_a_dead_instance(tmp_path: Path) -> None:
    with nothing_left():
        PINS.mkdir(mode=0o700, exist_ok=True)
        instance = PINS / f"test-{os.getpid()}"
        instance.mkdir()
        with subprocess.Popen([sys.executable, "-c", PIN_WITHOUT_END, instance]) as pinning:
            wait_for(lambda: any(instance.iterdir()))
            start(tmp_path)
            pinning.kill()
        start(tmp_path)
