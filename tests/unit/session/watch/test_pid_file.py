"""The file by which scripts wait for a daemon."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.common.errors import UsageError
from exporter.session.watch.pid_file import pid_file

if TYPE_CHECKING:
    from collections.abc import Callable


def test_it_is_there_from_when_it_is_ready_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with pid_file(path) as be_ready:
        assert not path.exists()
        be_ready()
        assert path.read_text() == f"{os.getpid()}\n"
        assert list(tmp_path.iterdir()) == [path]
    assert list(tmp_path.iterdir()) == []


def test_nobody_else_can_write_to_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with pid_file(tmp_path / "pid") as be_ready:
            be_ready()
            assert (tmp_path / "pid").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


def test_who_guesses_the_name_of_what_becomes_it_gains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")
    other = tmp_path / "other"
    other.write_text("precious")
    (tmp_path / ".guessed").symlink_to(other)
    with pytest.raises(UsageError, match="File exists"), pid_file(tmp_path / "pid"):
        pytest.fail("it began")
    assert other.read_text() == "precious"


def test_what_another_one_left_is_gone_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("1\n")
    with pid_file(path):
        assert not path.exists()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_link_that_stands_there_is_replaced_and_not_followed(tmp_path: Path, when: str) -> None:
    path, other = tmp_path / "pid", tmp_path / "other"
    other.write_text("precious")
    if when == "before":
        path.symlink_to(other)
    with pid_file(path) as be_ready:
        if when == "meanwhile":
            path.symlink_to(other)
        be_ready()
        assert not path.is_symlink()
    assert other.read_text() == "precious"


def test_another_ones_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with pid_file(path) as be_ready:
        be_ready()
        path.write_text("1\n")
    assert path.read_text() == "1\n"


@pytest.mark.parametrize("prepare", [os.mkfifo, os.mkdir, lambda path: Path(path).write_bytes(b"\xff\xfe")])
def test_what_is_put_in_its_place_is_not_waited_for(
    tmp_path: Path, prepare: Callable[[Path], object]
) -> None:
    path = tmp_path / "pid"
    with pid_file(path) as be_ready:
        be_ready()
        path.unlink()
        prepare(path)
    assert path.exists()


def test_it_goes_whatever_ends_it(tmp_path: Path) -> None:
    def fail() -> None:
        with pid_file(tmp_path / "pid") as be_ready:
            be_ready()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_of_one_that_was_never_ready_nothing_stays(tmp_path: Path) -> None:
    with pid_file(tmp_path / "pid"):
        assert list(tmp_path.iterdir()) == []  # not even if it is killed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("place", "why"), [("folder/pid", "No such file"), ("file/pid", "Not a directory")])
def test_where_it_cannot_be_made_that_is_said_at_the_start(tmp_path: Path, place: str, why: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=f"cannot write .*: {why}"), pid_file(tmp_path / place):
        pytest.fail("it began")


def test_without_one_nothing_happens() -> None:
    with pid_file(None) as be_ready:
        be_ready()
