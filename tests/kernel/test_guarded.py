"""Networks that are looked after, and what becomes of those for which there was no room."""

from __future__ import annotations

import os
import resource
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.namespaces import Namespace
from exporter.events import HOST, ProcessKey, Tampered, Tampering
from exporter.kernel.guarded import Guarded

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

WHO = Tampered(0, ProcessKey(os.getpid(), 0), 0, 0, 0, HOST, Tampering.FRAMES, 0, 1)


class Exits:
    """Programs at interfaces, of which this is no test."""

    def cover(self, _until_s: float) -> bool:
        return True

    def withdraw(self) -> None:
        """None is there."""


@contextmanager
def few_descriptors() -> Iterator[None]:
    """During the block, some can be opened, and none is to spare."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    newest = os.dup(0)
    os.close(newest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (newest + 16, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_network_without_room_is_told_once_and_looked_after_once_there_is() -> None:
    told: list[int] = []
    guarded = Guarded(Exits(), lambda _, reason: told.append(reason))
    with Namespace() as namespace:
        path = Path(namespace.path)
        number = path.stat().st_ino
        with few_descriptors():
            for _ in range(3):
                guarded.take_in(path, WHO, time.monotonic())
        assert number not in guarded
        guarded.take_in(path, WHO, time.monotonic())
        assert number in guarded
        guarded.keep_only(())
    assert [os.strerror(reason) for reason in told] == ["Too many open files"]
