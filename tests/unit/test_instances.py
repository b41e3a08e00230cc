"""Pin directories, here in an ordinary folder: who may use, sweep and remove them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.errors import KernelError
from exporter.kernel.instances import new_instance, remove, sweep


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
    assert list((tmp_path / "ci-egress").iterdir()) == []


def test_it_goes_also_when_the_instance_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_instance(tmp_path):
        raise RuntimeError
    assert list((tmp_path / "ci-egress").iterdir()) == []


def test_a_start_sweeps_the_dead_and_spares_the_living(tmp_path: Path) -> None:
    dead, alive = (tmp_path / "ci-egress" / name for name in ("dead", "alive"))
    for directory in (dead, alive):
        directory.mkdir(parents=True)
    (dead / "map_left").touch()
    (tmp_path / "ci-egress").chmod(0o700)
    with held(alive), new_instance(tmp_path) as own:
        assert set((tmp_path / "ci-egress").iterdir()) == {alive, own}
    assert sweep(tmp_path / "ci-egress") == [alive], "its lock is free now"


def test_an_instance_that_ends_meanwhile_is_no_error(tmp_path: Path) -> None:
    directory = tmp_path / "gone"
    directory.mkdir()
    remove(directory)
    remove(directory)
    assert sweep(tmp_path) == []


def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "ci-egress"
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(KernelError, match=r"not ours alone: .*; as root: rm -r "), new_instance(tmp_path):
        pytest.fail("it was used")


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "ci-egress").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KernelError, match="not ours alone"), new_instance(tmp_path):
        pytest.fail("it was used")


def test_where_nothing_can_be_made_it_says_what_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"cannot use .*; run as root"), new_instance(tmp_path / "missing"):
        pytest.fail("it was used")
