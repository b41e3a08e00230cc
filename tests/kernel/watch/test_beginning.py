"""Who belongs to a step while a watch begins the kernel finds out, whoever of those above ends meanwhile."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import pytest

from exporter.events import wire
from exporter.events.facts import ProcessKey
from exporter.kernel.instances.loading import loading
from exporter.kernel.maps.windows import Coverage
from exporter.pipeline.procfs import everyone, started_ns
from tests.kernel.held_job import compiled
from tests.kernel.kernel_side import KernelSide
from tests.kernel.lab import PORT, V4
from tests.kernel.running_exporter import wait_for
from tests.kernel.watching import Runner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exporter.kernel.tracer import Tracer
    from tests.kernel.lab import Lab

pytestmark = pytest.mark.kernel

PATH = {"PATH": os.environ.get("PATH", os.defpath)}
ALL = Coverage(is_host=True, reads_environments=True)
STRICTEST = 1
"""A scope."""
STRICT = compiled(f'mode: enforce\nallow: ["{V4.peer}:{PORT}"]\n')

LINE = """
import os, socket, sys, threading, time
folder, depth, way, peer = sys.argv[1], int(sys.argv[2]), sys.argv[3], (sys.argv[4], int(sys.argv[5]))

def says(what):
    open(f"{folder}/{what}", "w").close()

def waits_for(what):
    while not os.path.exists(f"{folder}/{what}"):
        time.sleep(0.005)

def acts(parent):
    while os.getppid() == parent:
        time.sleep(0.005)
    says("is-alone")
    waits_for("acts")
    with open(f"{folder}/told.new", "w") as told:
        told.write(str(socket.socket().connect_ex(peer)))
    os.rename(f"{folder}/told.new", f"{folder}/told")
    os._exit(0)

def makes():
    me, parent, child = os.getpid(), os.getppid(), os.fork()
    if child:
        says("has-forked")
    if way == "itself" and child:
        acts(parent if depth else 0)
    if way != "itself" and not child:
        me = os.getpid() if way == "line" else me
        if way != "line" or not os.fork():
            acts(me)
    os._exit(0)

for _ in range(depth):
    if os.fork():
        waits_for("ends")
        os._exit(0)
says("is-there")
waits_for("forks")
if way == "thread":
    threading.Thread(target=makes).start()
    threading.Event().wait()
makes()
"""
"""The last one of a line of processes forks once it may. Its child, the child's child or itself connects in
the end, once who made it is gone."""


@pytest.fixture
def starter(lab: Lab) -> Iterator[Runner]:
    """On the build side."""
    with Runner(lab.command([])) as runner:
        yield runner


def line(folder: Path, depth: int, way: str) -> list[str]:
    """A command that makes it; the first one is a child of who runs the command."""
    code = [sys.executable, "-S", "-E", "-c", LINE]
    return [*code, str(folder), str(depth), way, V4.evil, str(PORT)]


def find_all(tracer: Tracer, agent: int) -> None:
    """As a watch does: all that /proc shows, one of them as an agent."""
    standings = dict[int, int]()
    for process, parent_pid in everyone():
        above = standings.get(parent_pid, wire.STANDING_NONE)
        standing = wire.STANDING_STEP if above else wire.STANDING_NONE
        standings[process.pid] = wire.STANDING_AGENT if process.pid == agent else standing
        if process.pid != os.getpid():
            tracer.processes.find(process, standings[process.pid])


def hold(tracer: Tracer) -> None:
    """Steps, as a watch does."""
    tracer.scopes.open(STRICTEST)
    KernelSide(tracer).hold(STRICTEST, STRICT)
    tracer.hold_undecided(STRICTEST)


def told(folder: Path) -> int:
    """What came of the connect, which may be now."""
    (folder / "acts").touch()
    wait_for((folder / "told").exists)
    return int((folder / "told").read_text())


@pytest.mark.parametrize("depth", [0, 1, 12], ids=["below-a-step", "two-below", "more-than-are-looked-at"])
@pytest.mark.parametrize("way", ["orphan", "line", "itself", "thread"])
def test_what_was_made_just_before_the_first_program_is_a_step_though_all_above_it_end(
    starter: Runner, lab: Lab, tmp_path: Path, depth: int, way: str
) -> None:
    """Nobody has found who made it, and /proc shows nothing of that any more when it is found itself."""
    with loading() as kernel:
        tracer = kernel.loaded(ALL)
        find_all(tracer, starter.pid)
        tracer.processes.all_are_found()
        starter.start((PATH, line(tmp_path, depth, way)))
        wait_for((tmp_path / "is-there").exists)
        kernel.attach()
        hold(tracer)
        for said, heard in (("forks", "has-forked"), ("ends", "is-alone")):
            (tmp_path / said).touch()
            wait_for((tmp_path / heard).exists)
        find_all(tracer, starter.pid)
        tracer.processes.forget_found()
        with lab.watch() as arrivals:
            assert told(tmp_path) == errno.EPERM
    assert arrivals.arrivals.packets_to(V4.evil) == 0


def test_what_was_made_before_its_agent_was_found_is_a_step_in_the_end_whatever_it_does(
    starter: Runner, tmp_path: Path
) -> None:
    """It forks no more, and executes nothing."""
    with loading() as kernel:
        tracer = kernel.ready(ALL)
        hold(tracer)
        starter.start((PATH, line(tmp_path, 0, "orphan")))
        (tmp_path / "forks").touch()
        wait_for((tmp_path / "is-alone").exists)
        started = started_ns(starter.pid)
        assert started is not None
        tracer.processes.find(ProcessKey(starter.pid, started), wire.STANDING_AGENT)
        tracer.processes.forget_found()
        assert told(tmp_path) == errno.EPERM


def test_of_who_ended_before_the_programs_came_nothing_is_left_for_who_has_its_pid(starter: Runner) -> None:
    with loading() as kernel:
        tracer = kernel.loaded(ALL)
        started = started_ns(starter.pid)
        assert started is not None
        process, before = (ProcessKey(starter.pid, at_ns) for at_ns in (started, started - 1_000_000_000))
        assert tracer.processes.find(before, wire.STANDING_STEP)
        assert tracer.processes.find(process, wire.STANDING_AGENT)
        entry = tracer.scopes.entry_at(starter.pid)
    assert entry is not None
    assert (entry.started_ns, entry.standing) == (started, wire.STANDING_AGENT)
