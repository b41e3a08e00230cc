"""Every network namespace of this machine, also where a process lets its readers wait."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from exporter.kernel.frames import network_namespaces
from exporter.kernel.frames.network_namespaces import everywhere

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("error", "is_told"), [(errno.EBUSY, True), (errno.ETIMEDOUT, True), (errno.ENOENT, False)]
)
def test_one_that_lets_its_readers_wait_is_told_and_one_that_has_ended_is_not(
    monkeypatch: pytest.MonkeyPatch, error: int, *, is_told: bool
) -> None:
    def fails(_: Path) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(network_namespaces, "opened", fails)
    assert set(everywhere()) == ({None} if is_told else set())
