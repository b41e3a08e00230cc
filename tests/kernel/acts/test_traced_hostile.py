"""A job that tries to blind its tracer: one process's tricks cost the others nothing."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

import pytest

from exporter.kernel.pins import remove
from tests.kernel.lab import PORT, V4, Lab
from tests.kernel.running_exporter import PINS
from tests.kernel.tracing import names, trace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Programs

IN_A_DIRECTORY_TOO_DEEP = """
import os, socket, sys, time
os.chdir(sys.argv[1])
for _ in range(30):
    os.makedirs("d" * 200, exist_ok=True)
    os.chdir("d" * 200)
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in (9, 10):
    out.sendto(b"x", ("127.0.0.1", port))
    time.sleep(0.1)
"""
CONNECTED_UDPLITE_TO_A_MAPPED_ADDRESS = """
import socket, sys
out = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, 136)
out.connect(("::ffff:" + sys.argv[1], int(sys.argv[2])))
out.send(b"x")
out.send(b"x")
"""
UNDER_A_NAME_OF_ITS_CHOICE = """
mount -t tmpfs t /mnt && mkdir -p /mnt/usr/bin && cp "$1" /mnt/usr/bin/git && cd /mnt && umount -l /mnt
shift; ./usr/bin/git "$@"; exit $?
"""


def test_a_working_directory_that_cannot_be_read_costs_nothing_but_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IN_A_DIRECTORY_TOO_DEEP, str(tmp_path)]
    seen = trace(None, command, tmp_path / "otlp")
    assert seen.status == 0
    assert names(seen.egress) == {"send 127.0.0.1:9": 1, "send 127.0.0.1:10": 1}
    assert all("process.working_directory" not in span.attributes for span in seen.egress)
    assert "Traceback" not in seen.stderr


def test_udplite_connected_to_a_mapped_address_is_seen_at_each_send(lab: Lab, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CONNECTED_UDPLITE_TO_A_MAPPED_ADDRESS, V4.peer, str(PORT)]
    with lab.watch() as arrived:
        seen = trace(lab, command, tmp_path)
    assert names(seen.egress) == {f"send {V4.peer}:{PORT}": 2}
    assert sum(arrived.arrivals.packets.values()) == 2


def test_a_detached_mount_is_no_root_for_a_path(programs: Programs, tmp_path: Path) -> None:
    binary, *act = programs.act("connect", "127.0.0.1", PORT)
    script = ["unshare", "-m", "sh", "-c", UNDER_A_NAME_OF_ITS_CHOICE, "sh", binary, *act]
    seen = trace(None, script, tmp_path)
    (span,) = seen.egress
    assert span["process.executable.path"] == "…/usr/bin/git"
    assert "process.executable.path" in span["egress.truncated"]  # type: ignore[operator]


DETACHED_ITSELF = """
mount -t tmpfs none /mnt && cp "$1" /mnt/runtime && touch /mnt/place && mount --bind /mnt/runtime /mnt/place
exec 3</mnt/place && umount --lazy /mnt/place && shift && /proc/self/fd/3 "$@"
"""
"""As container runtimes execute their own file, so that a container can't write to it."""


def test_a_file_that_is_a_detached_mount_has_its_own_name(programs: Programs, tmp_path: Path) -> None:
    binary, *act = programs.act("connect", "127.0.0.1", PORT)
    seen = trace(None, ["unshare", "-m", "sh", "-c", DETACHED_ITSELF, "sh", binary, *act], tmp_path)
    (span,) = seen.egress
    assert span["process.executable.path"] == "…/runtime"
    assert span["egress.lineage"] == ["dash", "runtime"]
    assert "process.executable.path" in span["egress.truncated"]  # type: ignore[operator]


@pytest.mark.alone  # anybody's start would sweep it
@pytest.mark.parametrize("junk", ["a folder of folders", "a file system's own"])
def test_junk_among_the_pins_hinders_no_start(tmp_path: Path, junk: str) -> None:
    folder = PINS / f"test-{os.getpid()}-{tmp_path.name}"
    inner = folder / ("map_config" if "own" in junk else "sub")
    PINS.mkdir(mode=0o700, exist_ok=True)
    inner.mkdir(parents=True)
    try:
        seen = trace(None, ["sh", "-c", f"echo {shlex.quote(junk)}"], tmp_path / "otlp")
    finally:
        remove(folder)
    assert (seen.status, seen.stdout) == (0, f"{junk}\n")
