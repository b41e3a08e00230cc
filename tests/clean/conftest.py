"""The places, prepared from the moment on when it is known that they are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clean.places import PLACES, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLACES = pytest.StashKey[dict[str, Place]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin with what the chosen tests are about."""
    wanted = {name for item in session.items for name in _wanted(item)}
    if not session.config.option.collectonly:
        session.config.stash[_PLACES] = {name: Place(name) for name in PLACES if name in wanted}


def _wanted(item: pytest.Item) -> Iterator[str]:
    callspec = getattr(item, "callspec", None)
    if callspec and "place" in item.fixturenames:  # type: ignore[attr-defined]
        yield callspec.params["place"]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind, however the run ends."""
    for place in config.stash.get(_PLACES, {}).values():
        place.leave()


@pytest.fixture(scope="session", params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """Each place."""
    places: dict[str, Place] = request.config.stash[_PLACES]
    return places[request.param]
