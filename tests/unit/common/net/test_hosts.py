"""/etc/hosts: the first name of an address, read again when it changed, and never what is no name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.common.net.hosts import HostsFile, parse_hosts
from tests.fuzz.hosts import is_sound
from tests.unit.dns_samples import mapped

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (b"192.0.2.7 db.internal db", {mapped("192.0.2.7"): "db.internal"}),
        (b"\t192.0.2.7\tDB.Internal\r", {mapped("192.0.2.7"): "db.internal"}),
        (b"192.0.2.7 db # other", {mapped("192.0.2.7"): "db"}),
        (b"2001:db8::7 v6", {bytes.fromhex("20010db8000000000000000000000007"): "v6"}),
        (b"::ffff:192.0.2.7 mapped", {mapped("192.0.2.7"): "mapped"}),
        (b"192.0.2.7 first\n192.0.2.7 second", {mapped("192.0.2.7"): "first"}),
        (b"127.0.0.1 localhost build\n127.0.1.1 runner\n::1 ip6-localhost", {}),
        (b"0.0.0.0 blocked.example\n:: blocked.example", {}),
        (b"::ffff:127.0.0.1 trick", {}),
        (b"fe80::1%eth0 router", {}),
        (b"192.0.2.7", {}),
        (b"# 192.0.2.7 db", {}),
        (b"192.0.2.7 # db", {}),
        (b"192.0.2.300 db\n192.0.2 db\n0x7f000001 db", {}),
        (b"192.0.2.7 <script>", {}),
        (b"192.0.2.7 a\x1b[31m", {}),
        (b"192.0.2.7 caf\xc3\xa9", {}),
        (b"192.0.2.7 " + b"a" * 300, {}),
        (b"\xff\xfe\x00", {}),
        (b"", {}),
    ],
)
def test_a_line(line: bytes, names: dict[bytes, str]) -> None:
    assert parse_hosts(line) == names


@given(st.binary(max_size=400))
def test_no_text_gives_anything_but_names(text: bytes) -> None:
    is_sound(b"192.0.2.7 " + text)


def test_a_change_shows_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("192.0.2.7 before\n")
    hosts = HostsFile(path)
    assert hosts.name_of(mapped("192.0.2.7"), 0) == "before"
    path.write_text("192.0.2.7 after\n")
    os.utime(path, ns=(1, 1))
    assert hosts.name_of(mapped("192.0.2.7"), SECOND - 1) == "before"
    assert hosts.name_of(mapped("192.0.2.7"), SECOND) == "after"
    path.unlink()
    assert hosts.name_of(mapped("192.0.2.7"), 2 * SECOND) is None
    path.write_text("192.0.2.7 again\n")
    assert hosts.name_of(mapped("192.0.2.7"), 3 * SECOND) == "again"


def test_what_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("192.0.2.7 before\n")
    os.utime(path, ns=(1, 1))
    hosts = HostsFile(path)
    assert hosts.name_of(mapped("192.0.2.7"), 0) == "before"
    path.write_text("192.0.2.7 middle\n")  # as long, and as old
    os.utime(path, ns=(1, 1))
    assert hosts.name_of(mapped("192.0.2.7"), SECOND) == "before"


def test_what_is_no_file_has_no_names(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, tmp_path, tmp_path / "missing"):
        assert HostsFile(path).name_of(mapped("192.0.2.7"), 0) is None


def test_a_huge_file_is_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"192.0.2.7 first\n" + b"#" * (2 << 20) + b"\n192.0.2.8 last\n")
    hosts = HostsFile(path)
    assert hosts.name_of(mapped("192.0.2.7"), 0) == "first"
    assert hosts.name_of(mapped("192.0.2.8"), 0) is None
