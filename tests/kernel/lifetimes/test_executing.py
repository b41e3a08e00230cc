"""A process that executes a program for as long as it likes: whoever looks at it in /proc waits for that."""

from __future__ import annotations

import os
import shlex
import signal
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.common.bounded import READERS_MAX
from tests.kernel import steered_runs
from tests.kernel.agents import GONE
from tests.kernel.job_steps import job, known, policy, run_id
from tests.kernel.lab import PORT, V4, Lab
from tests.kernel.running_exporter import wait_for
from tests.kernel.steered_runs import asked
from tests.kernel.watching import watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.conftest import Programs
    from tests.kernel.job_steps import Steps
    from tests.kernel.steered_runs import Host

pytestmark = [pytest.mark.kernel, pytest.mark.alone]  # others may look at that process, too

ENFORCED = ("--enforce", "--allowed-endpoints", f"{V4.peer}:{PORT}")
POLICY = f'mode: enforce\nallow: ["{V4.peer}:{PORT}"]\n'
_FUSE = os.makedev(10, 229)


@pytest.fixture
def executing(lab: Lab, programs: Programs, tmp_path: Path) -> Iterator[str]:
    """The words that leave such a process behind; what serves its file is ended in the end."""
    os.mknod(tmp_path / "fuse", stat.S_IFCHR | 0o600, _FUSE)
    file = tmp_path / "file"
    file.touch()
    words = programs.executing(tmp_path / "fuse", file, V4.peer, PORT, "sleep", "100")
    yield shlex.join(os.fsdecode(part) for part in lab.command(words))
    for pid in serving(file):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not serving(file))


def serving(file: Path) -> list[int]:
    """By what can be read of each process at any time: it takes no lock."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"executing\0" in command and os.fsencode(file) in command:
            found.append(int(folder.name))
    return found


def test_a_run_ends_all_the_same(
    host: Host, lab: Lab, programs: Programs, executing: str, tmp_path: Path
) -> None:
    connect = shlex.join(os.fsdecode(part) for part in lab.command(programs.act("connect", V4.evil, PORT)))
    with host.running(["sh", "-c", f"{executing} && {connect}; true"], tmp_path, *ENFORCED) as run:
        seen = run.end()
    assert seen.stdout == "EPERM\n"
    assert seen.status == 0


def test_what_is_open_is_ended_all_the_same(host: Host, lab: Lab, executing: str, tmp_path: Path) -> None:
    more = f"for each in $(seq {READERS_MAX + 1}); do {executing} || exit; done"
    command = ["sh", "-c", f"{more}; exec {shlex.join(map(os.fsdecode, lab.command(steered_runs.agent())))}"]
    with host.running(command, tmp_path, "--allowed-endpoints", f"{V4.peer}:{PORT}") as run:
        assert run.next_line() == "ready"
        assert asked(run, "open", "evil", "tcp", V4.evil, PORT) == "ok"
        assert asked(run, "say", "evil") == "ok"
        cut = host.ci_egress("enforce", "on", "--cut", status=1)
        assert "1 open connection ended" in cut.stdout
        assert cut.stderr.count(": it lets its readers wait\n") == READERS_MAX + 1
        assert asked(run, "say", "evil") in GONE
        run.end()


def test_a_watch_decides_other_jobs_all_the_same(steps: Steps, executing: str, tmp_path: Path) -> None:
    held, other = run_id("held"), run_id("other")
    with watching(tmp_path, "--policy", str(policy(tmp_path, POLICY))) as watch:
        place = steps.start(job(held, "held"), f"{executing}; echo $?")
        known(watch, held)
        assert steps.go(place) == "0\n"
        place = steps.start(job(other, "other"), f"{steps.act(V4.peer)}; {steps.act(V4.evil)}")
        known(watch, other)
        assert steps.go(place) == "ok\nEPERM\n"
        seen = watch.stop()
    assert seen.status == 0


def test_a_watch_begins_all_the_same(steps: Steps, executing: str, tmp_path: Path) -> None:
    file, other = policy(tmp_path, POLICY), run_id("other")
    place = steps.start(job(run_id("held"), "held"), f"{executing}; echo $?")
    assert steps.go(place) == "0\n"
    with watching(tmp_path, "--policy", str(file)) as watch:
        place = steps.start(job(other, "other"), f"{steps.act(V4.peer)}; {steps.act(V4.evil)}")
        known(watch, other)
        assert steps.go(place) == "ok\nEPERM\n"
        seen = watch.stop()
    assert seen.status == 0
