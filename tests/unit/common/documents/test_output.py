"""A file that a command makes is there as a whole, or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.common.documents.output import write_lines
from exporter.common.errors import UsageError


def test_a_new_file_has_the_lines_and_the_mode_that_the_user_gives_files(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_lines(tmp_path / "made", ["a", "é\ud800"])
    finally:
        os.umask(mask)
    assert (tmp_path / "made").read_bytes() == "a\né\ufffd\n".encode()
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o640


def test_a_file_that_was_there_keeps_its_mode_and_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "made"
    path.write_text("before\n")
    path.chmod(0o600)
    with path.open() as reader:
        write_lines(path, ["after"])
        assert reader.read() == "before\n"
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("after\n", 0o600)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_file_that_was_there_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "made"
    path.touch()
    os.chown(path, 65534, 65534)
    write_lines(path, ["after"])
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("made")
    write_lines(tmp_path / "link", ["a"])
    assert (tmp_path / "link").readlink() == Path("made")
    assert (tmp_path / "made").read_text() == "a\n"


def test_what_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "made"
    path.write_text("before\n")

    def lines() -> Iterator[str]:
        yield "a"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lines(path, lines())
    assert path.read_text() == "before\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "reason"), [("none/made", "No such file or directory"), ("x" * 300, "File name too long")]
)
def test_a_file_that_cannot_be_made_is_a_usage_error(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        write_lines(tmp_path / name, ["a"])
    assert list(tmp_path.iterdir()) == []


def test_a_loop_of_links_and_a_folder_are_usage_errors(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "loop", tmp_path):
        with pytest.raises(UsageError, match="cannot write"):
            write_lines(path, ["a"])
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_lines(tmp_path / "pipe", ["a"])
        assert os.read(reader, 100) == b"a\n"
    finally:
        os.close(reader)
