"""Documents in folders that a job may have prepared: whole or not at all, and in the place that is meant."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.common import safe_files

LIMIT = 1000


@contextmanager
def size_limited(limit_bytes: int) -> Iterator[None]:
    """As a disk that is full beyond it: Python ignores SIGXFSZ, so a write says EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def nowhere_nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without files that have no name."""
    real = os.open

    def refusing(path: str, flags: int, *rest: int, **more: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refusing)


def test_what_could_be_written_is_found_out_without_writing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("kept")
    (tmp_path / "link").symlink_to("there")
    os.mkfifo(tmp_path / "fifo")
    for name in ("new", "there"):
        safe_files.probe(str(tmp_path / name))
    for name, number in {"link": errno.ELOOP, "fifo": errno.EINVAL, "gone/new": errno.ENOENT}.items():
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is looked at
            safe_files.probe(str(tmp_path / name))
        assert caught.value.errno == number
    assert sorted(each.name for each in tmp_path.iterdir()) == ["fifo", "link", "there"]
    assert (tmp_path / "there").read_text() == "kept"


def test_a_file_is_made_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    safe_files.append(str(path), b"one\n", LIMIT)
    safe_files.append(str(path), b"two\n", LIMIT)
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_relative_path_is_one_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    safe_files.append("summary.md", b"one", LIMIT)
    safe_files.replace("report.html", b"two")
    assert [(tmp_path / name).read_bytes() for name in ("summary.md", "report.html")] == [b"one", b"two"]


def test_what_goes_beyond_the_limit_is_not_appended_at_all(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_bytes(bytes(LIMIT - 3))
    with pytest.raises(OSError, match="it may have 1,000 bytes, and has 997"):
        safe_files.append(str(path), b"four", LIMIT)
    assert path.stat().st_size == LIMIT - 3


def test_half_of_it_is_taken_back_when_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_bytes(b"before")
    with size_limited(10), pytest.raises(OSError, match="File too large"):
        safe_files.append(str(path), b"more than four", LIMIT)
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_report_that_finds_no_room_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, is_there: bool
) -> None:
    path = tmp_path / "report.html"
    if is_there:
        path.write_bytes(b"old")
    with size_limited(10), pytest.raises(OSError, match="File too large"):
        safe_files.replace(str(path), bytes(100))
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == (
        {"report.html": b"old"} if is_there else {}
    )


@pytest.mark.parametrize("way", ["nameless", "named"])
def test_a_file_is_replaced_with_its_mode_kept(
    tmp_path: Path, way: str, request: pytest.FixtureRequest
) -> None:
    if way == "named":
        request.getfixturevalue("nowhere_nameless")
    path = tmp_path / "report.html"
    safe_files.replace(str(path), b"first")
    path.chmod(0o640)
    with path.open("rb") as reader:
        safe_files.replace(str(path), b"second")
        assert reader.read() == b"first"
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_a_name_of_any_length_is_taken(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 127)
    safe_files.replace(str(path), b"first")
    safe_files.replace(str(path), b"second")
    assert path.read_bytes() == b"second"


def place(how: str, path: str) -> None:
    if how == safe_files.APPEND:
        safe_files.append(path, b"x", LIMIT)
    else:
        safe_files.replace(path, b"x")


def link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def hard_link(path: Path, target: Path) -> None:
    path.hardlink_to(target)


def fifo(path: Path, _: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, _: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("prepare", [link, hard_link, fifo, folder])
@pytest.mark.parametrize("how", [safe_files.APPEND, safe_files.REPLACE])
def test_what_a_job_has_put_there_is_refused_at_once(tmp_path: Path, prepare: object, how: str) -> None:
    victim, path = tmp_path / "victim", tmp_path / "out.md"
    victim.write_bytes(b"precious")
    assert callable(prepare)
    prepare(path, victim)
    with pytest.raises(OSError, match=r"symbolic link|not a regular file with a single name"):
        place(how, str(path))
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("how", [safe_files.APPEND, safe_files.REPLACE])
def test_a_folder_that_is_a_link_is_refused(tmp_path: Path, how: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").symlink_to(tmp_path / "there")
    path = str(tmp_path / "here" / "out.md")
    with pytest.raises(OSError, match="symbolic link"):
        place(how, path)
    assert [*(tmp_path / "there").iterdir()] == []
