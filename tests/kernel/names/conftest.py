"""Fixtures of tests of names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernel.lookups import Lookups, reading_lookups
from tests.kernel.running_exporter import nothing_left

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def lookups() -> Iterator[Lookups]:
    """The programs that read DNS messages, attached once for the module."""
    with nothing_left(), reading_lookups() as lookups:
        yield lookups
