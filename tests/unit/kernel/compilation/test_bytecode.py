"""What was compiled is kept for the same input only, and only where nobody else could have written it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from exporter.kernel.compilation.bytecode import Bytecode, Cache, MapSpec, Request, default_cache

ANSWER: dict[str, Any] = {
    "bcc": "0.26.0",
    "maps": [
        {"name": "procs", "type": 1, "key_size": 4, "value_size": 40, "max_entries": 9, "flags": 1},
    ],
    "programs": {"on_exit": base64.b64encode(b"\xb7\0\0\0\0\0\0\0\x95\0\0\0\0\0\0\0").decode()},
}
BYTECODE = Bytecode(
    [MapSpec("procs", 1, 4, 40, 9, 1)], {"on_exit": bytes.fromhex("b7000000000000009500000000000000")}
)


@pytest.fixture
def headers(tmp_path: Path) -> Path:
    """A folder of headers."""
    folder = tmp_path / "bpf"
    (folder / "include").mkdir(parents=True)
    (folder / "egress.h").write_text("struct header {};\n")
    (folder / "include/version.h").write_text("#define VERSION 1\n")
    return folder


def request(headers: Path) -> Request:
    return Request("int on_exit() {}", [f"-I{headers}", "-DOFFSET=8"], headers)


def test_what_was_kept_is_found_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "a" / "cache")
    assert cache.get("digest") is None
    cache.put("digest", ANSWER)
    assert cache.get("digest") == Bytecode.of(ANSWER) == BYTECODE
    assert cache.get("another") is None


def test_another_input_has_another_digest(headers: Path) -> None:
    first = request(headers)
    digests = {first.digest()}
    digests.add(Request(first.source + "\n", first.flags, headers).digest())
    digests.add(Request(first.source, [*first.flags, "-DMORE"], headers).digest())
    (headers / "include/version.h").write_text("#define VERSION 2\n")
    digests.add(first.digest())
    (headers / "include/version.h").rename(headers / "include/other.h")
    digests.add(first.digest())
    assert len(digests) == 5


def test_the_place_of_the_checkout_makes_no_difference(headers: Path, tmp_path: Path) -> None:
    before = request(headers).digest()
    moved = headers.rename(tmp_path / "elsewhere")
    assert request(moved).digest() == before


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied", "another edition"])
def test_what_is_damaged_counts_as_absent_and_is_replaced(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path)
    cache.put("digest", ANSWER)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[:-5],
            "changed": whole.replace(b'"max_entries": 9', b'"max_entries": 8'),
            "emptied": b"",
            "another edition": whole.replace(b"bytecode 1", b"bytecode 0"),
        }[damage]
    )
    assert cache.get("digest") is None
    cache.put("digest", ANSWER)
    assert cache.get("digest") == BYTECODE


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"{}",
        b"null",
        b"not json",
        b"\xff",
        b"[" * 100_000,
        json.dumps(ANSWER | {"maps": {}, "programs": []}).encode(),
        json.dumps(ANSWER | {"maps": [{"name": "procs"}]}).encode(),
        json.dumps(ANSWER | {"maps": [ANSWER["maps"][0] | {"type": "1"}]}).encode(),
        json.dumps(ANSWER | {"maps": [ANSWER["maps"][0] | {"max_entries": -1}]}).encode(),
        json.dumps(ANSWER | {"programs": {"on_exit": None}}).encode(),
        json.dumps(ANSWER | {"programs": {"on_exit": ""}}).encode(),
        json.dumps(ANSWER | {"programs": {"on_exit": "AAA"}}).encode(),
    ],
    ids=lambda text: text[:60].decode(errors="replace"),
)
def test_what_no_compiler_printed_counts_as_absent_whatever_its_digest(tmp_path: Path, text: bytes) -> None:
    digest = hashlib.sha256(text).hexdigest().encode()
    (tmp_path / "digest.bytecode").write_bytes(b"ci-egress bytecode 1\n" + digest + b"\n" + text)
    (tmp_path / "digest.bytecode").chmod(0o600)
    assert Cache(tmp_path).get("digest") is None


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_folder_that_others_can_write_to_is_neither_read_nor_written(tmp_path: Path, mode: int) -> None:
    cache = Cache(tmp_path / "cache")
    cache.put("digest", ANSWER)
    (tmp_path / "cache").chmod(mode)
    assert cache.get("digest") is None
    cache.put("more", ANSWER)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_sticky_folder_above_is_no_reason_for_doubt(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    cache = Cache(tmp_path / "cache")
    cache.put("digest", ANSWER)
    assert cache.get("digest") == BYTECODE


@pytest.mark.parametrize("what", ["link", "fifo", "folder", "writable by others", "too large"])
def test_what_is_no_file_of_ours_alone_counts_as_absent_at_once(tmp_path: Path, what: str) -> None:
    cache = Cache(tmp_path)
    cache.put("digest", ANSWER)
    path = tmp_path / "digest.bytecode"
    match what:
        case "link":
            path.rename(tmp_path / "elsewhere")
            path.symlink_to("elsewhere")
        case "fifo":
            path.unlink()
            os.mkfifo(path, 0o600)
        case "folder":
            path.unlink()
            path.mkdir()
        case "writable by others":
            path.chmod(0o602)
        case "too large":
            os.truncate(path, (4 << 20) + 1)
        case _:
            pytest.fail(what)
    assert cache.get("digest") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="files of another user need root")
def test_a_file_of_another_user_counts_as_absent(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("digest", ANSWER)
    os.chown(tmp_path / "digest.bytecode", 65534, -1)
    assert cache.get("digest") is None


def test_what_was_kept_under_an_open_umask_is_ours_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Cache(tmp_path / "cache").put("digest", ANSWER)
    finally:
        os.umask(before)
    assert Cache(tmp_path / "cache").get("digest") == BYTECODE


def test_what_a_killed_writer_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    old, new = tmp_path / "digest.00000000.part", tmp_path / "digest.00000001.part"
    for path, age_s in ((old, 3700), (new, 3500)):
        path.write_bytes(b"ci-egress byte")
        os.utime(path, (time.time() - age_s,) * 2)
    Cache(tmp_path).put("digest", ANSWER)
    assert {path.name for path in tmp_path.iterdir()} == {"digest.bytecode", new.name}


def test_only_the_files_used_last_are_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for number in range(8):
        cache.put(f"{number}", ANSWER)
        os.utime(tmp_path / f"{number}.bytecode", (number, number))
    assert cache.get("0") == BYTECODE
    cache.put("new", ANSWER)
    assert {path.stem for path in tmp_path.iterdir()} == {"0", *map(str, range(2, 8)), "new"}


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file" / "cache")
    cache.put("digest", ANSWER)
    assert cache.get("digest") is None


def test_nothing_is_kept_for_a_user_whose_jobs_could_write_it() -> None:
    assert default_cache(1000) is None
    assert default_cache(0) is not None
