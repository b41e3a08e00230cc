"""Frames of packet sockets, which no hook of a cgroup sees, stopped at interfaces alone."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demo.namespaces import Namespace
from exporter.common.errors import CANNOT_TRACE_STATUS, KernelError
from exporter.events.facts import Tampered, Tampering
from exporter.events.wire import LAYOUT
from exporter.kernel.bpf import detach_link, link_info, open_pinned
from exporter.kernel.frames import guarded_namespaces, interface_egress, packet_frames
from exporter.kernel.instances import control
from exporter.kernel.locks import changing_modes
from exporter.kernel.maps.registry import JobMode, Registered
from exporter.kernel.pins import remove, sweep
from exporter.kernel.programs.attachment import UNPINNED
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.kinds import possible
from tests.kernel.agents import COMMAND, Agent, agent
from tests.kernel.arrivals import UDP, Endpoint, Packet
from tests.kernel.compilers import with_only
from tests.kernel.job_steps import switch_on
from tests.kernel.kernel_side import KernelSide
from tests.kernel.lab import NETWORKS, PORT, V4, V6, Lab, Network
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
    interfaces_alone,
    kernel,
    look,
    policy,
    send,
    send_as_the_host,
    through,
)
from tests.kernel.running_exporter import attached, running, target_of, wait_for
from tests.kernel.tamper_records import tampering
from tests.kernel.tracing import trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.kernel

__all__ = ["kernel"]
"""A fixture that is used here: each test has a kernel side of its own."""

MODES = pytest.mark.parametrize(
    ("mode", "done"), [(ENFORCED, "EPERM"), ("", "ok")], ids=["enforced", "audited"]
)
OPTIONS = "link_later_on_setsockopt"


@pytest.mark.everywhere(feature="frames")
def test_a_frame_is_dropped_where_it_leaves(lab: Lab, kernel: KernelSide) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy()) as job:
        assert look(kernel) == []
        for network, protocol in ((V4, 0x0800), (V6, 0x86DD)):
            data, to = frame(network, network.evil), f"('build0', {protocol}, 0, 1, {MARK[:6]!r})"
            for kind, line in (("SOCK_RAW", send(data)), ("SOCK_DGRAM", f"p.sendto({data[14:]!r}, {to})")):
                assert job.do(PACKET_SOCKET[0].replace("SOCK_RAW", kind), PACKET_SOCKET[1]) == "ok"
                assert job.do(line) == "ENOBUFS", (network, kind)
        udp = ("u = socket.socket(type=socket.SOCK_DGRAM)", f"u.sendto(b'x', ('{V4.peer}', {PORT}))")
        assert job.do(*udp) == "ok"
    assert [watch.arrivals.packets_to(network.evil) for network in (V4, V6)] == [0, 0]
    assert watch.arrivals.packets[Packet(UDP, Endpoint(V4.peer, PORT))] == 1


@NETWORKS
def test_in_audit_mode_frames_go_out_and_nothing_is_attached(
    lab: Lab, kernel: KernelSide, network: Network
) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy(more="")) as job:
        assert look(kernel) == []
        assert pinned(kernel) == []
        assert job.do(*PACKET_SOCKET, BYPASS, send(frame(network, network.evil))) == "ok"
    assert watch.arrivals.packets_to(network.evil) == 1


def pinned(kernel: KernelSide) -> list[str]:
    """Links that are only there while something is enforced."""
    return [path.name for path in kernel.tracer.directory.glob("link_later_*")]


def test_a_process_of_no_job_goes_on_sending_them(lab: Lab, kernel: KernelSide) -> None:
    with lab.watch() as watch, agent(kernel, lab, policy()) as job:
        assert look(kernel) == []
        assert job.do(*PACKET_SOCKET, send(frame(V4, V4.evil))) == "ENOBUFS"
        lab.build.call(send_as_the_host, frame(V4, V4.evil)).result()
    assert watch.arrivals.packets_to(V4.evil) == 1


def test_a_way_past_the_hook_is_closed(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, policy()) as job:
        assert look(kernel) == []
        assert job.do(*PACKET_SOCKET, BYPASS) == "EPERM"
        assert (
            job.do("p.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, b'\\1\\0\\0\\0' + bytes(8192))")
            == "ok"
        )
        assert job.do(send(frame(V4, V4.evil))) == "ENOBUFS"


@MODES
@pytest.mark.parametrize(
    "option",
    ["socket.IPPROTO_IPV6, 78", "socket.SOL_IP, 15", "socket.IPPROTO_IPV6, 75", "socket.SOL_IP, 19"],
)
def test_no_socket_is_answered_at_an_address_that_is_not_this_machine_s(
    lab: Lab, kernel: KernelSide, mode: str, done: str, option: str
) -> None:
    """IPV6_FREEBIND and IP_FREEBIND, which any user may set; IPV6_TRANSPARENT and IP_TRANSPARENT."""
    with agent(kernel, lab, policy(more=mode)) as job:
        assert look(kernel) == []
        assert job.do("f = socket.socket(socket.AF_INET6)", f"f.setsockopt({option}, 1)") == done
        assert job.do("f = socket.socket()", "f.setsockopt(socket.SOL_IP, 15, 1)") == "ok", "to listen"


@MODES
def test_an_xdp_socket_gets_no_ring_to_send_from(lab: Lab, kernel: KernelSide, mode: str, done: str) -> None:
    with agent(kernel, lab, policy(more=mode)) as job:
        assert look(kernel) == []
        made = "x = socket.socket(44, socket.SOCK_RAW)"
        assert job.do(made, "x.setsockopt(283, 2, 64)", "x.setsockopt(283, 3, 64)") == done


def test_what_is_enforced_can_change_while_it_runs(lab: Lab, kernel: KernelSide) -> None:
    line = send(frame(V4, V4.evil))
    with agent(kernel, lab, policy(more="")) as job:
        assert job.do(*PACKET_SOCKET, line) == "ok"
        kernel.hold(kernel.scope, policy())
        assert look(kernel) == []
        assert job.do(line) == "ENOBUFS"
        assert pinned(kernel) != []
        kernel.hold(kernel.scope, policy(more=""))
        assert job.do(line) == "ok", "at once"
        assert look(kernel) == []
        assert pinned(kernel) == []
        assert job.do(line, BYPASS) == "ok"


def test_what_is_enforced_again_while_it_is_taken_away_keeps_sockets_from_a_way_past(
    lab: Lab, kernel: KernelSide
) -> None:
    with agent(kernel, lab, policy()) as job:
        assert look(kernel) == []
        kernel.tracer.frames.most_s = 0
        kernel.hold(kernel.scope, policy(more=""))
        while OPTIONS in pinned(kernel):
            kernel.tracer.frames.look()
        assert len(pinned(kernel)) > 0, "there is more to take away"
        kernel.hold(kernel.scope, policy())
        assert job.do(*PACKET_SOCKET, BYPASS) == "EPERM"


def test_where_options_cannot_be_denied_nothing_is_enforced(
    kernel: KernelSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where any hook can't be attached; what is only told needs it not."""

    def refuse(*_: int, **__: object) -> int:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(packet_frames, "attach_to_cgroup", refuse)
    kernel.hold(1, policy(more=""))
    with pytest.raises(KernelError, match="on_setsockopt: Operation not permitted") as raised:
        kernel.hold(1, policy())
    assert raised.value.exit_status == CANNOT_TRACE_STATUS
    assert kernel.tracer.mode(1) is JobMode.AUDIT


def test_an_interface_that_appears_later_is_no_way_out(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, policy()) as job:
        assert look(kernel) == []
        with cable(lab) as receiving:
            assert gaps(kernel.tracer.frames.turn()) == [], "it heard of it"
            assert job.do(PACKET_SOCKET[0], through("near"), send(MARK)) == "ENOBUFS"
            lab.build.configure_links("link set near down", "link set near name nearer", "link set nearer up")
            assert job.do(PACKET_SOCKET[0], through("nearer"), send(MARK)) == "ENOBUFS"
            assert arrived(receiving) == 0
        before = len(pinned(kernel))
        wait_for(lambda: gaps(kernel.tracer.frames.turn()) == [] and len(pinned(kernel)) == before - 2)


def test_right_after_a_look_news_bring_no_other_and_no_way_out(
    lab: Lab, kernel: KernelSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packet_frames, "CALM_S", 60.0)
    monkeypatch.setattr(kernel.tracer.frames, "_calm_until_s", 0.0)  # and back to that behind
    with agent(kernel, lab, policy()) as job:
        assert look(kernel) == []
        before = len(pinned(kernel))
        for number in (1, 2):
            with cable(lab) as receiving:
                assert gaps(kernel.tracer.frames.turn()) == []
                assert job.do(PACKET_SOCKET[0], through("near"), send(MARK)) == "ENOBUFS"
                assert arrived(receiving) == 0
            assert gaps(kernel.tracer.frames.turn()) == []
            assert len(pinned(kernel)) == before + 2 * number, "what is gone is forgotten by a look"


@pytest.mark.parametrize("mode", [ENFORCED, ""], ids=["enforced", "audited"])
def test_a_namespace_of_a_jobs_own_is_no_way_out(lab: Lab, kernel: KernelSide, mode: str) -> None:
    with cable(lab) as receiving, agent(kernel, lab, policy(more=mode), under=("unshare", "-Urn")) as job:
        assert look(kernel) == []
        lab.build.configure_links(f"link set near netns {job.process.pid}")
        inside = Path(f"/proc/{job.process.pid}/ns/net")
        up = ["nsenter", f"--net={inside}", "--", "ip", "link", "set", "near", "up"]
        subprocess.run(up, check=True)
        assert gaps(kernel.tracer.frames.turn()) == []
        done = job.do(PACKET_SOCKET[0], through("near"), send(MARK))
        assert (done, arrived(receiving)) == (("ENOBUFS", 0) if mode else ("ok", 1))


def test_an_interface_that_moves_takes_its_program_along(lab: Lab, kernel: KernelSide) -> None:
    with cable(lab) as receiving, Namespace() as elsewhere, agent(kernel, lab, policy()) as job:
        assert look(kernel) == []
        lab.build.configure_links(f"link set near netns {elsewhere.path}")
        elsewhere.configure_links("link set near up")
        assert gaps(kernel.tracer.frames.turn()) == []
        entered = (
            f"import ctypes; n = os.open('{elsewhere.path}', os.O_RDONLY); ctypes.CDLL(None).setns(n, 0)"
        )
        assert job.do(entered, PACKET_SOCKET[0], through("near"), send(MARK)) == "ENOBUFS"
        assert arrived(receiving) == 0


def test_a_namespace_of_a_thread_is_found_when_it_makes_a_packet_socket(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, policy()) as job:
        assert look(kernel) == []
        assert job.do(*OWN_NAMESPACE) == "ok"
        assert look(kernel) == [], "its process is elsewhere"
        (made,) = [event for event in kernel.drain() if isinstance(event, Tampered)]
        kernel.tracer.frames.alarm(made)
        assert gaps(kernel.tracer.frames.turn()) == [(Tampering.FRAMES, 0)]
        assert look(kernel) == []
        kernel.tracer.frames.alarm(made)
        assert gaps(kernel.tracer.frames.turn()) == [], "it is watched now"
        assert job.do("p.bind(('lo', 0))") == "ok"
        assert job.do(send(MARK)) in {"ENETDOWN", "ENOBUFS"}


IN_A_CHILD = (
    "a, b = socket.socketpair()",
    r"exec('child = os.fork()\nif not child: ctypes.CDLL(None).setns(n, 0); "
    r"q = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); "
    r"socket.send_fds(b, [bytes(1)], [q.fileno()]); os._exit(0)')",
    "os.waitpid(child, 0)",
    "p = socket.socket(fileno=socket.recv_fds(a, 1, 1)[1][0])",
)
"""It ends as soon as it has handed its socket over."""


@pytest.mark.parametrize("lines", [IN_A_CHILD, FOR_A_MOMENT], ids=["in-a-child", "for-a-moment"])
def test_a_namespace_that_nobody_is_in_any_more_is_found_by_the_socket(
    lab: Lab, kernel: KernelSide, lines: Sequence[str]
) -> None:
    """One of others, with a way out of it."""
    frames = kernel.tracer.frames
    with cable(lab) as receiving, Namespace() as elsewhere:
        lab.build.configure_links(f"link set near netns {elsewhere.path}")
        elsewhere.configure_links("link set near up")
        network = Path(elsewhere.path).readlink()
        before = held_here().count(network)
        with agent(kernel, lab, policy()) as job:
            assert look(kernel) == []
            assert job.do(f"n = os.open('{elsewhere.path}', os.O_RDONLY)", *lines, through("near")) == "ok"
            (made,) = [event for event in kernel.drain() if isinstance(event, Tampered)]
            frames.alarm(made)
            assert gaps(frames.turn()) == [(Tampering.FRAMES, 0)], "some may have got out before"
            wait_for(lambda: frames.turn() == [] and held_here().count(network) > before)
            arrived(receiving)
            assert job.do(send(MARK)) == "ENOBUFS"
            assert arrived(receiving) == 0
            assert look(kernel) == []
            assert held_here().count(network) > before, "the socket is still there"
            assert job.do("p.close()") == "ok"
            if lines is IN_A_CHILD:
                assert job.do("a.close()", "b.close()") == "ok"
            assert look(kernel) == []
            assert held_here().count(network) == before


def test_an_interface_that_appears_where_nobody_is_any_more_is_no_way_out(
    lab: Lab, kernel: KernelSide
) -> None:
    """Its maker was there at first, so that nobody had to look for the socket."""
    frames = kernel.tracer.frames
    with Namespace() as elsewhere:
        network = Path(elsewhere.path).readlink()
        before = held_here().count(network)
        with agent(kernel, lab, policy()) as job:
            assert look(kernel) == []
            lines = FOR_A_MOMENT[:-1]
            assert job.do(f"n = os.open('{elsewhere.path}', os.O_RDONLY)", *lines) == "ok"
            (made,) = [event for event in kernel.drain() if isinstance(event, Tampered)]
            frames.alarm(made)
            assert held_here().count(network) > before, "found by the process"
            assert job.do(FOR_A_MOMENT[-1]) == "ok"
            look(kernel)
            wait_for(lambda: frames.turn() is not None and held_here().count(network) > before)
            with cable(lab) as receiving:
                lab.build.configure_links(f"link set near netns {elsewhere.path}")
                elsewhere.configure_links("link set near up")
                frames.turn()
                arrived(receiving)
                assert job.do(through("near"), send(MARK)) == "ENOBUFS"
                assert arrived(receiving) == 0


def test_a_socket_of_an_io_uring_is_found_wherever_its_thread_is(lab: Lab, kernel: KernelSide) -> None:
    """The record can't name a namespace: a worker may have begun in another, and have to wait."""
    frames = kernel.tracer.frames
    with cable(lab) as receiving, Namespace() as elsewhere:
        lab.build.configure_links(f"link set near netns {elsewhere.path}")
        elsewhere.configure_links("link set near up")
        with agent(kernel, lab, policy()) as job:
            assert look(kernel) == []
            assert job.do(f"n = os.open('{elsewhere.path}', os.O_RDONLY)", *FOR_A_MOMENT) == "ok"
            (made,) = [event for event in kernel.drain() if isinstance(event, Tampered)]
            frames.alarm(made._replace(network=0))
            told: list[Tampered] = []

            def is_told() -> bool:
                told.extend(frames.turn())
                return bool(told)

            wait_for(is_told)
            assert gaps(told) == [(Tampering.FRAMES, 0)], "some may have got out before"
            arrived(receiving)
            assert job.do(through("near"), send(MARK)) == "ENOBUFS"
            assert arrived(receiving) == 0


def test_a_packet_socket_where_they_are_stopped_is_no_gap(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, policy()) as job:
        assert look(kernel) == []
        assert job.do(PACKET_SOCKET[0]) == "ok"
    (made,) = [event for event in kernel.drain() if isinstance(event, Tampered)]
    kernel.tracer.frames.alarm(made)
    assert gaps(kernel.tracer.frames.turn()) == [], "although the process is gone"


def test_a_namespace_is_let_go_of_with_its_processes(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, policy(), under=("unshare", "-n")) as job:
        assert look(kernel) == []
        network = Path(f"/proc/{job.process.pid}/ns/net").readlink()
        assert network in held_here()
    assert look(kernel) == []
    assert network not in held_here()


def held_here() -> list[Path]:
    """What this process's descriptors are of."""
    return [target_of(link) for link in Path("/proc/self/fd").iterdir()]


def test_where_frames_cannot_be_stopped_it_is_told_once(
    lab: Lab, kernel: KernelSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int, **__: int) -> int:
        raise OSError(errno.EINVAL, "as where something forbids it")

    monkeypatch.setattr(interface_egress, "attach_to_interface", refuse)
    with agent(kernel, lab, policy()) as job:
        assert job.do(*PACKET_SOCKET) == "ok"
        told = look(kernel)
        assert set(told) == {(Tampering.FRAMES, errno.EINVAL)}
        assert len(told) <= 2, "once in each network: the job's, and the one that nsenter may have begun in"
        assert look(kernel) == []


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_program_that_is_gone_is_told_unless_the_instance_is_being_stopped(
    lab: Lab, kernel: KernelSide, is_stopped: bool
) -> None:
    mode = JobMode.STOPPED if is_stopped else JobMode.NONE
    kernel.tracer.register(kernel.scope, Registered("release", "build", 1, 1, switched=mode))
    (kernel.tracer.directory / "prog_on_frame").unlink()
    with agent(kernel, lab, policy()):
        assert set(look(kernel)) == (set() if is_stopped else {(Tampering.FRAMES, errno.ENOENT)})


def test_nothing_of_it_stays_in_the_kernel(lab: Lab) -> None:
    with interfaces_alone() as kernel:
        with agent(kernel, lab, policy()) as job:
            assert look(kernel) == []
            links = {link_id(kernel.tracer.directory / name) for name in pinned(kernel)}
            program = shown("prog", kernel.tracer.directory / "prog_on_frame")["id"]
            assert job.do(*PACKET_SOCKET, send(frame(V4, V4.evil))) == "ENOBUFS"
        assert links <= attached().links
    wait_for(lambda: not links & attached().links)  # the kernel forgets them in a task of its own
    wait_for(
        lambda: subprocess.run(["bpftool", "prog", "show", "id", str(program)], check=False).returncode != 0
    )
    with lab.watch() as watch:
        lab.build.call(send_as_the_host, frame(V4, V4.evil)).result()
    assert watch.arrivals.packets_to(V4.evil) == 1


def link_id(pin: Path) -> int:
    """The kernel's; not every bpftool tells of links on every kernel."""
    link = open_pinned(pin)
    try:
        return link_info(link).id
    finally:
        os.close(link)


def shown(kind: str, pin: Path) -> dict[str, Any]:
    """What bpftool says of it."""
    command = ["bpftool", "-j", kind, "show", "pinned", str(pin)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def test_a_gap_is_told_like_any_tampering(lab: Lab, tmp_path: Path) -> None:
    """Where packet sockets are refused, there is none."""
    code = "\n".join(
        ("import ctypes, socket", *OWN_NAMESPACE[:-1], f"try: {OWN_NAMESPACE[-1]}\nexcept OSError: pass")
    )
    seen = trace(
        lab, [sys.executable, "-c", code], tmp_path, "--enforce", "--allowed-endpoints", "198.51.100.77"
    )
    assert seen.status == 0
    is_gap = possible(PROGRAMS) != PROGRAMS
    assert [kind for kind, _ in tampering(tmp_path)] == ["packet_socket", *["frames"] * is_gap]
    words = "made a packet socket before what it sends was stopped in its network"
    assert (words in seen.stderr) == is_gap


INTERFACES = 16


def add_interfaces(job: Agent) -> str:
    """Give a job's network some more, in pairs; the last one's name."""
    inside = ["nsenter", f"--net=/proc/{job.process.pid}/ns/net", "--", "ip", "-batch", "-"]
    pairs = [f"link add a{pair} type veth peer name b{pair}" for pair in range(INTERFACES // 2)]
    last = f"b{INTERFACES // 2 - 1}"
    lines = [*pairs, f"link set {last} up", f"link set a{last[1:]} up"]
    subprocess.run(inside, input="\n".join(lines).encode(), check=True)
    return last


def test_many_interfaces_are_looked_after_in_turns(lab: Lab, kernel: KernelSide) -> None:
    """Others wait meanwhile for one of them at most."""
    frames = kernel.tracer.frames
    with agent(kernel, lab, policy(), under=("unshare", "-n")) as job:
        assert look(kernel) == []
        last = add_interfaces(job)
        frames.most_s = 0
        turns = [frames.turn()]
        while frames.is_covering:
            turns.append(frames.turn())
        assert len(turns) > INTERFACES
        assert gaps([event for told in turns for event in told]) in (
            [],
            [(Tampering.FRAMES, errno.EINPROGRESS)],
        )
        assert job.do(PACKET_SOCKET[0], f"p.bind(('{last}', 0))", send(MARK)) == "ENOBUFS"
        kernel.hold(kernel.scope, policy(more=""))
        wait_for(lambda: frames.turn() is not None and not pinned(kernel))
        assert job.do(send(MARK)) == "ok"


@pytest.mark.parametrize("late_s", [0.0, 60.0], ids=["told-as-late", "only-left"])
def test_who_turns_enforcement_on_holds_up_nobody_else(
    lab: Lab, kernel: KernelSide, monkeypatch: pytest.MonkeyPatch, late_s: float
) -> None:
    """By what came in the last moment: it is told where there is no time for that."""
    with agent(kernel, lab, policy(more=""), under=("unshare", "-n")) as job:
        kernel.tracer.register(kernel.scope, Registered("release", "build", 1, 1))
        last = []

        @contextmanager
        def changing_late(instance: Path) -> Iterator[None]:
            with changing_modes(instance):
                last.append(add_interfaces(job))
                yield

        (row,) = control.jobs_of(control.Instance(kernel.tracer.directory, is_alive=True, layout=LAYOUT))
        with monkeypatch.context() as patched:
            patched.setattr(control, "LOCKED_S", 0.0)
            patched.setattr(guarded_namespaces, "_LATE_S", late_s)
            patched.setattr(control, "changing_modes", changing_late)
            (gap,) = control.switch(row, JobMode.ENFORCE, by=0)
        assert gap.what.startswith("there wasn't time to stop ")
        assert kernel.tracer.mode(kernel.scope) is JobMode.ENFORCE
        assert control.switch(row, JobMode.ENFORCE, by=0) == []
        assert job.do(PACKET_SOCKET[0], f"p.bind(('{last[0]}', 0))", send(MARK)) == "ENOBUFS"


def test_few_rights_are_enough_in_its_own_namespace(lab: Lab, tmp_path: Path) -> None:
    """Without CAP_SYS_ADMIN no other one can be entered."""
    under = [*lab.command(()), *with_only("bpf", "perfmon", "net_admin", "net_raw")]
    options = ("--enforce", "--allowed-endpoints", "198.51.100.77")
    with lab.watch() as watch, running(COMMAND, tmp_path, *options, under=under) as run:
        for line, done in (
            (PACKET_SOCKET[0], "ok"),
            (PACKET_SOCKET[1], "ok"),
            (send(frame(V4, V4.evil)), "ENOBUFS"),
        ):
            run.tell(line)
            assert run.next_line() == done
    assert watch.arrivals.packets_to(V4.evil) == 0


def test_a_detached_program_is_put_back(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, policy()) as job:
        assert look(kernel) == []
        assert kernel.tracer.lost()[UNPINNED] == frozenset()
        for name in pinned(kernel):
            link = open_pinned(kernel.tracer.directory / name)
            detach_link(link)
            os.close(link)
        assert look(kernel) == []
        assert job.do(*PACKET_SOCKET, send(frame(V4, V4.evil))) == "ENOBUFS"
        for name in pinned(kernel):
            (kernel.tracer.directory / name).unlink()
        assert job.do(send(frame(V4, V4.evil))) == "ENOBUFS", "as long as the exporter lives"
        assert {name for name in kernel.tracer.lost()[UNPINNED] if "on_frame" in name}


@pytest.mark.everywhere(feature="frames")
def test_no_frame_leaves_when_the_exporter_is_killed(lab: Lab, tmp_path: Path) -> None:
    options = ("--allowed-endpoints", "198.51.100.77")
    under = lab.command(())
    with lab.watch() as watch, running(COMMAND, tmp_path / "killed", *options, under=under) as run:

        def do(line: str) -> str:
            run.tell(line)
            return run.next_line()

        line = send(frame(V4, V4.evil))
        assert [do(each) for each in PACKET_SOCKET] == ["ok", "ok"], "as long as nothing is enforced"
        instance = run.instance()
        assert switch_on("--instance", instance.name) == 0
        assert do(line) == "ENOBUFS"
        links = {link_id(pin) for pin in instance.glob("link_later_*")}
        try:
            os.kill(run.pid, signal.SIGKILL)
            run.process.wait()
            assert instance not in sweep(instance.parent), "as any other one does at its start"
            assert do(line) == "ENOBUFS"
            assert do(BYPASS) == "EPERM"
            assert links <= attached().links
        finally:
            assert remove(instance)  # also where this fails: else it would be there for others' tests
        wait_for(lambda: not links & attached().links)  # the kernel forgets them in a task of its own
    assert watch.arrivals.packets_to(V4.evil) == 0
