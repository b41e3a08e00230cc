"""What systemd is told, on a socket of its own, and on whatever else NOTIFY_SOCKET may name."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from exporter.common.systemd import notify


def listening(address: str | bytes) -> socket.socket:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(address)
    receiver.settimeout(5)
    return receiver


def test_a_socket_of_the_file_system_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with listening(path) as receiver:
        notify("READY=1", {"NOTIFY_SOCKET": path})
        assert receiver.recv(100) == b"READY=1"


def test_an_abstract_socket_is_told() -> None:
    name = f"ci-egress-test-{os.getpid()}"
    with listening(f"\0{name}") as receiver:
        notify("STOPPING=1", {"NOTIFY_SOCKET": f"@{name}"})
        assert receiver.recv(100) == b"STOPPING=1"


def test_an_abstract_name_may_hold_an_at_sign_and_bytes_that_are_no_text() -> None:
    name = f"ci-egress@{os.getpid()}".encode() + b"\xff"
    with listening(b"\0" + name) as receiver:
        notify("READY=1", {"NOTIFY_SOCKET": "@" + os.fsdecode(name)})
        assert receiver.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "relative/path"},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"NOTIFY_SOCKET": "/nowhere/at/all"},
        {"NOTIFY_SOCKET": "/dev/null"},
        {"NOTIFY_SOCKET": "/" + "x" * 5000},
        {"NOTIFY_SOCKET": "@"},
        {"NOTIFY_SOCKET": "@nobody-listens"},
        {"NOTIFY_SOCKET": "@" + "x" * 5000},
        {"NOTIFY_SOCKET": "/\udcff\udcfe"},
    ],
)
def test_anything_else_is_passed_over(environment: dict[str, str], tmp_path: Path) -> None:
    notify("READY=1", environment)
    assert list(tmp_path.iterdir()) == []


def test_one_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with listening(path), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.connect(path)
        other.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                other.send(b"full")
        notify("READY=1", {"NOTIFY_SOCKET": path})
