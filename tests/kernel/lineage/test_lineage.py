"""Each shape of `lineage` makes the processes that its name says."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kernel.arrivals import Endpoint
from tests.kernel.lab import HOSTILE_ARGUMENTS, PORT, V4, V6, Lab
from tests.kernel.observation import observe, strace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.kernel.conftest import Programs

SHOW_PIDS = ["sh", "-c", "echo $$ $PPID"]


def show_own_pid(command: Sequence[str]) -> list[str]:
    """COMMAND, behind a line with the pid that it has."""
    return ["sh", "-c", 'echo $$; exec "$@"', "sh", *command]


def test_double_fork_leaves_the_command_without_its_parent(lab: Lab, programs: Programs) -> None:
    shown = lab.run(programs.lineage("double-fork", "sh", "-c", "cat /proc/$PPID/comm")).stdout
    assert shown.strip() not in {"", "lineage"}


def test_setsid_fork_makes_a_session(lab: Lab, programs: Programs) -> None:
    done = lab.run(programs.lineage("setsid-fork", "sh", "-c", "cat /proc/$$/stat"))
    pid, _, _, _, group, session, *_ = done.stdout.split()
    assert pid == group == session


def test_clone_parent_makes_a_sibling(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    command = programs.lineage("clone-parent", *SHOW_PIDS)
    done = lab.run(show_own_pid(command))
    own, shown = done.stdout.splitlines()
    assert shown.split()[1] == own
    log = strace(lab, "clone", command, tmp_path / "strace")
    assert "CLONE_PARENT|SIGCHLD" in log


def test_vfork_is_vfork(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    log = strace(lab, "vfork,execve", programs.lineage("vfork", "/bin/true"), tmp_path / "strace")
    assert log.count("vfork(") == 1
    assert log.count("execve(") == 2


def test_thread_exec_takes_over_the_pid_of_the_leader(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    command = programs.lineage("thread-exec", *SHOW_PIDS)
    own, shown = lab.run(show_own_pid(command)).stdout.splitlines()
    assert shown.split()[0] == own
    execs = strace(lab, "execve", command, tmp_path / "strace").splitlines()
    assert len({line.split()[0] for line in execs if "execve(" in line}) == 2


def test_leader_exits_before_the_command_is_forked(lab: Lab, programs: Programs) -> None:
    done = lab.run(programs.lineage("leader-exits", "sh", "-c", "cat /proc/$PPID/stat; exit 3"))
    assert done.stdout.split()[2] == "Z"
    assert done.returncode == 3


def test_fork_noexec_connects_from_the_child(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    to = Endpoint(V4.peer, PORT)
    with lab.watch() as watch:
        log = strace(lab, "execve,connect", programs.lineage("fork-noexec", *to), tmp_path / "strace")
    assert watch.arrivals.accepted == {to: 1}
    execed, connected = (line.split()[0] for line in log.splitlines())
    assert execed != connected


def test_pid_reuse_gives_every_child_the_same_pid(lab: Lab, programs: Programs) -> None:
    done = lab.run(programs.lineage("pid-reuse", 4, "sh", "-c", "cat /proc/$$/stat"))
    pids, starts = zip(
        *((line.split()[0], line.split()[21]) for line in done.stdout.splitlines()), strict=True
    )
    assert len(pids) == 4
    assert len(set(pids)) == 1
    assert list(starts) == sorted(starts, key=int)


def test_memfd_exec_runs_a_file_without_a_name(lab: Lab, programs: Programs) -> None:
    done = lab.run(programs.lineage("memfd-exec", "/bin/sh", "-c", "readlink /proc/$$/exe"))
    assert done.stdout == "/memfd:program (deleted)\n"


def test_exec_chain_stays_in_its_process(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    log = strace(lab, "execve", programs.lineage("exec-chain", 3, "/bin/true"), tmp_path / "strace")
    assert log.count("execve(") == 1 + 3 + 1
    assert len({line.split()[0] for line in log.splitlines()}) == 1


@pytest.mark.parametrize("size", [0, 100_000])
def test_argv_adds_one_argument_of_that_size(lab: Lab, programs: Programs, size: int) -> None:
    done = lab.run(programs.lineage("argv", size, "sh", "-c", 'printf %s "$1"', "sh"))
    assert done.stdout == "a" * size


def test_argv_bytes_appends_the_hostile_arguments(lab: Lab, programs: Programs) -> None:
    command = programs.lineage("argv-bytes", "cat", "/proc/self/cmdline", "--")
    done = subprocess.run(lab.command(command), capture_output=True, check=False, timeout=30)
    assert tuple(done.stdout.split(b"\0")[3:-1]) == HOSTILE_ARGUMENTS


@pytest.mark.parametrize(("shape", "n"), [("burst", 500), ("at-once", 200)])
def test_a_crowd_connects_once_each(lab: Lab, programs: Programs, shape: str, n: int) -> None:
    to = Endpoint(V6.peer, PORT)
    with lab.watch() as watch:
        done = lab.run(programs.lineage(shape, n, *programs.act("connect", *to)))
    assert done.returncode == 0
    assert done.stdout == "ok\n" * n
    assert watch.arrivals.accepted == {to: n}


@pytest.mark.parametrize(("shape", "argument", "status"), [("exit", 7, 7), ("kill-self", 9, -9)])
def test_a_process_ends_as_told(lab: Lab, programs: Programs, shape: str, argument: int, status: int) -> None:
    assert lab.run(programs.lineage(shape, argument)).returncode == status


@pytest.mark.parametrize("shape", ["double-fork", "setsid-fork", "clone-parent", "vfork", "thread-exec"])
def test_shapes_nest(lab: Lab, programs: Programs, shape: str) -> None:
    to = Endpoint(V4.peer, PORT)
    command = programs.lineage(shape, *programs.lineage("vfork", *programs.act("connect", *to)))
    assert observe(lab, command).accepted == {to: 1}
