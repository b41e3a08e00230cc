"""Sockets that go past the network's hooks, and other processes' memory: refused where the kernel asks."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from exporter.events.facts import Tampered, Tampering
from tests.kernel.agents import agent
from tests.kernel.kernel_side import INTERNET, KernelSide, kernel_side
from tests.kernel.packet_sockets import ENFORCED, PACKET_SOCKET, policy
from tests.kernel.security_hooks import HOOKS, URING_MAKES_SOCKETS, WAYS, answering

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab

pytestmark = pytest.mark.kernel

MODES = pytest.mark.parametrize("mode", [ENFORCED, ""], ids=["enforced", "audited"])
REFUSED = "EPERM"
SOCKETS = {
    "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)": Tampering.PACKET_SOCKET,
    "socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 8)": Tampering.PACKET_SOCKET,
    "socket.socket(socket.AF_INET, 10, 8)": Tampering.PACKET_SOCKET,
    "socket.socket(44, socket.SOCK_RAW)": Tampering.XDP_SOCKET,
    "socket.socket(40, socket.SOCK_STREAM)": Tampering.VSOCK_SOCKET,
    "socket.socket(40, socket.SOCK_DGRAM)": Tampering.VSOCK_SOCKET,
}
"""Ways to make one. By an old name, AF_INET and SOCK_PACKET make a packet socket."""
VECTOR = "v = (ctypes.c_void_p * 2)(ctypes.addressof(ctypes.create_string_buffer(1)), 1)"
LIBC = "c = ctypes.CDLL(None, use_errno=True)"
FAIL = "if r < 0: raise OSError(ctypes.get_errno(), '')"
REACHES = {
    "file": ("open('/proc/{pid}/mem', 'rb')",),
    "to-write": ("open('/proc/{pid}/mem', 'r+b')",),
    "of-a-thread": ("open('/proc/{pid}/task/{pid}/mem', 'rb')",),
    "read": (LIBC, VECTOR, "r = c.process_vm_readv({pid}, v, 1, v, 1, 0)", FAIL),
    "write": (LIBC, VECTOR, "r = c.process_vm_writev({pid}, v, 1, v, 1, 0)", FAIL),
    "seize": (LIBC, "r = c.ptrace(0x4206, {pid}, None, None)", FAIL),
    "attach": (LIBC, "r = c.ptrace(16, {pid}, None, None)", FAIL),
    "descriptor": (LIBC, "r = c.syscall(438, os.pidfd_open({pid}), 0, 0)", FAIL),
}
"""Ways to get at a process's memory or descriptors, each with the line that does it at its end."""
ALLOWED = {"ok", "EFAULT"}
"""EFAULT where the addresses of one process are nothing in the other."""


@pytest.fixture(scope="module", params=WAYS.values(), ids=list(WAYS))
def kernel(request: pytest.FixtureRequest) -> Iterator[KernelSide]:
    with answering(*HOOKS, as_module=request.param), kernel_side(without=INTERNET) as side:
        yield side


@contextmanager
def waiting() -> Iterator[int]:
    """A process of no job; its pid."""
    with subprocess.Popen(["sleep", "1000"]) as child:
        yield child.pid
        child.kill()


def tampering(kernel: KernelSide) -> list[tuple[Tampering, bool]]:
    """What was told since the last time."""
    return [(event.what, event.is_denied) for event in told(kernel)]


def told(kernel: KernelSide) -> list[Tampered]:
    return [event for event in kernel.drain() if isinstance(event, Tampered)]


def at(pid: int | str, lines: Sequence[str]) -> list[str]:
    return [line.format(pid=pid) for line in lines]


@pytest.mark.everywhere(feature="creation")
@MODES
@pytest.mark.parametrize("line", SOCKETS)
def test_a_socket_past_the_network_is_refused_when_it_is_made(
    lab: Lab, kernel: KernelSide, mode: str, line: str
) -> None:
    with agent(kernel, lab, policy(more=mode)) as job:
        kernel.drain()
        is_refused = job.do(line) == REFUSED
        assert (is_refused, tampering(kernel)) == (bool(mode), [(SOCKETS[line], bool(mode))])


@pytest.mark.everywhere(feature="creation")
@MODES
@pytest.mark.parametrize("verb", ["uring-packet-socket", "uring-old-packet-socket"])
def test_so_is_one_of_an_io_uring(
    lab: Lab, programs: Programs, kernel: KernelSide, mode: str, verb: str
) -> None:
    kernel.drain()
    seen = kernel.run(lab, programs.tamper(verb), policy(more=mode))
    if not URING_MAKES_SOCKETS:
        assert (seen.stdout, seen.tampering) == ("EINVAL\n", [])
        return
    assert seen.stdout == (f"{REFUSED}\n" if mode else "ok\n")
    assert [(event.what, event.is_denied) for event in seen.tampering] == [
        (Tampering.PACKET_SOCKET, bool(mode))
    ]


@pytest.mark.everywhere(feature="creation")
def test_so_is_one_in_a_network_of_its_own(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, policy()) as job:
        assert job.do("ctypes.CDLL(None).unshare(0x40000000)", PACKET_SOCKET[0]) == REFUSED


@pytest.mark.everywhere(feature="creation")
def test_other_sockets_are_made_and_so_are_those_of_no_job(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, policy()) as job:
        kernel.drain()
        others = (
            "socket.socket()",
            "socket.socket(socket.AF_UNIX)",
            "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
            "socket.socketpair()",
        )
        assert {job.do(line) for line in others} == {"ok"}
        exec("import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()")  # noqa: S102
        assert told(kernel) == []


@pytest.mark.everywhere(feature="memory")
@MODES
@pytest.mark.parametrize("way", REACHES)
def test_another_process_s_memory_is_refused(lab: Lab, kernel: KernelSide, mode: str, way: str) -> None:
    with waiting() as pid, agent(kernel, lab, policy(more=mode)) as job:
        kernel.drain()
        done = job.do(*at(pid, REACHES[way]))
        events = told(kernel)
    assert (done in {"EPERM", "EACCES"}) == bool(mode), done
    assert {event.what for event in events} == {Tampering.OTHER_MEMORY}
    assert {(event.detail, event.target, event.is_denied) for event in events} == {(pid, "sleep", bool(mode))}


@pytest.mark.everywhere(feature="memory")
@pytest.mark.parametrize("way", REACHES)
def test_so_is_that_of_the_exporter(lab: Lab, kernel: KernelSide, way: str) -> None:
    with agent(kernel, lab, policy()) as job:
        kernel.drain()
        assert job.do(*at(os.getpid(), REACHES[way])) in {"EPERM", "EACCES"}
        assert tampering(kernel) == [(Tampering.MEMORY, True)]


@pytest.mark.everywhere(feature="memory")
def test_so_is_that_of_another_job(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, policy(more="")) as other, agent(kernel, lab, policy()) as job:
        kernel.drain()
        for way, lines in REACHES.items():
            assert job.do(*at(other.process.pid, lines)) in {"EPERM", "EACCES"}, way
        assert set(tampering(kernel)) == {(Tampering.OTHER_MEMORY, True)}


@pytest.mark.everywhere(feature="memory")
def test_a_process_s_own_children_and_its_own_memory_are_its_own(lab: Lab, kernel: KernelSide) -> None:
    """A debugger that starts a program is silent, and so is `ps`."""
    child = (
        "import subprocess",
        "p = subprocess.Popen(['sh', '-c', 'sleep 1000 & echo $!; wait'], stdout=-1)",
    )
    with agent(kernel, lab, policy()) as job:
        assert job.do(*child, "g = int(p.stdout.readline())") == "ok"
        pids = [int(job.value(name)) for name in ("p.pid", "g", "os.getpid()")]
        kernel.drain()
        for pid in pids:
            for way in ("file", "read", "write"):
                assert job.do(*at(pid, REACHES[way])) in ALLOWED, (pid, way)
        assert job.do(*at(pids[1], REACHES["seize"])) == "ok"
        for name in ("environ", "maps", "status", "cmdline", "exe", "fd"):
            assert job.do(f"os.stat('/proc/{os.getppid()}/{name}')") == "ok"
        assert job.do(f"open('/proc/{os.getppid()}/environ').read()") == "ok"
        assert told(kernel) == []
        job.do(f"os.kill({pids[1]}, 9)")


@pytest.mark.everywhere(feature="memory")
def test_a_step_s_processes_get_at_each_other_and_that_is_told(lab: Lab, kernel: KernelSide) -> None:
    """What reports a crash is a child of what crashed."""
    reader = "import sys; open(f'/proc/{sys.argv[1]}/mem', 'rb')"
    with agent(kernel, lab, policy()) as job:
        kernel.drain()
        line = f"s = subprocess.call([sys.executable, '-c', {reader!r}, str(os.getpid())])"
        assert job.do("import subprocess", line) == "ok"
        assert job.value("s") == "0"
        assert tampering(kernel) == [(Tampering.OTHER_MEMORY, False)]
