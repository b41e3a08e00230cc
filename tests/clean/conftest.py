"""The clone, prepared from the moment on when it is wanted first."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.clean.clone import Clone

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def clone() -> Iterator[Clone]:
    """Nothing of it stays."""
    with closing(Clone()) as made:
        yield made
