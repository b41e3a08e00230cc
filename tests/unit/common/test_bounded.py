"""Files that aren't read to their end, nor for as long as that takes."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from functools import partial
from queue import Queue
from typing import TYPE_CHECKING

import pytest

from exporter.common import bounded
from exporter.common.bounded import READERS_MAX, Readers, beginning_of

AN_HOUR_S = 3600.0
"""For what must not be waited for: whoever does so all the same runs into the time that a test has."""

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What can't be read before the end of the test; who had no patience has none until then."""
    monkeypatch.setattr(bounded, "_WHILE_S", AN_HOUR_S)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    yield path
    with ExitStack() as stack:  # whoever waits for a writer gets one
        stack.callback(os.close, os.open(path, os.O_RDWR))
        time.sleep(0.1)


@pytest.fixture
def short(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


def test_of_a_longer_file_the_beginning_is_read(short: Path) -> None:
    assert (beginning_of(short, 3), beginning_of(short, 100)) == (b"con", b"content")


def stick(readers: Readers, number: int, stuck: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have so many of them wait for it; for the first one it is waited patiently, and never again."""
    for _ in range(number):
        with pytest.raises(TimeoutError):
            readers.beginning_of(stuck, 1)
        monkeypatch.setattr(bounded, "PATIENCE_S", AN_HOUR_S)


def test_who_waits_for_one_file_doesnt_keep_another_from_being_read(
    stuck: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = Readers()
    stick(readers, READERS_MAX - 1, stuck, monkeypatch)
    monkeypatch.setattr(bounded, "IMPATIENCE_S", 60.0)  # as a busy machine may need
    assert readers.beginning_of(short, 100) == b"content"


def test_where_all_are_stuck_another_is_started_if_there_may_be_more(
    stuck: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = Readers()
    readers.most = READERS_MAX + 2
    stick(readers, READERS_MAX + 1, stuck, monkeypatch)
    monkeypatch.setattr(bounded, "IMPATIENCE_S", 60.0)  # as a busy machine may need
    assert readers.beginning_of(short, 100) == b"content"
    assert readers.held_up_by == ()


def test_where_all_are_stuck_nothing_is_waited_for_until_one_isnt(
    stuck: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = Readers()
    stick(readers, READERS_MAX, stuck, monkeypatch)
    monkeypatch.setattr(bounded, "IMPATIENCE_S", AN_HOUR_S)
    assert readers.held_up_by == ()
    with pytest.raises(OSError, match="busy"):
        readers.beginning_of(short, 100)
    assert len(readers.held_up_by) == READERS_MAX
    os.close(os.open(stuck, os.O_RDWR))  # all that wait for it go on
    deadline_s = time.monotonic() + 60
    block = b""
    while not block and time.monotonic() < deadline_s:
        with suppress(OSError):
            block = readers.beginning_of(short, 100)
    assert block == b"content"


def test_what_cannot_be_read_is_raised_where_it_was_asked_for(tmp_path: Path) -> None:
    readers = Readers()
    with pytest.raises(FileNotFoundError):
        readers.beginning_of(tmp_path / "none", 1)
    with pytest.raises(IsADirectoryError):
        readers.beginning_of(tmp_path, 1)


def test_about_a_process_where_one_is_stuck_no_other_is_asked(
    stuck: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers, read = Readers(), partial(beginning_of, short, 100)
    with pytest.raises(TimeoutError):
        readers.within(partial(beginning_of, stuck, 1), about=7)
    monkeypatch.setattr(bounded, "IMPATIENCE_S", 60.0)  # as a busy machine may need
    with pytest.raises(OSError, match="it lets its readers wait"):
        readers.within(read, about=7)
    assert (readers.is_stuck_at(7), readers.is_stuck_at(8)) == (True, False)
    assert readers.within(read, about=8) == b"content"
    readers.note_stuck(9)
    assert not readers.is_stuck_at(9), "the latest one isn't stuck"


def test_what_comes_too_late_is_discarded(stuck: Path) -> None:
    late, readers = Queue[int](), Readers()
    with pytest.raises(TimeoutError):
        readers.within(partial(os.open, stuck, os.O_RDONLY), about=7, discard=late.put)
    os.close(os.open(stuck, os.O_RDWR))  # whoever waits for it goes on
    os.close(late.get(timeout=60))
