"""What becomes of what is held when COMMAND ends, or a watch although nobody asked it to."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, cast

import pytest

from exporter.kernel.instances.scope_end import end_scope
from exporter.kernel.maps.registry import JobMode
from exporter.session import left_processes
from exporter.session.left_processes import end_what_is_left, held_unless_asked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.events.facts import ProcessKey
    from exporter.kernel.tracer import Tracer


class Kernel:
    """What is done with the programs."""

    def __init__(self, *, denies: bool) -> None:
        self._denies = denies
        self.outlives = True
        self.done: list[str] = []

    def denies(self) -> bool:
        return self._denies

    def let_it_go_on(self) -> bool:
        self.done.append("let it go on")
        return self.outlives

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


class Hopped(Kernel):
    """Its processes are others all the time, and nobody ever meets one."""

    name = "3f9c51d0a2b7e684"

    def __init__(self) -> None:
        super().__init__(denies=True)
        self._made = count()
        self.processes = self

    def mode(self, _scope: int) -> JobMode:
        return JobMode.ENFORCE

    def is_attached(self) -> bool:
        return True

    def live(self, _scope: int) -> list[ProcessKey]:
        return []

    def made(self, _scope: int) -> int:
        return next(self._made)

    def meet(self, _scope: int, _most_s: float) -> Iterator[ProcessKey]:
        return iter(())

    def let_go_of_others(self, _goes_on: object) -> None:
        self.done.append("let go of others")


@pytest.mark.parametrize("outlives", [True, False])
def test_what_forks_on_and_is_never_met_stays_denied_by_what_outlives(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, outlives: bool
) -> None:
    monkeypatch.setattr(left_processes, "end_scope", partial(end_scope, limit_s=0.05))
    kernel = Hopped()
    kernel.outlives = outlives
    end_what_is_left(cast("Tracer", kernel), 1)
    assert kernel.done == ["let it go on", *(["let go of others"] if outlives else [])]
    told = "processes left behind by COMMAND fork faster than they can be ended and "
    denied = f"stay denied; once they are gone: `ci-egress stop {kernel.name}`"
    free = "are held to nothing any more, for `--on-exporter-death open`"
    assert f"{told}{denied if outlives else free}" in capsys.readouterr().err
