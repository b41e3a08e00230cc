"""Frames of packet sockets while exporters are killed: what was stopped once, stays so."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import struct
import subprocess
import sys
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING

import pytest

from exporter.events import wire
from exporter.kernel.bpf import detach_link, open_pinned
from exporter.kernel.frames.interface_egress import AttachMethod, way_here
from exporter.kernel.frames.packet_frames import Frames
from exporter.kernel.programs.objects import Place, ProgramType, attach_to_interface, load_program
from tests.checkout import ROOT
from tests.kernel.adopting_watches import HELD, SEND_FRAME, Watches, kill
from tests.kernel.agents import COMMAND, agent
from tests.kernel.job_steps import Steps, job, known, run_id
from tests.kernel.job_steps import policy as policy_file
from tests.kernel.lab import V4
from tests.kernel.packet_sockets import BYPASS, PACKET_SOCKET, frame, gaps, kernel, policy, send
from tests.kernel.steered_runs import end_agent, own_host
from tests.kernel.tracing import environment
from tests.kernel.watching import Runner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exporter.events.facts import Tampering
    from tests.kernel.agents import Agent
    from tests.kernel.conftest import Programs
    from tests.kernel.kernel_side import KernelSide
    from tests.kernel.lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.alone]  # strangers' steps are held until they are known, too

__all__ = ["kernel"]
"""Fixtures that are used here, too."""

GO_ON = struct.pack("=BBhi", 0xB7, 0, 0, -1) + struct.pack("=BBhi", 0x95, 0, 0, 0)
"""r0 = TCX_NEXT; exit"""
LOOK_STEP_BY_STEP = """
import signal, sys, threading
from pathlib import Path
from exporter.kernel.programs import objects
from exporter.kernel.bpf import Map
from exporter.kernel.frames.packet_frames import Frames

CHANGES = {6, 28, 29}  # BPF_OBJ_PIN, BPF_LINK_CREATE, BPF_LINK_UPDATE
plain = objects.bpf

def stopping(command, attributes):
    done = plain(command, attributes)
    if command in CHANGES:
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    return done

objects.bpf = stopping
pins = Path(sys.argv[1])
Frames(pins, {pin.name.removeprefix("map_"): Map(pin) for pin in pins.glob("map_*")}).look()
"""
"""An exporter's look at what it has to stop: after each change it waits, to be killed or let go on."""


@contextmanager
def looking(kernel: KernelSide, steps: int) -> Iterator[bool]:
    """One that has made so many changes, and is killed at the end; whether it isn't done before."""
    command = [sys.executable, "-c", LOOK_STEP_BY_STEP, str(kernel.tracer.directory)]
    with subprocess.Popen(command, env=environment(), cwd=ROOT) as exporter:
        try:
            yield all(_stops(exporter) for _ in range(steps))
        finally:
            exporter.kill()


def _stops(exporter: subprocess.Popen[bytes]) -> bool:
    """Let it make its next change; False when there is none."""
    os.kill(exporter.pid, signal.SIGCONT)  # nothing to one that begins
    _, status = os.waitpid(exporter.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        exporter.returncode = os.waitstatus_to_exitcode(status)
        assert exporter.returncode == 0
        return False
    return True


def enforce(kernel: KernelSide) -> None:
    """Have the policy of the latest job enforced by the map alone, as whoever is killed right after it."""
    key, modes = kernel.scope.to_bytes(4, sys.byteorder), kernel.tracer.maps["modes"]
    mode = wire.ModeValue.unpack(modes.lookup(key) or b"")
    modes.update(key, wire.MODE_VALUE.pack(*mode._replace(is_enforcing=1)))


def detach_all(kernel: KernelSide) -> None:
    """Have it as if no exporter had looked yet."""
    for path in kernel.tracer.directory.glob("link_later_*"):
        link = open_pinned(path)
        detach_link(link)
        os.close(link)
        path.unlink()


STOPPED = ("ENOBUFS", "EPERM")


def tried(doer: Agent) -> tuple[str, str]:
    """What becomes of a frame, and of the option by which the next one would go past what stops it."""
    sent, opened = doer.do(send(frame(V4, V4.evil))), doer.do(BYPASS)
    if opened == "ok":
        assert doer.do(BYPASS.replace("1)", "0)")) == "ok"
    return sent, opened


def test_what_was_stopped_stays_so_wherever_the_exporter_is_killed(lab: Lab, kernel: KernelSide) -> None:
    outcomes: list[tuple[str, str]] = []
    with agent(kernel, lab, policy(more="")) as doer:
        assert doer.do(*PACKET_SOCKET) == "ok"
        enforce(kernel)
        while True:
            detach_all(kernel)
            with looking(kernel, len(outcomes) + 1) as is_in_the_middle:
                outcomes.append(tried(doer))
            assert tried(doer) == outcomes[-1], f"killed after change {len(outcomes)}"
            with closing(Frames(kernel.tracer.directory, kernel.tracer.maps)) as following:
                following.look()
                assert gaps(following.turn()) == []
            assert tried(doer) == STOPPED, "whoever comes next makes up for it"
            if not is_in_the_middle:
                break
    assert outcomes[0] != STOPPED
    assert outcomes[-1] == STOPPED
    links = 1 + (2 if way_here() is AttachMethod.TCX else 0)  # of options, and of two interfaces
    assert len(outcomes) > 3 * links, "each is attached, pinned, put in force"


def test_what_another_has_only_begun_is_not_taken_for_stopped(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, policy(more="")) as doer:
        assert doer.do(*PACKET_SOCKET) == "ok"
        enforce(kernel)
        for steps in count(1):
            detach_all(kernel)
            with looking(kernel, steps) as is_in_the_middle, own_look(kernel) as told:
                assert told or tried(doer) == STOPPED, f"beside one that has made change {steps}"
            with own_look(kernel) as told:
                assert told == []
                assert tried(doer) == STOPPED
            if not is_in_the_middle:
                break


@contextmanager
def own_look(kernel: KernelSide) -> Iterator[list[tuple[Tampering, int]]]:
    """Look, as an exporter does; gives what it tells that it can't stop."""
    with closing(Frames(kernel.tracer.directory, kernel.tracer.maps)) as looking:
        looking.look()
        yield gaps(looking.turn())


def test_a_job_that_has_begun_is_held_although_its_watch_is_killed(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    run, told = run_id("begun"), tmp_path / "told"
    told.mkdir()
    line = shlex.join([sys.executable, "-c", SEND_FRAME, frame(V4, V4.evil).hex()])
    with own_host() as host, Runner(lab.command(())) as runner:
        steps = Steps(told, lab, programs, runner)
        with Watches(host, tmp_path, "--policy", str(policy_file(tmp_path, HELD))).watching() as watch:
            name = steps.start(job(run, "held"), line)
            known(watch, run)
            kill(watch)
        with lab.watch() as seen:
            assert steps.go(name) == "ENOBUFS\n"
    assert seen.arrivals.packets_to(V4.evil) == 0


def test_who_turns_enforcement_on_needs_no_exporter(lab: Lab, tmp_path: Path) -> None:
    with (
        own_host() as host,
        host.running(lab.command(COMMAND), tmp_path, "--allowed-endpoints", f"{V4.peer}:1") as run,
    ):

        def do(line: str) -> str:
            run.tell(line)
            return run.next_line()

        line = send(frame(V4, V4.evil))
        assert [do(each) for each in (*PACKET_SOCKET, line)] == ["ok", "ok", "ok"]
        os.kill(run.pid, signal.SIGKILL)
        run.process.wait()
        host.ci_egress("enforce", "on")
        assert (do(line), do(BYPASS)) == STOPPED
        end_agent(run)


@contextmanager
def crowded(interface: str) -> Iterator[None]:
    """As many programs as there may be at its way out, for the block; in this thread's namespace."""
    with ExitStack() as stack:
        with suppress(OSError):  # ERANGE: no more
            while True:
                program = load_program("theirs", Place(ProgramType.SCHED_CLS), GO_ON, ())
                stack.callback(os.close, program)
                stack.callback(os.close, attach_to_interface(program, socket.if_nametoindex(interface)))
        yield


@pytest.mark.skipif(way_here() is not AttachMethod.TCX, reason="filters have room for any number")
def test_who_turns_enforcement_on_is_told_where_frames_leave(lab: Lab, tmp_path: Path) -> None:
    with (
        own_host() as host,
        host.running(lab.command(COMMAND), tmp_path, "--allowed-endpoints", f"{V4.peer}:1") as run,
        ExitStack() as stack,
    ):
        run.tell("pass")
        assert run.next_line() == "ok"
        lab.build.call(stack.enter_context, crowded("build0")).result()
        done = host.ci_egress("enforce", "on", status=1)
        assert "is enforced, but in a network of process" in done.stderr
        assert "what packet sockets send can't be stopped: Numerical result out of range" in done.stderr
        end_agent(run)
