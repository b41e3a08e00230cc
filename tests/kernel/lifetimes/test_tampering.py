"""What no build should do is told; this very process stands for the exporter that it is aimed at."""

from __future__ import annotations

import os
import platform
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import pytest

from exporter.events import wire
from exporter.events.facts import Tampered, Tampering
from exporter.kernel.programs.kinds import asks_programs
from tests.kernel.kernel_side import INTERNET, KernelSide, kernel_side
from tests.kernel.security_hooks import HOOKS, THERE, URING_MAKES_SOCKETS, answering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.everywhere(feature="tampering")]
ETH_P_ALL, ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0003, 0x0800, 0x0806, 0x86DD
BPF_MAP_CREATE = 0
PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SEIZE = 16, 17, 0x4206


class Case(NamedTuple):
    """A verb of `tamper`, and what it is told as."""

    verb: str
    what: Tampering
    detail: int


CASES = [
    Case("packet-socket", Tampering.PACKET_SOCKET, ETH_P_ALL),
    Case("uring-packet-socket", Tampering.PACKET_SOCKET, ETH_P_IP),
    Case("old-packet-socket", Tampering.PACKET_SOCKET, ETH_P_IP),
    Case("uring-old-packet-socket", Tampering.PACKET_SOCKET, ETH_P_ARP),
    Case("bpf", Tampering.BPF, BPF_MAP_CREATE),
    Case("kill", Tampering.SIGNAL, signal.SIGURG),
    Case("tgkill", Tampering.SIGNAL, signal.SIGWINCH),
    Case("pidfd-signal", Tampering.SIGNAL, signal.SIGCONT),
    Case("file-signal", Tampering.SIGNAL, signal.SIGURG),
    Case("owner-signal", Tampering.SIGNAL, signal.SIGIO),
    Case("xdp-socket", Tampering.XDP_SOCKET, 0),
    Case("sigqueue", Tampering.SIGNAL, signal.SIGURG),
    Case("vsock-socket", Tampering.VSOCK_SOCKET, 0),
    Case("read-memory", Tampering.MEMORY, 0),
    Case("write-memory", Tampering.MEMORY, 0),
]
if platform.machine() == "x86_64":
    CASES += [
        Case("compat-packet-socket", Tampering.PACKET_SOCKET, ETH_P_ARP),
        Case("compat-socketcall", Tampering.PACKET_SOCKET, ETH_P_IPV6),
        Case("compat-old-socketcall", Tampering.PACKET_SOCKET, ETH_P_ALL),
    ]


SEEN = {"system-calls": frozenset[str](), **({"hooks": HOOKS} if THERE == HOOKS else {})}
"""The security hooks by which acts are seen: none, as on some kernels, or all."""


@pytest.fixture(scope="module", params=SEEN.values(), ids=list(SEEN))
def hooks(request: pytest.FixtureRequest) -> frozenset[str]:
    found: frozenset[str] = request.param
    return found


@pytest.fixture(scope="module")
def kernel(hooks: frozenset[str]) -> Iterator[KernelSide]:
    """The programs, attached while the module's tests run."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # it would end this process
    with answering(*hooks, as_module=asks_programs()), kernel_side(without=INTERNET) as side:
        yield side
    signal.signal(signal.SIGIO, before)


def told(tampering: list[Tampered]) -> list[tuple[Tampering, int, int]]:
    """What matters of them here."""
    return [(event.what, event.detail, event.times) for event in tampering]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.verb)
def test_tampering_is_told_once(
    lab: Lab, programs: Programs, kernel: KernelSide, hooks: frozenset[str], case: Case
) -> None:
    seen = kernel.run(lab, programs.tamper(case.verb, os.getpid()))
    is_seen = URING_MAKES_SOCKETS and (hooks or "on_uring_submit" in kernel.tracer.attached)
    if case.verb.startswith("uring-") and not is_seen:
        assert seen.tampering == []  # none is made, or the tracepoint has another name, as before Linux 6.3
        return
    assert told(seen.tampering) == [(case.what, case.detail, 1)]
    (event,) = seen.tampering
    assert (event.uid, event.parent_pid) == (0, os.getpid())
    assert seen.acts == []


def test_each_request_to_trace_is_told(
    lab: Lab, programs: Programs, kernel: KernelSide, hooks: frozenset[str]
) -> None:
    """A hook is called where a process begins to trace, or reaches for memory, which may be either."""
    seized = kernel.run(lab, programs.tamper("ptrace-seize", os.getpid()))
    attached = kernel.run(lab, programs.tamper("ptrace-attach", os.getpid()))
    reached = [(Tampering.MEMORY, 0, 1)] if hooks else []
    assert told(seized.tampering) == (reached or [(Tampering.PTRACE, PTRACE_SEIZE, 1)])
    assert told(attached.tampering) == [
        *reached,
        (Tampering.PTRACE, PTRACE_ATTACH, 1),
        *([] if hooks else [(Tampering.PTRACE, PTRACE_DETACH, 2)]),
    ]


def test_any_thread_of_the_exporter_is_meant_when_it_is_attached_to(
    lab: Lab, programs: Programs, kernel: KernelSide, hooks: frozenset[str]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(threading.get_native_id).result()
        seen = kernel.run(lab, programs.tamper("ptrace-attach", thread))
    reached = [(Tampering.MEMORY, 0, 1)] if hooks else []
    assert told(seen.tampering) == [*reached, (Tampering.PTRACE, PTRACE_ATTACH, 1)]


def test_no_program_sees_all_system_calls_where_hooks_see_these_acts(
    kernel: KernelSide, hooks: frozenset[str]
) -> None:
    of_hooks, of_all = {"on_socket", "on_bpf", "on_access"}, {"on_sys_enter"}
    found = kernel.tracer.attached & {*of_hooks, *of_all, "on_uring_submit"}
    assert found == of_hooks if hooks else found >= of_all and not found & of_hooks


@pytest.mark.parametrize("verb", ["nothing", "uring-inet-socket"])
def test_what_ordinary_programs_do_is_no_tampering(
    lab: Lab, programs: Programs, kernel: KernelSide, verb: str
) -> None:
    assert kernel.run(lab, programs.tamper(verb, os.getpid())).tampering == []


def test_a_child_that_ends_sends_its_parent_no_signal_of_its_own(
    lab: Lab, programs: Programs, kernel: KernelSide
) -> None:
    """The job's root is this process's child, so that its end comes as SIGCHLD."""
    seen = kernel.run(lab, programs.tamper("nothing", os.getpid()))
    assert [event for event in kernel.drain() if isinstance(event, Tampered)] == seen.tampering == []


def test_a_signal_to_another_process_is_no_tampering(
    lab: Lab, programs: Programs, kernel: KernelSide
) -> None:
    with kernel.beginning(lab, ["true"]) as (beside, _):
        seen = kernel.run(lab, programs.tamper("kill", beside.pid))
        beside.communicate("\n")
    assert (seen.stdout, seen.tampering) == ("ok\n", [])


@pytest.mark.parametrize("verb", ["ptrace-seize", "read-memory", "write-memory"])
def test_whoever_reaches_for_the_memory_of_another_job_is_told(
    lab: Lab, programs: Programs, kernel: KernelSide, verb: str
) -> None:
    """Even without hooks, if the other process is followed."""
    with kernel.beginning(lab, ["true"]) as (beside, _):
        seen = kernel.run(lab, programs.tamper(verb, beside.pid))
        beside.communicate("\n")
    assert seen.stdout == ("ok\n" if verb == "ptrace-seize" else "EFAULT\n")
    assert told(seen.tampering) == [(Tampering.OTHER_MEMORY, beside.pid, 1)]


def test_what_another_process_does_is_no_tampering_of_the_job(
    lab: Lab, programs: Programs, kernel: KernelSide
) -> None:
    with kernel.beginning(lab, ["true"]) as (child, _):
        for verb in ("packet-socket", "bpf", "kill"):
            assert lab.run(programs.tamper(verb, os.getpid())).stdout == "ok\n"
        child.communicate("\n")
    assert [event for event in kernel.drain() if isinstance(event, Tampered)] == []


def test_what_a_crowd_does_with_bpf_hides_nothing(lab: Lab, programs: Programs) -> None:
    """It counts by job, whoever does it: each process by itself would be told anew."""
    number, times, told_of_each = 40, 50, 7
    calls = " & ".join([" ".join(map(os.fsdecode, programs.tamper("bpf", 1, times)))] * number)
    with kernel_side(without=INTERNET) as side:
        with side.beginning(lab, ["sh", "-c", f"{calls} & wait"]) as (child, _):
            child.communicate("\n")
        told = sum(isinstance(event, Tampered) for event in side.drain())
        assert 0 < told < number * told_of_each // 2
        assert side.seen(wire.KIND_TAMPER) == number * times


@pytest.mark.parametrize("verb", ["bpf", "packet-socket", "kill"])
def test_a_flood_of_tampering_is_told_at_each_doubling(lab: Lab, programs: Programs, verb: str) -> None:
    n = 500
    with kernel_side(without=INTERNET) as side:
        seen = side.run(lab, programs.tamper(verb, os.getpid(), n))
        assert [event.times for event in seen.tampering] == [1, 2, 3, 4, 8, 16, 32, 64, 128, 256]
        assert side.seen(wire.KIND_TAMPER) == n
        assert side.lost(wire.KIND_TAMPER) == 0
