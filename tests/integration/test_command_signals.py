"""Signals reach COMMAND exactly once, whoever sends them to whom."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.signals import RELAYED
from tests.integration.drive_command import (
    children_of,
    driver,
    recorder,
    run,
    start,
    wait_for_children,
    wait_for_state,
    wait_until_ready,
)

pytestmark = pytest.mark.integration

BY_NAME = sorted(RELAYED & set(signal.Signals))
APART_S = 0.15
"""Further apart than what counts as one act."""


@pytest.mark.parametrize("number", BY_NAME)
def test_a_signal_to_ci_egress_reaches_command_once(number: signal.Signals) -> None:
    process = start(driver(*recorder()))
    wait_until_ready(process)
    process.send_signal(number)
    assert _recorded(process) == [number.name]


@pytest.mark.parametrize("number", BY_NAME)
def test_a_signal_to_the_group_reaches_command_once(number: signal.Signals) -> None:
    process = start(driver(*recorder()))
    wait_until_ready(process)
    os.killpg(process.pid, number)
    assert _recorded(process) == [number.name]


@pytest.mark.parametrize("group_first", [True, False])
def test_a_signal_to_both_counts_as_one(group_first: bool) -> None:
    process = start(driver(*recorder()))
    wait_until_ready(process)
    for to_group in (group_first, not group_first):
        _send(process, signal.SIGTERM, to_group=to_group)
        time.sleep(0.015)
    assert _recorded(process) == ["SIGTERM"]


def test_signals_sent_one_after_the_other_all_arrive() -> None:
    process = start(driver(*recorder()))
    wait_until_ready(process)
    for _ in range(2):
        process.send_signal(signal.SIGUSR1)
        time.sleep(APART_S)
        os.killpg(process.pid, signal.SIGUSR1)
        time.sleep(APART_S)
    process.send_signal(signal.SIGINT)
    assert _recorded(process) == [*["SIGUSR1"] * 4, "SIGINT"]


def test_timeout_ends_command_with_one_signal() -> None:
    process = start(["timeout", "1", *driver(*recorder())])
    wait_until_ready(process)
    assert _recorded(process, status=124) == ["SIGTERM"]


@pytest.mark.parametrize("to_group", [True, False])
def test_a_command_that_left_the_group_gets_one_too(to_group: bool) -> None:
    process = start(driver("setsid", *recorder()))
    assert os.getpgid(wait_until_ready(process)) != process.pid
    _send(process, signal.SIGTERM, to_group=to_group)
    assert _recorded(process) == ["SIGTERM"]


def test_timeout_ends_a_command_that_left_the_group_with_one_signal() -> None:
    process = start(["timeout", "1", *driver("setsid", *recorder())])
    wait_until_ready(process)
    assert _recorded(process, status=124) == ["SIGTERM"]


def test_what_command_sends_to_its_parent_does_not_come_back() -> None:
    process = start(driver(*recorder("parent")))
    wait_until_ready(process)
    assert _recorded(process) == []


def test_what_command_sends_to_its_group_reaches_it_once_and_leaves_no_trace() -> None:
    process = start(driver(*recorder("group")))
    wait_until_ready(process)
    time.sleep(APART_S)
    process.send_signal(signal.SIGTERM)
    assert _recorded(process) == ["SIGTERM", "SIGTERM"]


def test_a_signal_that_ends_command_is_its_status() -> None:
    process = start(driver("sh", "-c", "echo ready $$; exec sleep 1000"))
    wait_until_ready(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 128 + signal.SIGTERM
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGRTMIN + 3, signal.SIGRTMAX])
def test_a_real_time_signal_ends_command_not_ci_egress(number: int) -> None:
    process = start(driver("sh", "-c", "echo ready $$; exec sleep 1000"))
    wait_until_ready(process)
    os.kill(process.pid, number)
    assert _recorded(process, status=128 + number) == []


def test_an_alarm_set_before_ci_egress_was_executed_ends_command() -> None:
    alarm = "import os, signal, sys; signal.alarm(1); os.execv(sys.argv[1], sys.argv[1:])"
    result = run([sys.executable, "-c", alarm, *driver("sleep", "1000")])
    assert result.returncode == 128 + signal.SIGALRM


def test_a_command_that_handles_a_signal_chooses_its_status() -> None:
    process = start(driver("sh", "-c", "trap 'exit 3' TERM; echo ready $$; while :; do sleep 0.05; done"))
    wait_until_ready(process)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=10) == 3
    process.communicate()


@pytest.mark.parametrize("to_group", [True, False])
def test_a_signal_that_comes_before_command_starts_ends_it(to_group: bool, tmp_path: Path) -> None:
    hold, marker = tmp_path / "hold", tmp_path / "marker"
    process = start(driver("sh", "-c", f"sleep 1; touch {marker}", hold=hold))
    wait_for_children(process.pid, 2)
    _send(process, signal.SIGTERM, to_group=to_group)
    time.sleep(APART_S)
    assert process.poll() is None
    hold.touch()
    assert process.wait(timeout=10) == 128 + signal.SIGTERM
    assert process.communicate() == ("", "")
    assert not marker.exists()


def test_under_nohup_a_hangup_ends_nothing() -> None:
    process = start(["nohup", *driver("sh", "-c", "echo ready $$; sleep 0.5; echo alive")])
    wait_until_ready(process)
    process.send_signal(signal.SIGHUP)
    os.killpg(process.pid, signal.SIGHUP)
    output, _ = process.communicate(timeout=10)
    assert (process.returncode, output) == (0, "alive\n")


def test_stopping_the_group_stops_both_and_continuing_it_continues_both() -> None:
    process = start(driver("sh", "-c", "echo ready $$; sleep 0.3; exit 5"))
    command = wait_until_ready(process)
    os.killpg(process.pid, signal.SIGTSTP)
    wait_for_state(process.pid, "T")
    wait_for_state(command, "T")
    time.sleep(0.5)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGCONT)
    assert process.wait(timeout=10) == 5
    process.communicate()


def test_a_stopped_command_has_not_ended() -> None:
    process = start(driver("sh", "-c", "echo ready $$; kill -STOP $$; exit 6"))
    command = wait_until_ready(process)
    wait_for_state(command, "T")
    time.sleep(0.1)
    assert process.poll() is None
    os.kill(command, signal.SIGCONT)
    assert process.wait(timeout=10) == 6
    process.communicate()


def test_signals_still_come_once_when_the_group_was_stopped_and_only_parts_of_it_continued() -> None:
    process = start(driver(*recorder()))
    command = wait_until_ready(process)
    members = [process.pid, *children_of(process.pid)]
    os.killpg(process.pid, signal.SIGSTOP)
    for member in members:
        wait_for_state(member, "T")
    os.kill(process.pid, signal.SIGCONT)
    os.kill(command, signal.SIGCONT)
    os.killpg(process.pid, signal.SIGUSR1)
    time.sleep(APART_S)
    process.send_signal(signal.SIGUSR1)
    assert _recorded(process) == ["SIGUSR1", "SIGUSR1"]


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
    shell = f"{shlex.join(recorder())} >{lines}"
    process = subprocess.Popen(["setsid", "--ctty", *driver("sh", "-c", f"exec {shell}")], stdin=slave)
    _wait_for_text(lines, "ready")
    os.write(master, b"\x03")
    assert process.wait(timeout=10) == 0
    assert lines.read_text().split()[2:] == ["SIGINT"]


def test_control_z_and_fg_work_in_a_shell_with_job_control(terminal: tuple[int, int], tmp_path: Path) -> None:
    master, slave = terminal
    marker, ended = tmp_path / "marker", tmp_path / "ended"
    script = f"{shlex.join(driver('sh', '-c', f'echo $$ >{marker}; sleep 0.5; exit 5'))}"
    script += f"; echo stopped $? >{ended}; fg; echo ended $? >>{ended}"
    shell = subprocess.Popen(
        ["setsid", "--ctty", "bash", "--norc", "-ic", script],
        stdin=slave,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait_for_text(marker, "\n")
    os.write(master, b"\x1a")
    assert shell.wait(timeout=10) == 0
    assert ended.read_text() == f"stopped {128 + signal.SIGTSTP}\nended 5\n"


def test_the_end_of_the_terminal_reaches_command_once(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    lines = tmp_path / "lines"
    shell = f"{shlex.join(recorder())} >{lines}"
    process = subprocess.Popen(["setsid", "--ctty", *driver("sh", "-c", f"exec {shell}")], stdin=slave)
    os.close(slave)
    _wait_for_text(lines, "ready")
    os.close(master)
    assert process.wait(timeout=10) == 0
    assert lines.read_text().split()[2:] == ["SIGHUP"]


def test_signals_are_not_lost_or_doubled_on_a_busy_machine() -> None:
    busy = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(6)]
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            process = start(driver(*recorder()))
            wait_until_ready(process)
            os.killpg(process.pid, number)
            assert _recorded(process) == [number.name]
    finally:
        for one in busy:
            one.kill()
            one.wait()


def test_a_plain_run_without_signals_ends_at_once() -> None:
    began_s = time.monotonic()
    assert run(driver("true")).returncode == 0
    assert time.monotonic() - began_s < 2


def _send(process: subprocess.Popen[str], number: signal.Signals, *, to_group: bool) -> None:
    if to_group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)


def _recorded(process: subprocess.Popen[str], status: int = 0) -> list[str]:
    """Names of the signals that COMMAND got; SIGCONT isn't recorded."""
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (status, "")
    return output.split()


def _wait_for_text(path: Path, text: str) -> None:
    deadline_s = time.monotonic() + 10
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
