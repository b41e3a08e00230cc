"""Pin directories, here in an ordinary folder: who may use, sweep and remove them."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.common.errors import KernelError
from exporter.kernel.locks import changing_modes
from exporter.kernel.pins import home_of, new_instance, remove, sweep


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """As a live instance holds its directory."""
    descriptor = os.open(directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def test_an_instance_has_a_directory_of_its_own_and_takes_it_away(tmp_path: Path) -> None:
    with new_instance(tmp_path) as first, new_instance(tmp_path) as second:
        assert first != second
        assert first.stat().st_mode & 0o777 == 0o700
        assert first.parent.stat().st_mode & 0o777 == 0o700
        (second / "map_left").touch()
    assert list((home_of(os.geteuid(), tmp_path)).iterdir()) == []


def test_it_goes_also_when_the_instance_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_instance(tmp_path):
        raise RuntimeError
    assert list((home_of(os.geteuid(), tmp_path)).iterdir()) == []


def test_a_change_of_a_mode_puts_nothing_where_somebody_removes_the_pins(tmp_path: Path) -> None:
    with new_instance(tmp_path) as own:
        pins = list(own.iterdir())
        with changing_modes(own):
            assert list(own.iterdir()) == pins
        for pin in pins:
            pin.rmdir()
        with changing_modes(own):
            own.rmdir()


def test_a_start_sweeps_the_dead_and_spares_the_living(tmp_path: Path) -> None:
    dead, alive = (home_of(os.geteuid(), tmp_path) / name for name in ("dead", "alive"))
    for directory in (dead, alive):
        directory.mkdir(parents=True)
    (dead / "map_left").touch()
    (home_of(os.geteuid(), tmp_path)).chmod(0o700)
    with held(alive), new_instance(tmp_path) as own:
        assert set((home_of(os.geteuid(), tmp_path)).iterdir()) == {alive, own}
    assert sweep(home_of(os.geteuid(), tmp_path)) == [alive], "its lock is free now"


def test_what_is_pinned_while_an_instance_is_removed_goes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pin_at_its_end(directory: Path) -> None:
        monkeypatch.undo()
        (directory / "link_later").touch()
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    monkeypatch.setattr(shutil, "rmtree", pin_at_its_end)
    with new_instance(tmp_path) as own:
        assert remove(own)
        assert not own.exists()


def test_an_instance_that_ends_meanwhile_is_no_error(tmp_path: Path) -> None:
    directory = tmp_path / "gone"
    directory.mkdir()
    remove(directory)
    remove(directory)
    assert sweep(tmp_path) == []


def test_where_connections_cannot_be_looked_for_it_is_told(tmp_path: Path) -> None:
    """Something that is no map stands in the place of one; where there is none, nothing was dropped."""
    told = list[str]()
    directory = tmp_path / "own"
    directory.mkdir()
    assert remove(directory, told.append)
    assert told == []
    directory.mkdir()
    (directory / "map_kept_back").touch()
    assert remove(directory, told.append)
    assert [line.partition(":")[0] for line in told] == [
        "connections couldn't be looked for, and may send what the policy dropped"
    ]


def test_a_start_tells_it_of_what_it_sweeps_and_in_the_end_of_its_own(tmp_path: Path) -> None:
    told = list[str]()
    dead = home_of(os.geteuid(), tmp_path) / "dead"
    dead.mkdir(parents=True)
    dead.parent.chmod(0o700)
    (dead / "map_kept_back").touch()
    with new_instance(tmp_path, told.append) as own:
        assert not dead.exists()
        assert len(told) == 1
        (own / "map_kept_back").touch()
    assert [line.partition(" and ")[0] for line in told] == ["connections couldn't be looked for,"] * 2


@pytest.mark.parametrize("squat", ["directory", "link"])
def test_what_somebody_else_put_in_its_place_is_moved_aside_and_not_used(tmp_path: Path, squat: str) -> None:
    home = home_of(os.geteuid(), tmp_path)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(0o777)
    if squat == "link":
        home.symlink_to(theirs)
    else:
        theirs.rename(home)
    with new_instance(tmp_path) as own:
        assert home.lstat().st_mode & 0o777 == 0o700
        assert own.parent == home
    (aside,) = [path for path in tmp_path.iterdir() if ".not-ours." in path.name]
    assert list(aside.iterdir()) == []


def test_each_user_has_a_home_of_its_own(tmp_path: Path) -> None:
    assert len({home_of(uid, tmp_path) for uid in (0, 1, 1000)}) == 3


def test_where_nothing_can_be_made_it_says_what_to_look_at(tmp_path: Path) -> None:
    with (
        pytest.raises(KernelError, match=r"cannot use .*; see that bpffs"),
        new_instance(tmp_path / "missing"),
    ):
        pytest.fail("it was used")


def test_what_somebody_else_put_there_goes_too(tmp_path: Path) -> None:
    with new_instance(tmp_path) as own:
        (own / "aaa" / "deeper").mkdir(parents=True)
        (own / "link_nowhere").symlink_to("/nonexistent")
        (own / "link_folder").mkdir()
        (own / "map_left").touch()
    assert not own.exists()
