"""Frames of packet sockets stopped by filters, as before Linux 6.6: chosen here, they do it on any kernel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.kernel.frames import packet_frames
from exporter.kernel.frames.interface_egress import AttachMethod
from exporter.kernel.pins import remove
from tests.checkout import ROOT
from tests.kernel.agents import agent
from tests.kernel.kernel_side import KernelSide
from tests.kernel.lab import V4
from tests.kernel.packet_sockets import (
    BYPASS,
    MARK,
    PACKET_SOCKET,
    arrived,
    cable,
    frame,
    gaps,
    interfaces_alone,
    look,
    policy,
    send,
    send_as_the_host,
    through,
)
from tests.kernel.tracing import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.lab import Lab

pytestmark = pytest.mark.kernel

FRAME = send(frame(V4, V4.evil))
OTHERS = {"all": (), "ip": ("protocol", "ip")}
"""Filters of somebody else at the first priority, by protocol: beside one for some only there is no place."""


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelSide]:
    monkeypatch.setattr(packet_frames, "way_here", lambda: AttachMethod.CLSACT)
    with interfaces_alone() as side:
        yield side


def tc(lab: Lab, *words: str) -> str:
    done = subprocess.run(lab.command(["tc", *words]), capture_output=True, text=True, check=True)
    return done.stdout


def filters(lab: Lab, interface: str = "build0") -> list[str]:
    """Lines of those at its way out."""
    return [
        line
        for line in tc(lab, "filter", "show", "dev", interface, "egress").splitlines()
        if "handle" in line
    ]


def test_a_frame_is_dropped_where_it_leaves(lab: Lab, kernel: KernelSide) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy()) as job:
        assert look(kernel) == []
        assert job.do(*PACKET_SOCKET, FRAME) == "ENOBUFS"
        assert job.do(BYPASS) == "EPERM"
    assert watch.arrivals.packets_to(V4.evil) == 0
    with lab.watch() as watch:
        lab.build.call(send_as_the_host, frame(V4, V4.evil)).result()
    assert watch.arrivals.packets_to(V4.evil) == 1


def test_it_goes_with_the_mode_and_with_the_instance(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, policy()) as job:
        assert look(kernel) == []
        assert job.do(*PACKET_SOCKET, FRAME) == "ENOBUFS"
        (line,) = filters(lab)
        assert f"ci-egress/{kernel.tracer.name} direct-action" in line
        kernel.hold(kernel.scope, policy(more=""))
        assert look(kernel) == []
        assert filters(lab) == []
        assert job.do(FRAME) == "ok"
        kernel.hold(kernel.scope, policy())
        assert job.do(FRAME) == "ENOBUFS"
        kernel.tracer.frames.close()  # as if killed
        assert job.do(FRAME) == "ENOBUFS"
        assert remove(kernel.tracer.directory)
        assert filters(lab) == []
        assert job.do(FRAME) == "ok"


@pytest.mark.parametrize("protocol", OTHERS)
def test_filters_of_others_stay(lab: Lab, kernel: KernelSide, protocol: str) -> None:
    theirs = ("bpf", "object-pinned", str(kernel.tracer.directory / "prog_idle_frame"), "direct-action")
    tc(lab, "qdisc", "replace", "dev", "build0", "clsact")
    try:
        tc(lab, "filter", "add", "dev", "build0", "egress", "prio", "1", *OTHERS[protocol], *theirs)
        before = filters(lab)
        with agent(kernel, lab, policy()) as job:
            assert look(kernel) == []
            assert job.do(*PACKET_SOCKET, FRAME) == "ENOBUFS"
            assert set(before) < set(filters(lab))
            kernel.hold(kernel.scope, policy(more=""))
            assert look(kernel) == []
        assert filters(lab) == before
    finally:
        tc(lab, "qdisc", "del", "dev", "build0", "clsact")


def test_what_somebody_removes_is_put_back(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, policy()) as job:
        assert look(kernel) == []
        tc(lab, "qdisc", "del", "dev", "build0", "clsact")
        assert gaps(kernel.tracer.frames.turn()) == [], "it heard of it"
        assert job.do(*PACKET_SOCKET, FRAME) == "ENOBUFS"
        assert len(filters(lab)) == 1


def test_one_in_its_place_is_not_taken_for_it(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, policy()) as job:
        assert look(kernel) == []
        (line,) = filters(lab)
        words = line.split()
        place = [words[words.index("pref") + 1], "handle", words[words.index("handle") + 1]]
        there = ("dev", "build0", "egress", "prio", *place, "bpf")
        try:
            tc(lab, "filter", "del", *there)
            tc(lab, "filter", "add", *there, "bytecode", "1,6 0 0 0")
            assert gaps(kernel.tracer.frames.turn()) == []
            assert job.do(*PACKET_SOCKET, FRAME) == "ENOBUFS"
        finally:
            tc(lab, "qdisc", "del", "dev", "build0", "clsact")


def test_an_interface_that_appears_or_moves_is_no_way_out(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, policy(), under=("unshare", "-Urn")) as job, cable(lab) as receiving:
        assert look(kernel) == []
        lab.build.configure_links(f"link set near netns {job.process.pid}")
        inside = Path(f"/proc/{job.process.pid}/ns/net")
        subprocess.run(["nsenter", f"--net={inside}", "--", "ip", "link", "set", "near", "up"], check=True)
        assert gaps(kernel.tracer.frames.turn()) == []
        assert job.do(PACKET_SOCKET[0], through("near"), send(MARK)) == "ENOBUFS"
        assert arrived(receiving) == 0


WITHOUT_DESCRIPTORS = """
import ctypes, os, resource
from exporter.kernel.frames.clsact import has_clsact

assert ctypes.CDLL(None).unshare(0x40000000) == 0
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 100))
print(has_clsact(1))
"""


def test_who_cannot_try_does_not_take_the_kernel_for_one_that_cannot() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DESCRIPTORS],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
