"""What holds for all tests of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.command_process import end_started

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """End the drivers that a failed test left; else the next one is blamed for them."""
    yield
    end_started()
