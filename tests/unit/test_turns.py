"""Tests take turns: who must be alone is, and who only prepares holds up nobody."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

import pytest

from tests import turns

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another one than that of the tests which run."""
    path = tmp_path / "tests.lock"
    monkeypatch.setattr(turns, "LOCK", path)
    return path


def is_free(lock: Path, kind: int) -> bool:
    """Whether somebody else could have a turn of this kind."""
    with lock.open("a") as mine:
        try:
            fcntl.flock(mine, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@pytest.mark.parametrize("alone", [False, True])
def test_others_trace_meanwhile_unless_it_must_be_alone(lock: Path, *, alone: bool) -> None:
    with turns.turn(alone=alone):
        assert is_free(lock, fcntl.LOCK_SH) is not alone
        assert not is_free(lock, fcntl.LOCK_EX)
    assert is_free(lock, fcntl.LOCK_EX)


@pytest.mark.parametrize("alone", [False, True])
def test_a_turn_that_is_left_is_the_same_afterwards(lock: Path, *, alone: bool) -> None:
    with turns.turn(alone=alone):
        with turns.turn_left():
            assert is_free(lock, fcntl.LOCK_EX)
        assert is_free(lock, fcntl.LOCK_SH) is not alone
        assert not is_free(lock, fcntl.LOCK_EX)
