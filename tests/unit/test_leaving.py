"""What becomes of what a watch holds when it ends although nobody asked it to."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from exporter.cli.leaving import held_unless_asked

if TYPE_CHECKING:
    from exporter.kernel.tracer import Tracer


class Kernel:
    """What is done with the programs."""

    def __init__(self, *, denies: bool) -> None:
        self._denies = denies
        self.done: list[str] = []

    def denies(self) -> bool:
        return self._denies

    def let_it_go_on(self) -> None:
        self.done.append("let it go on")

    def detach(self) -> None:
        self.done.append("detach")


@pytest.mark.parametrize("error", [SystemExit, MemoryError])
def test_what_is_denied_is_left_as_it_is(error: type[BaseException]) -> None:
    kernel = Kernel(denies=True)
    with pytest.raises(error), held_unless_asked(cast("Tracer", kernel)):
        raise error
    assert kernel.done == ["let it go on", "detach"]


def test_where_nothing_is_denied_or_the_end_was_asked_for_nothing_is_left() -> None:
    told, asked = Kernel(denies=False), Kernel(denies=True)
    with pytest.raises(SystemExit), held_unless_asked(cast("Tracer", told)):
        raise SystemExit
    with held_unless_asked(cast("Tracer", asked)):
        pass
    assert (told.done, asked.done) == ([], [])
