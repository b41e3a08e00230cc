"""Threads that share a table of descriptors are told from those that have their own."""

from __future__ import annotations

import errno
import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.kernel.frames import descriptors
from exporter.kernel.frames.descriptors import Tables
from exporter.kernel.libc import LIBC, checked

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_FILES = 0x400


@contextmanager
def threads(own: list[bool]) -> Iterator[list[int]]:
    """Threads, each with a table of its own or not."""
    ready, is_over = threading.Barrier(len(own) + 1), threading.Event()
    numbers: list[int] = []

    def live(*, has_own: bool) -> None:
        if has_own:
            checked(LIBC.unshare(CLONE_FILES))
        numbers.append(threading.get_native_id())
        ready.wait()
        is_over.wait()

    started = [threading.Thread(target=live, kwargs={"has_own": each}) for each in own]
    for thread in started:
        thread.start()
    ready.wait()
    try:
        yield numbers
    finally:
        is_over.set()
        for thread in started:
            thread.join()


def test_each_table_is_met_once() -> None:
    tables = Tables()
    with threads([True, False] * 8) as numbers:
        met = [tables.meets_another(number) for number in [os.getpid(), *numbers, *numbers]]
    assert (met[0], sum(met)) == (True, 1 + 8)


def test_a_thread_that_is_gone_neither_counts_nor_hides_what_it_shared() -> None:
    tables = Tables()
    with threads([False]) as (gone,):
        assert tables.meets_another(gone)
    while Path(f"/proc/{gone}").exists():
        time.sleep(0.001)
    assert tables.meets_another(os.getpid())
    assert not tables.meets_another(gone)
    assert not tables.meets_another(os.getpid())


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM])
def test_where_the_kernel_compares_none_each_thread_counts(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(descriptors, "system_call", refuse)
    tables = Tables()
    assert all(tables.meets_another(number) for number in (1, 2, 1))
