"""Frames of packet sockets, refused when they are sent: no interface has a program here."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from demo.namespaces import Namespace
from exporter.events.facts import Tampered
from exporter.kernel.frames import packet_frames
from exporter.kernel.frames.interface_egress import AttachMethod
from tests.kernel.agents import agent
from tests.kernel.kernel_side import INTERNET, KernelSide, kernel_side
from tests.kernel.lab import V4, Lab
from tests.kernel.packet_sockets import (
    BYPASS,
    ENFORCED,
    FOR_A_MOMENT,
    MARK,
    OWN_NAMESPACE,
    PACKET_SOCKET,
    arrived,
    cable,
    frame,
    gaps,
    policy,
    send,
    send_as_the_host,
    through,
)
from tests.kernel.running_exporter import wait_for
from tests.kernel.security_hooks import WAYS as HOOKS
from tests.kernel.security_hooks import answering

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.kernel.conftest import Programs

pytestmark = [pytest.mark.kernel, pytest.mark.everywhere(feature="sends")]

MODES = pytest.mark.parametrize(
    ("mode", "done"), [(ENFORCED, "ENOBUFS"), ("", "ok")], ids=["enforced", "audited"]
)
FRAME = frame(V4, V4.evil)
RING = (
    "import mmap; page = mmap.PAGESIZE",
    "p.setsockopt(263, 13, struct.pack('=4I', page, 1, 2048, page // 2048))",
    "ring = mmap.mmap(p.fileno(), page)",
    f"ring[32 : 32 + {len(FRAME)}] = {FRAME!r}",
    f"ring[:16] = struct.pack('=QII', 1, {len(FRAME)}, {len(FRAME)})",
)
"""PACKET_TX_RING, with a frame in it."""
WAYS = {
    "send": (send(FRAME),),
    "sendto": (f"p.sendto({FRAME!r}, ('build0', 0x0800))",),
    "sendmsg": (f"p.sendmsg([{FRAME!r}])",),
    "write": (f"os.write(p.fileno(), {FRAME!r})",),
    "sendfile": (
        "m = os.memfd_create('frame')",
        f"os.write(m, {FRAME!r})",
        f"os.sendfile(p.fileno(), m, 0, {len(FRAME)})",
    ),
    "ring": (*RING, "p.send(b'')"),
}


@contextmanager
def sends_alone(*, as_module: bool) -> Iterator[KernelSide]:
    """The programs, that at sends as a security module or in front of these, and none at interfaces.

    Nor is there one where sockets are made: it would leave these nothing to refuse.
    """
    with pytest.MonkeyPatch.context() as patched, answering("socket_sendmsg", as_module=as_module):
        patched.setattr(packet_frames, "way_here", lambda: AttachMethod.NONE)
        with kernel_side(without=INTERNET) as side:
            yield side


@pytest.fixture(scope="module", params=HOOKS.values(), ids=list(HOOKS))
def kernel(request: pytest.FixtureRequest) -> Iterator[KernelSide]:
    with sends_alone(as_module=request.param) as side:
        yield side


def test_in_no_way_a_packet_socket_sends(lab: Lab, kernel: KernelSide) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy(more="")) as job:
        assert {way: job.do(*PACKET_SOCKET, *lines) for way, lines in WAYS.items()} == dict.fromkeys(
            WAYS, "ok"
        )
        kernel.hold(kernel.scope, policy())
        outcomes = {way: job.do(*PACKET_SOCKET, *lines) for way, lines in WAYS.items()}
    assert outcomes == dict.fromkeys(WAYS, "ENOBUFS")
    assert watch.arrivals.packets_to(V4.evil) == len(WAYS), "when it was allowed"


@MODES
def test_nor_does_a_worker_of_an_io_uring(
    lab: Lab, programs: Programs, kernel: KernelSide, mode: str, done: str
) -> None:
    assert kernel.run(lab, programs.tamper("uring-frame"), policy(more=mode)).stdout == f"{done}\n"


@MODES
def test_nor_does_one_that_was_made_where_nobody_is_any_more(
    lab: Lab, kernel: KernelSide, mode: str, done: str
) -> None:
    """By an interface that appears later, too."""
    with Namespace() as elsewhere, agent(kernel, lab, policy(more=mode)) as job:
        assert job.do(f"n = os.open('{elsewhere.path}', os.O_RDONLY)", *FOR_A_MOMENT) == "ok"
        with cable(lab) as receiving:
            lab.build.configure_links(f"link set near netns {elsewhere.path}")
            elsewhere.configure_links("link set near up")
            arrived(receiving)
            assert job.do(through("near"), send(MARK)) == done
            assert arrived(receiving) == (0 if mode else 1)


def test_nor_does_one_that_got_a_way_past_interfaces_before(lab: Lab, kernel: KernelSide) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy(more="")) as job:
        assert job.do(*PACKET_SOCKET, BYPASS, send(FRAME)) == "ok"
        kernel.hold(kernel.scope, policy())
        assert job.do(send(FRAME)) == "ENOBUFS"
        kernel.hold(kernel.scope, policy(more=""))
        assert job.do(send(FRAME)) == "ok", "at once"
    assert watch.arrivals.packets_to(V4.evil) == 2


def test_a_process_of_no_job_sends(lab: Lab, kernel: KernelSide) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy()):
        lab.build.call(send_as_the_host, FRAME).result()
    assert watch.arrivals.packets_to(V4.evil) == 1


@pytest.mark.parametrize("lines", [OWN_NAMESPACE, FOR_A_MOMENT], ids=["of-its-own", "for-a-moment"])
def test_a_packet_socket_is_no_gap_wherever_it_is(lab: Lab, kernel: KernelSide, lines: Sequence[str]) -> None:
    with Namespace() as elsewhere, agent(kernel, lab, policy()) as job:
        kernel.drain()
        assert job.do(f"n = os.open('{elsewhere.path}', os.O_RDONLY)", *lines) == "ok"
        (made,) = [event for event in kernel.drain() if isinstance(event, Tampered)]
        kernel.tracer.frames.alarm(made)
        assert gaps(kernel.tracer.frames.turn()) == []


@pytest.mark.parametrize("as_module", HOOKS.values(), ids=list(HOOKS))
def test_its_pin_holds_it_and_it_goes_with_the_instance(lab: Lab, *, as_module: bool) -> None:
    with sends_alone(as_module=as_module) as side, agent(side, lab, policy()) as job:
        pin = side.tracer.directory / "link_on_send"
        assert pin.exists()
        assert job.do(*PACKET_SOCKET, send(FRAME)) == "ENOBUFS"
        side.tracer.detach()
        assert not pin.exists()
        wait_for(lambda: job.do(send(FRAME)) == "ok")  # the kernel frees the link a while after its last pin
