"""A job with all rights at the programs and pins of its own tracer: what is told of it, and what is left."""

from __future__ import annotations

import os
import shutil
import struct
import sys
from typing import TYPE_CHECKING, Any

import pytest

from exporter.events import wire
from exporter.kernel.bpf import bpf, detach_link, open_pinned
from exporter.kernel.programs.attachment import DETACHED, REPLACED, UNPINNED
from exporter.kernel.programs.objects import AttachType, Place, ProgramType, load_program, pin
from tests.kernel.kernel_side import KernelSide, kernel_side
from tests.kernel.lab import PORT, V4, Lab
from tests.kernel.running_exporter import attached, instance_of, links_in, running, stopped, wait_for
from tests.kernel.tracing import logs, trace
from tests.kernel.watching import watching
from tests.launch import ci_egress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kernel.conftest import Programs
    from tests.kernel.tracing import Trace

pytestmark = pytest.mark.kernel

BPF_LINK_UPDATE = 29
ALLOW_ALL = struct.pack("=BBhi", 0xB7, 0, 0, 1) + struct.pack("=BBhi", 0x95, 0, 0, 0)
"""r0 = 1; exit"""
NOTHING: dict[str, frozenset[str]] = {UNPINNED: frozenset(), DETACHED: frozenset(), REPLACED: frozenset()}


@pytest.fixture
def kernel() -> Iterator[KernelSide]:
    """Programs of this test's own, to be attacked by it."""
    with kernel_side() as side:
        yield side


def pinned(kernel: KernelSide) -> Path:
    return kernel.tracer.directory


def test_of_what_nobody_touches_nothing_is_lost(kernel: KernelSide) -> None:
    assert kernel.tracer.lost() == NOTHING


def test_a_pin_that_is_removed_is_missed_and_its_program_goes_on(
    lab: Lab, programs: Programs, kernel: KernelSide
) -> None:
    for pinned_at in (pinned(kernel) / "link_on_sys_enter", pinned(kernel) / "map_config"):
        pinned_at.unlink()
    unpinned = frozenset({"link_on_sys_enter", "map_config"})
    assert kernel.tracer.lost() == {**NOTHING, UNPINNED: unpinned}
    assert len(kernel.run(lab, programs.tamper("bpf", os.getpid())).tampering) == 1


def test_a_pin_in_anothers_place_is_not_taken_for_it(kernel: KernelSide) -> None:
    place = pinned(kernel) / "map_config"
    descriptor = open_pinned(place)
    place.unlink()
    pin(descriptor, place)
    os.close(descriptor)
    assert kernel.tracer.lost() == {**NOTHING, UNPINNED: frozenset({"map_config"})}


def test_a_program_that_is_detached_is_missed(kernel: KernelSide) -> None:
    link = open_pinned(pinned(kernel) / "link_on_connect4")
    detach_link(link)
    os.close(link)
    assert kernel.tracer.lost() == {**NOTHING, DETACHED: frozenset({"on_connect4"})}


def test_a_program_in_anothers_place_is_not_taken_for_it(kernel: KernelSide) -> None:
    link = open_pinned(pinned(kernel) / "link_on_connect4")
    attach_type = AttachType.INET4_CONNECT
    other = load_program("allow", Place(ProgramType.CGROUP_SOCK_ADDR, attach_type), ALLOW_ALL, [])
    bpf(BPF_LINK_UPDATE, struct.pack("=IIII", link, other, 0, 0))
    for descriptor in (link, other):
        os.close(descriptor)
    assert kernel.tracer.lost() == {**NOTHING, REPLACED: frozenset({"on_connect4"})}


def test_what_was_detached_by_others_and_unpinned_leaves_nothing_behind() -> None:
    with kernel_side() as side:
        links = links_in(pinned(side))
        shutil.rmtree(pinned(side))
        assert links <= attached().links
        side.finish()
    wait_for(lambda: not links & attached().links)


SUMMARY = "summary.md"


def tampering(otlp_dir: Path) -> list[tuple[str, str]]:
    """Kind and detail of each record of tampering, in order."""
    return [
        (attribute(record, "egress.tamper.kind"), attribute(record, "egress.tamper.detail"))
        for record in logs(otlp_dir)
        if record["eventName"] == "cicd.egress.tamper"
    ]


def attribute(record: dict[str, Any], name: str) -> str:
    """Empty where there is none."""
    values = {one["key"]: one["value"].get("stringValue", "") for one in record["attributes"]}
    return str(values.get(name, ""))


def attacked(lab: Lab, programs: Programs, otlp_dir: Path, attack: str) -> tuple[str, Trace]:
    """Let a job attack its own enforcing instance (`$PINS`), then connect; what came of that, and the run."""
    script = 'echo ready; read -r PINS; eval "$1" 2>&1; echo done; read -r _; shift; "$@"; true'
    command = ["sh", "-c", script, "sh", attack, *lab.command(programs.act("connect", V4.evil, PORT))]
    options = ("--enforce", "--allowed-endpoints", f"{V4.peer}:{PORT}", "--summary", str(otlp_dir / SUMMARY))
    with running(command, otlp_dir, *options) as run:
        assert run.next_line() == "ready"
        links = links_in(run.instance())
        with stopped(run.pid):  # it sees all of it or nothing
            run.tell(str(run.instance()))
            assert run.next_line() == "done"
        is_told = run.message("tampering: ")
        run.tell("go on")
        seen = run.end()
    wait_for(lambda: not links & attached().links)
    return is_told, seen


def test_a_job_that_removes_the_pins_is_told_and_stays_denied(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    with lab.watch() as watch:
        is_told, seen = attacked(lab, programs, tmp_path, 'rm "$PINS"/link_on_connect4 "$PINS"/map_modes')
    assert "tampering: pins of ci-egress were removed from /sys/fs/bpf/ci-egress/" in is_told
    assert is_told.endswith(": link_on_connect4, map_modes")
    summary = (tmp_path / SUMMARY).read_text()
    assert "⛔" in summary
    assert "<code>link_on_connect4<wbr>, map_modes</code>" in summary
    assert seen.stdout == "EPERM\n"
    assert watch.arrivals.packets_to(V4.evil) == 0
    assert tampering(tmp_path) == [("unpinned", "link_on_connect4, map_modes")]
    assert [point.value for point in seen.metrics["cicd.egress.enforcing"]] == [1]
    assert seen.account == "attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0"


def test_a_job_that_detaches_a_program_is_told_with_what_it_did(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    attack = 'bpftool link detach pinned "$PINS"/link_on_connect4'
    is_told, seen = attacked(lab, programs, tmp_path, attack)
    assert is_told.startswith("ci-egress: warning: tampering: programs of ci-egress were detached; ")
    assert is_told.endswith(": on_connect4")
    told = tampering(tmp_path)
    assert {("bpf", "BPF_OBJ_GET"), ("bpf", "BPF_LINK_DETACH"), ("detached", "on_connect4")} <= set(told)
    assert [point.value for point in seen.metrics["cicd.egress.enforcing"]] == [0]
    assert seen.stdout == "ok\n", "root with CAP_NET_ADMIN can do that; it isn't hidden"
    (of_job,) = (record for record in logs(tmp_path) if "were detached" in record["body"]["stringValue"])
    assert (of_job["traceId"], of_job["spanId"]) == (seen.job.trace_id, seen.job.span_id)


def test_a_job_that_detaches_a_program_and_ends_at_once_is_told_too(tmp_path: Path) -> None:
    script = 'echo ready; read -r PINS; bpftool link detach pinned "$PINS"/link_on_connect4'
    options = ("--enforce", "--allowed-endpoints", f"{V4.peer}:{PORT}")
    with running(["sh", "-c", script], tmp_path, *options) as run:
        assert run.next_line() == "ready"
        run.tell(str(run.instance()))
        run.end()
    assert ("detached", "on_connect4") in tampering(tmp_path)


def test_a_job_that_turns_its_policy_off_in_the_maps_is_told(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    zeros = " ".join("0" * wire.MODE_VALUE.size)
    attack = f'bpftool map update pinned "$PINS"/map_modes key 1 0 0 0 value {zeros}'
    is_told, _ = attacked(lab, programs, tmp_path, f'{attack}; rm "$PINS"/map_modes')
    assert "tampering: pins" in is_told
    told = set(tampering(tmp_path))
    assert {("bpf", "BPF_OBJ_GET"), ("bpf", "BPF_MAP_UPDATE_ELEM"), ("policy", "")} <= told


def test_a_watch_tells_that_its_pins_are_gone(tmp_path: Path) -> None:
    with watching(tmp_path) as watched:
        shutil.rmtree(instance_of(watched.process.pid))
        watched.wait_until_said("tampering: pins of ci-egress were removed")


PUT_BEHIND = """
import os, socket, struct, sys
from exporter.kernel.mounts import cgroup2_root
from exporter.kernel.programs.objects import AttachType, Place, ProgramType, attach_to_cgroup, load_program

to, port, instead = sys.argv[1], int(sys.argv[2]), socket.inet_aton(sys.argv[3])
rewriting = [  # of what this process connects to alone
    (0xBF, 0x16, 0, 0), (0x85, 0, 0, 14), (0x77, 0, 0, 32), (0x55, 0, 2, os.getpid()),
    (0xB4, 2, 0, int.from_bytes(instead, sys.byteorder, signed=True)), (0x63, 0x26, 4, 0),
    (0xB7, 0, 0, 1), (0x95, 0, 0, 0),
]
code = b"".join(struct.pack("=BBhi", *each) for each in rewriting)
program = load_program("behind", Place(ProgramType.CGROUP_SOCK_ADDR, AttachType.INET4_CONNECT), code, [])
root = os.open(cgroup2_root(), os.O_RDONLY)
link = attach_to_cgroup(program, root, AttachType.INET4_CONNECT)
print(socket.create_connection((to, port)).getpeername()[0])
"""


def test_a_program_that_a_job_puts_behind_ours_is_told_though_not_stopped(lab: Lab, tmp_path: Path) -> None:
    """It sends elsewhere what was allowed: root with CAP_BPF and CAP_NET_ADMIN has the last word."""
    command = [sys.executable, "-c", PUT_BEHIND, V4.peer, str(PORT), V4.evil]
    seen = trace(lab, command, tmp_path, "--enforce", "--allowed-endpoints", f"{V4.peer}:{PORT}")
    assert (seen.status, seen.stdout) == (0, f"{V4.evil}\n"), seen.stderr
    (connect,) = seen.egress
    assert (connect["network.peer.address"], connect["egress.verdict"]) == (V4.peer, "allow")
    assert tampering(tmp_path) == [("bpf", "BPF_PROG_LOAD"), ("bpf", "BPF_LINK_CREATE")]


def test_an_instance_that_is_stopped_lets_go_of_all_though_its_exporter_goes_on(tmp_path: Path) -> None:
    """Nobody is accused of it, neither of what it did nor of what it left."""
    script = "echo ready; sleep 0.1; read -r _; echo over"
    options = ("--enforce", "--allowed-endpoints", f"{V4.peer}:{PORT}")
    with running(["sh", "-c", script], tmp_path, *options) as run:
        assert run.next_line() == "ready"
        instance = run.instance()
        wait_for((instance / "link_later_on_setsockopt").exists)
        links = links_in(instance)
        ci_egress("stop", instance.name, cwd=tmp_path)
        run.message("the programs were detached")
        wait_for(lambda: not links & attached().links)
        run.tell("go on")
        seen = run.end()
    assert (seen.status, seen.stdout) == (0, "over\n")
    assert "tampering" not in seen.stderr
    assert "left behind" not in seen.stderr
    assert [point.value for point in seen.metrics["cicd.egress.enforcing"]] == [0]
    assert not (tmp_path / "logs.jsonl").exists() or tampering(tmp_path) == []


FAILS_A_THOUSAND_TIMES = """
import ctypes, os, socket
libc = ctypes.CDLL(None)
with socket.socket() as client:
    try:
        client.connect(("255.255.255.255", 443))
    except OSError:
        pass
    for _ in range(1000):
        assert libc.connect(client.fileno(), b"    ", 4) == -1
"""


@pytest.mark.alone  # flows of sockets that other instances follow are counted, too
def test_a_connect_that_fails_before_it_is_an_act_fills_no_ring(lab: Lab, kernel: KernelSide) -> None:
    before = kernel.seen(wire.KIND_FLOW)
    kernel.run(lab, [sys.executable, "-c", FAILS_A_THOUSAND_TIMES])
    assert 2 <= kernel.seen(wire.KIND_FLOW) - before < 20, "the first error, and the end"
