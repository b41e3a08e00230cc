"""The places, all prepared from the moment on when the first of them is wanted."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.clean.places import PLACES, Place

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def places(request: pytest.FixtureRequest) -> Iterator[dict[str, Place]]:
    """Those that the chosen tests are about, by their names; nothing of them stays."""
    chosen = {
        item.callspec.params.get("place") for item in request.session.items if hasattr(item, "callspec")
    }
    with ExitStack() as stack:
        begun = {}
        for name in PLACES:
            if name in chosen:
                begun[name] = Place(name)
                stack.callback(begun[name].leave)
        yield begun


@pytest.fixture(scope="session", params=PLACES)
def place(request: pytest.FixtureRequest, places: dict[str, Place]) -> Place:
    """Each place."""
    name: str = request.param
    return places[name]
