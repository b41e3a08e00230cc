"""Signals reach COMMAND exactly once, whoever sends them to whom."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter.session.signals import RELAYED
from tests.integration.command_process import (
    APART_S,
    DEADLINE_S,
    QUIET_S,
    bit,
    children_of,
    driver,
    end_recorder,
    masks,
    next_line,
    recorder,
    remember,
    run,
    start,
    wait_for_children,
    wait_for_state,
    wait_until_ready,
)
from tests.integration.receivers import wait_until

pytestmark = pytest.mark.integration

BY_NAME = sorted(RELAYED & set(signal.Signals))


@dataclass(frozen=True)
class Turns:
    """A driver that looks for signals when it is told to, as one on a busy machine does now and then."""

    process: subprocess.Popen[str]
    command: int
    _lever: socket.socket

    def look(self) -> None:
        """Have it look, once."""
        self._lever.send(b".")
        assert self._lever.recv(1) == b"."

    def let_it_be_past(self) -> None:
        """Let what came lie further back than what counts as one act."""
        (canary,) = set(children_of(self.process.pid)) - {self.command}
        deadline_s = time.monotonic() + DEADLINE_S
        while masks(Path(f"/proc/{canary}/status").read_text())["ShdPnd"]:
            assert time.monotonic() < deadline_s, "the canary keeps what it was told to drop"
            time.sleep(0.01)
        time.sleep(APART_S)
        self.look()


@contextmanager
def in_turns(*acts: str, under: tuple[str, ...] = (), by: tuple[str, ...] = ()) -> Iterator[Turns]:
    """Start a recorder, the driver by the command `by`; when the block ends its driver goes on by itself."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            argv = [*by, *driver(*under, *recorder(*acts), in_turns=True)]
            process = start(argv, stdin=theirs.fileno())
        yield Turns(process, wait_until_ready(process), ours)


@pytest.mark.parametrize("number", BY_NAME)
def test_a_signal_to_ci_egress_reaches_command_once(number: signal.Signals) -> None:
    process = start(driver(*recorder()))
    command = wait_until_ready(process)
    process.send_signal(number)
    assert_recorded(process, command, number.name)


@pytest.mark.parametrize("number", BY_NAME)
def test_a_signal_to_the_group_reaches_command_once(number: signal.Signals) -> None:
    process = start(driver(*recorder()))
    command = wait_until_ready(process)
    os.killpg(process.pid, number)
    assert_recorded(process, command, number.name)


@pytest.mark.parametrize("under", [(), ("setsid",)], ids=["beside", "in-another-group"])
@pytest.mark.parametrize("group_first", [True, False])
def test_a_signal_to_both_counts_as_one_however_late_the_second_is_found(
    group_first: bool, under: tuple[str, ...]
) -> None:
    with in_turns(under=under) as turns:
        _send(turns.process, signal.SIGTERM, to_group=group_first)
        turns.look()
        _send(turns.process, signal.SIGTERM, to_group=not group_first)
        time.sleep(APART_S)
        turns.look()
    assert_recorded(turns.process, turns.command, "SIGTERM")


def test_signals_sent_one_after_the_other_all_arrive() -> None:
    with in_turns() as turns:
        for to_group in (False, True) * 2:
            _send(turns.process, signal.SIGUSR1, to_group=to_group)
            turns.look()
            turns.let_it_be_past()
            assert next_line(turns.process) == "SIGUSR1"
        turns.process.send_signal(signal.SIGINT)
    assert_recorded(turns.process, turns.command, "SIGINT")


@pytest.mark.parametrize("under", [(), ("setsid",)], ids=["beside", "in-another-group"])
def test_timeout_ends_command_with_one_signal(under: tuple[str, ...]) -> None:
    with in_turns(under=under, by=("timeout", "1000")) as turns:
        (ci_egress,) = children_of(turns.process.pid)
        (canary,) = set(children_of(ci_egress)) - {turns.command}
        turns.process.send_signal(signal.SIGALRM)  # its time is up
        # Its second signal is the group's; on a busy machine it may come late.
        status = Path(f"/proc/{canary}/status")
        wait_until(lambda: bool(masks(status.read_text())["ShdPnd"] & bit(signal.SIGTERM)))
    assert_recorded(turns.process, turns.command, "SIGTERM", status=124)


@pytest.mark.parametrize("to_group", [True, False])
def test_a_command_that_left_the_group_gets_one_too(to_group: bool) -> None:
    process = start(driver("setsid", *recorder()))
    command = wait_until_ready(process)
    assert os.getpgid(command) != process.pid
    _send(process, signal.SIGTERM, to_group=to_group)
    assert_recorded(process, command, "SIGTERM")


def test_what_command_sends_to_its_parent_does_not_come_back() -> None:
    process = start(driver(*recorder("parent")))
    assert_recorded(process, wait_until_ready(process))


def test_what_command_sends_to_its_group_reaches_it_once_and_leaves_no_trace() -> None:
    with in_turns("group") as turns:
        assert next_line(turns.process) == "SIGTERM"
        turns.look()
        turns.let_it_be_past()
        turns.process.send_signal(signal.SIGTERM)
    assert_recorded(turns.process, turns.command, "SIGTERM")


def test_a_signal_that_ends_command_is_its_status() -> None:
    process = start(driver("sh", "-c", "echo ready $$; exec sleep 1000"))
    wait_until_ready(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=DEADLINE_S) == 128 + signal.SIGTERM
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGRTMIN + 3, signal.SIGRTMAX])
def test_a_real_time_signal_ends_command_not_ci_egress(number: int) -> None:
    process = start(driver("sh", "-c", "echo ready $$; exec sleep 1000"))
    wait_until_ready(process)
    os.kill(process.pid, number)
    assert process.communicate(timeout=DEADLINE_S) == ("", "")
    assert process.returncode == 128 + number


def test_an_alarm_set_before_ci_egress_was_executed_ends_command() -> None:
    alarm = "import os, signal, sys; signal.alarm(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"
    for after_s in ("1", "5", "30"):
        result = run([sys.executable, "-c", alarm, after_s, *driver("sleep", "1000")])
        if result.returncode != -signal.SIGALRM:  # else it came while ci-egress itself was still loaded
            break
    assert result.returncode == 128 + signal.SIGALRM


def test_a_command_that_handles_a_signal_chooses_its_status() -> None:
    process = start(driver("sh", "-c", "trap 'exit 3' TERM; echo ready $$; while :; do sleep 0.05; done"))
    wait_until_ready(process)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=DEADLINE_S) == 3
    process.communicate()


@pytest.mark.parametrize("to_group", [True, False])
def test_a_signal_that_comes_before_command_starts_ends_it(to_group: bool, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    process = start(driver("sleep", "1000", hold=hold))
    wait_for_children(process.pid, 2)
    _send(process, signal.SIGTERM, to_group=to_group)
    time.sleep(APART_S)
    assert process.poll() is None
    hold.touch()
    assert process.wait(timeout=DEADLINE_S) == 128 + signal.SIGTERM
    assert process.communicate() == ("", "")


def test_under_nohup_a_hangup_ends_nothing() -> None:
    shell = driver("sh", "-c", "echo ready $$; read word; echo alive")
    process = start(["nohup", *shell], stdin=subprocess.PIPE)
    wait_until_ready(process)
    process.send_signal(signal.SIGHUP)
    os.killpg(process.pid, signal.SIGHUP)
    time.sleep(APART_S)
    output, _ = process.communicate("go\n", timeout=DEADLINE_S)
    assert (process.returncode, output) == (0, "alive\n")


def test_stopping_the_group_stops_both_and_continuing_it_continues_both() -> None:
    # Nothing that the shell would start: it can't be stopped while its child is about to be another program.
    process = start(driver("sh", "-c", "echo ready $$; read word; exit 5"), stdin=subprocess.PIPE)
    command = wait_until_ready(process)
    os.killpg(process.pid, signal.SIGTSTP)
    wait_for_state(process.pid, "T")
    wait_for_state(command, "T")
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    time.sleep(0.3)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGCONT)
    assert process.wait(timeout=DEADLINE_S) == 5
    process.communicate()


def test_a_stopped_command_has_not_ended() -> None:
    process = start(driver("sh", "-c", "echo ready $$; kill -STOP $$; exit 6"))
    command = wait_until_ready(process)
    wait_for_state(command, "T")
    time.sleep(0.1)
    assert process.poll() is None
    os.kill(command, signal.SIGCONT)
    assert process.wait(timeout=DEADLINE_S) == 6
    process.communicate()


def test_signals_still_come_once_when_the_group_was_stopped_and_only_parts_of_it_continued() -> None:
    with in_turns() as turns:
        group = turns.process.pid
        members = [group, *children_of(group)]
        os.killpg(group, signal.SIGSTOP)
        for member in members:
            wait_for_state(member, "T")
        os.kill(group, signal.SIGCONT)
        os.kill(turns.command, signal.SIGCONT)
        os.killpg(group, signal.SIGUSR1)
        assert next_line(turns.process) == "SIGUSR1"
        turns.look()
        turns.let_it_be_past()
        turns.process.send_signal(signal.SIGUSR1)
    assert_recorded(turns.process, turns.command, "SIGUSR1")


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A new pseudo-terminal: what the user types at, what programs run on."""
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def test_control_c_reaches_command_once(terminal: tuple[int, int], tmp_path: Path) -> None:
    master, slave = terminal
    lines = tmp_path / "lines"
    process = _start_recorder_on(slave, lines)
    _wait_for_lines(lines, 1)
    os.write(master, b"\x03")
    _assert_recorded_in(lines, process, "SIGINT")


def test_control_z_and_fg_work_in_a_shell_with_job_control(terminal: tuple[int, int], tmp_path: Path) -> None:
    master, slave = terminal
    marker, ended = tmp_path / "marker", tmp_path / "ended"
    script = f"{shlex.join(driver('sh', '-c', f'echo $$ >{marker}; read word; exit 5'))}"
    script += f"; echo stopped $? >{ended}; fg; echo ended $? >>{ended}"
    shell = remember(
        subprocess.Popen(
            ["setsid", "--ctty", "bash", "--norc", "-ic", script],
            stdin=slave,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    )
    _wait_for_lines(marker, 1)
    os.write(master, b"\x1a")
    _wait_for_lines(ended, 1)
    os.write(master, b"go\n")
    assert shell.wait(timeout=DEADLINE_S) == 0
    assert ended.read_text() == f"stopped {128 + signal.SIGTSTP}\nended 5\n"


def test_the_end_of_the_terminal_reaches_command_once(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    lines = tmp_path / "lines"
    process = _start_recorder_on(slave, lines)
    os.close(slave)
    _wait_for_lines(lines, 1)
    os.close(master)
    _assert_recorded_in(lines, process, "SIGHUP")


def test_signals_are_not_lost_or_doubled_on_a_busy_machine() -> None:
    busy = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(6)]
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            process = start(driver(*recorder()))
            command = wait_until_ready(process)
            os.killpg(process.pid, number)
            assert_recorded(process, command, number.name)
    finally:
        for one in busy:
            one.kill()
            one.wait()


def _send(process: subprocess.Popen[str], number: signal.Signals, *, to_group: bool) -> None:
    if to_group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)


def assert_recorded(process: subprocess.Popen[str], command: int, *expected: str, status: int = 0) -> None:
    """COMMAND gets these signals and no other, and `status` is that of the end; SIGCONT isn't recorded."""
    end_recorder(process, command, expected)
    assert process.communicate(timeout=DEADLINE_S) == ("", "")
    assert process.returncode == status


def _start_recorder_on(terminal: int, lines: Path) -> subprocess.Popen[bytes]:
    shell = f"{shlex.join(recorder())} >{lines}"
    argv = ["setsid", "--ctty", *driver("sh", "-c", f"exec {shell}")]
    return remember(subprocess.Popen(argv, stdin=terminal))


def _assert_recorded_in(lines: Path, process: subprocess.Popen[bytes], name: str) -> None:
    ready, _ = _wait_for_lines(lines, 2)
    time.sleep(QUIET_S)
    os.kill(int(ready.split()[1]), signal.SIGWINCH)
    assert process.wait(timeout=DEADLINE_S) == 0
    assert lines.read_text().splitlines()[1:] == [name]


def _wait_for_lines(path: Path, count: int) -> list[str]:
    """Wait until a file is there and has so many whole lines; they."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not path.exists() or (text := path.read_text()).count("\n") < count:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return text.splitlines()
