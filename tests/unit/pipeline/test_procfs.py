"""What /proc shows of a process is as long as the process likes, and read only so far."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import psutil
import pytest

from exporter.common import bounded
from exporter.events import wire
from exporter.events.facts import ProcessKey
from exporter.events.programs import Facts, Image
from exporter.pipeline import procfs
from exporter.pipeline.procfs import (
    Proc,
    ancestors,
    environment_of,
    everyone,
    has_ended,
    key_of_child,
    started_ns,
)
from tests.unit.endless_processes import boundless
from tests.unit.started_processes import wait_until_executed

MIB = 1 << 20
SIZE = 256 * MIB
"""As much as is read where nothing is bounded."""
BOUND = 32 * MIB
LONG = """
import os, resource
resource.setrlimit(resource.RLIMIT_STACK, (64 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
os.execve("/bin/sleep", ["sleep", "100"], {f"V{number}": "v" * 131_000 for number in range(45)})
"""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a read takes longer; how long it may take is for test_bounded.py."""
    for name in ("PATIENCE_S", "IMPATIENCE_S"):
        monkeypatch.setattr(bounded, name, 60.0)


def test_an_environment_without_end_is_read_only_so_far_and_is_none() -> None:
    with boundless(SIZE) as process:
        tracemalloc.start()
        block = environment_of(process)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert block == b""
    assert most < BOUND


def test_of_arguments_without_end_as_much_is_read_as_is_kept_of_any() -> None:
    with boundless(SIZE) as process:
        tracemalloc.start()
        image = Proc().image(process)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert image.path is not None
    assert 0 < image.arguments.size_bytes <= wire.ARGUMENTS_MAX
    assert most < BOUND


def test_the_longest_environment_that_can_be_executed_with_is_read_whole() -> None:
    """Each variable is 128 KiB at most, all of them and the arguments 6 MiB."""
    with subprocess.Popen([sys.executable, "-c", LONG]) as child:
        process = ProcessKey(child.pid, started_ns(child.pid) or 0)
        while Path(f"/proc/{child.pid}/comm").read_text() != "sleep\n":
            time.sleep(0.01)
        wait_until_executed(child.pid)
        block = environment_of(process)
        child.kill()
    assert len(block) > 45 * 131_000


def test_a_program_that_was_deleted_is_called_as_it_was(tmp_path: Path) -> None:
    sleep = tmp_path / "sleep"
    sleep.write_bytes(Path("/bin/sleep").read_bytes())
    sleep.chmod(0o755)
    with subprocess.Popen([sleep, "100"]) as child:
        sleep.unlink()
        image = Proc().image(ProcessKey(child.pid, started_ns(child.pid) or 0))
        child.kill()
    assert image.path == str(sleep)


def test_who_was_not_waited_for_yet_has_ended_and_who_has_its_pid_is_another() -> None:
    with subprocess.Popen(["sleep", "100"]) as child:
        process = ProcessKey(child.pid, started_ns(child.pid) or 0)
        assert not has_ended(process)
        assert has_ended(process._replace(started_ns=process.started_ns - 1_000_000_000))
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert has_ended(process)
        child.wait()
        assert has_ended(process)


def test_that_it_cannot_be_read_does_not_say_that_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> str:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "read_text", fails)
    with pytest.raises(OSError, match="Too many open files"):
        has_ended(ProcessKey(1, 0))


def test_parents_come_first_also_where_pids_began_anew_within_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process whose parent comes later nobody would know what it is below."""
    parents = {1: 0, 32766: 1, 32767: 32766, 301: 32767, 302: 301, 40: 1}
    states = {pid: procfs._State("S", parent, 20_000_000) for pid, parent in parents.items()}
    states[1] = states[1]._replace(started_ns=0)
    monkeypatch.setattr(psutil, "pids", lambda: sorted(states))
    monkeypatch.setattr(procfs, "_state", states.__getitem__)
    found = list(everyone())
    assert {process.pid: parent_pid for process, parent_pid in found} == parents
    order = [process.pid for process, _ in found]
    assert all(order.index(parent) < order.index(pid) for pid, parent in parents.items() if parent)


def test_two_that_are_each_the_others_parent_come_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pids that are another's by the time of the second look may seem to be."""
    states = {pid: procfs._State("S", parent, 0) for pid, parent in ((7, 8), (8, 7))}
    monkeypatch.setattr(psutil, "pids", lambda: sorted(states))
    monkeypatch.setattr(procfs, "_state", states.__getitem__)
    assert sorted(process.pid for process, _ in everyone()) == [7, 8]


def test_who_began_later_is_no_parent_but_has_the_number_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = {
        9: procfs._State("S", 8, 30),
        8: procfs._State("S", 7, 30),  # within a tick
        7: procfs._State("S", 1, 31),
        1: procfs._State("S", 0, 0),
    }
    monkeypatch.setattr(procfs, "_state", states.__getitem__)
    assert ancestors(9) == (ProcessKey(8, 30),)
    states[7] = states[7]._replace(started_ns=20)
    assert ancestors(9) == (ProcessKey(8, 30), ProcessKey(7, 20), ProcessKey(1, 0))


def test_of_a_child_it_is_said_when_it_started_also_where_no_reader_has_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        expected = ProcessKey(child.pid, started_ns(child.pid) or 0)
        monkeypatch.setattr(procfs, "readers", lambda: pytest.fail("a reader was asked"))
        assert key_of_child(child.pid) == expected
    with pytest.raises(FileNotFoundError):
        key_of_child(child.pid)


def test_of_a_process_that_is_gone_no_reader_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most processes of a build are short: a reader's answer for each takes longer than they run."""
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    proc = Proc()
    monkeypatch.setattr(procfs, "readers", lambda: pytest.fail("a reader was asked"))
    assert proc.facts(ProcessKey(gone.pid, 1)) == Facts()
    assert proc.image(ProcessKey(gone.pid, 1)) == Image()
