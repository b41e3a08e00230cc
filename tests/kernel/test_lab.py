"""The lab counts right, hides nothing from its programs, and leaves nothing behind."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.namespaces import Namespace

from .arrivals import UDP, Endpoint, Packet
from .lab import CLOSED_PORT, V4, Lab
from .observation import observe
from .running_exporter import wait_for

if TYPE_CHECKING:
    from .conftest import Programs


def test_the_packet_count_sees_what_no_server_takes(lab: Lab, programs: Programs) -> None:
    closed = Endpoint(V4.evil, CLOSED_PORT)
    assert observe(lab, programs.act("udp-sendto", *closed)).packets == {Packet(UDP, closed): 1}


def test_commands_keep_the_mounts_of_the_host(lab: Lab) -> None:
    inside = lab.run(["readlink", "/proc/self/ns/mnt", "/proc/self/ns/net"]).stdout.split()
    assert inside[0] == str(Path("/proc/self/ns/mnt").readlink())
    assert inside[1] != str(Path("/proc/self/ns/net").readlink())


def namespaces() -> set[int]:
    """Network namespaces that this process holds, or has threads in; a number may be another's later."""
    held = set[int]()
    for path in (*Path("/proc/self/task").glob("*/ns/net"), *Path("/proc/self/fd").glob("*")):
        with suppress(FileNotFoundError):
            held.add(path.stat().st_ino)
    return held


def fail_inside_a_lab(made: list[int]) -> None:
    """Note the namespaces, then raise ZeroDivisionError with everything running."""
    with Lab() as lab:
        made += [Path(side.path).stat().st_ino for side in (lab.build, lab.peer)]
        raise ZeroDivisionError


def test_a_failure_inside_leaves_no_namespace_and_no_thread() -> None:
    threads = set(threading.enumerate())
    made: list[int] = []
    with pytest.raises(ZeroDivisionError):
        fail_inside_a_lab(made)
    assert len(set(made)) == 2
    assert set(threading.enumerate()) <= threads
    wait_for(lambda: namespaces().isdisjoint(made))  # a thread that was joined is still there for a moment


def test_a_namespace_has_nothing_but_loopback() -> None:
    with Namespace() as namespace:
        names = namespace.call(Path("/proc/thread-self/net/dev").read_text).result().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in names] == ["lo"]
