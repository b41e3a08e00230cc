"""Forks and execs while the kernel has preempted the program that notes them, and runs it for nobody."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from exporter.events import wire
from exporter.events.facts import Acted, ProcessKey
from exporter.kernel.bpf import U32
from exporter.policy.compile import compile_policy
from tests.kernel.kernel_side import KernelSide, forget_an_exec
from tests.kernel.lab import PORT, RUN_LIMIT_S, V4, Lab
from tests.unit.policy.files import rules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import Popen

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

PEER_ALONE = compile_policy(rules(allow=f"any://{V4.peer}", more="mode: enforce\n"))
CONNECTS_WHEN_TOLD = (
    f"import socket; print('here', flush=True); input();print(socket.socket().connect_ex({(V4.peer, PORT)}))"
)
AGAIN = [sys.executable, "-S", "-E", "-c", CONNECTS_WHEN_TOLD]
ORPHANS_MS = 4000


@pytest.mark.everywhere(feature="denial")
def test_no_orphan_gets_by_while_those_that_make_it_are_preempted(
    lab: Lab, programs: Programs, kernel: KernelSide
) -> None:
    """On some kernels its fork is missed, and it has no parent any more that shows whose it is."""
    command = [
        "setpriv",
        "--reuid=65534",
        "--clear-groups",
        *programs.flood("orphans", ORPHANS_MS, V4.evil, PORT),
    ]
    with lab.watch() as watch, kernel.beginning(lab, command, PEER_ALONE) as (child, _):
        stdout, stderr = child.communicate("\n", timeout=RUN_LIMIT_S)
        kernel.drain()
    denied, through = map(int, stdout.split())
    assert (stderr, through, watch.arrivals.packets_to(V4.evil)) == ("", 0, 0)
    assert denied > 10


@contextmanager
def waiting(lab: Lab, kernel: KernelSide, code: str) -> Iterator[tuple[Popen[str], ProcessKey]]:
    """A job that has executed Python, which waits for a line from us."""
    with kernel.beginning(lab, [sys.executable, "-S", "-E", "-c", code]) as (child, process):
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "here\n"
        yield child, process


@pytest.mark.parametrize("part", [wire.NOTICED_START, wire.NOTICED_PROGRAM, wire.NOTICED_ALL])
def test_an_exec_that_was_missed_is_made_up_for_when_its_program_acts(
    lab: Lab, kernel: KernelSide, part: int
) -> None:
    """Its acts aren't those of the program before."""
    lost = kernel.lost(wire.KIND_EXEC)
    with waiting(lab, kernel, CONNECTS_WHEN_TOLD) as (child, process):
        before = forget_an_exec(kernel.tracer.maps["procs"], process.pid, part)
        said, _ = child.communicate("\n", timeout=RUN_LIMIT_S)
    acts = [
        event for event in kernel.drain() if isinstance(event, Acted) and event.process.pid == process.pid
    ]
    is_told = part == wire.NOTICED_START
    assert said == "0\n"
    assert [act.exec_id for act in acts] == [before.exec_id + (not is_told)]
    assert kernel.lost(wire.KIND_EXEC) - lost == (not is_told)


def test_an_exec_that_was_missed_is_made_up_for_at_the_next_exec(lab: Lab, kernel: KernelSide) -> None:
    """Its program may have executed another one without its variables."""
    code = f"import os, sys; print('here', flush=True); os.read(0, 1); os.execv(sys.executable, {AGAIN!r})"
    lost = kernel.lost(wire.KIND_EXEC)
    with waiting(lab, kernel, code) as (child, process):
        before = forget_an_exec(kernel.tracer.maps["procs"], process.pid)
        said, _ = child.communicate("\n\n", timeout=RUN_LIMIT_S)
    acts = [
        event for event in kernel.drain() if isinstance(event, Acted) and event.process.pid == process.pid
    ]
    assert said == "here\n0\n"
    assert [act.exec_id for act in acts] == [before.exec_id + 2]
    assert kernel.lost(wire.KIND_EXEC) - lost == 1


def test_a_process_whose_exit_was_missed_makes_room(lab: Lab, kernel: KernelSide) -> None:
    procs = kernel.tracer.maps["procs"]
    with subprocess.Popen(["true"]) as ended:
        pass
    left = wire.ProcValue(*[0] * len(wire.ProcValue._fields))._replace(started_ns=1, scope=7)
    procs.update(U32.pack(ended.pid), wire.PROC_VALUE.pack(*left))
    with waiting(lab, kernel, CONNECTS_WHEN_TOLD) as (child, process):
        kernel.tracer.processes.forget_ended((), RUN_LIMIT_S)
        assert procs.lookup(U32.pack(ended.pid)) is None
        assert kernel.tracer.processes.is_live(process)
        child.communicate("\n", timeout=RUN_LIMIT_S)
