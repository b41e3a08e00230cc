"""Acts that are held: so many at most, and no scope's take the room of another's."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from hypothesis import given
from hypothesis import strategies as st

from exporter.pipeline.held_flows import HeldFlows

if TYPE_CHECKING:
    from exporter.pipeline.flows import Flow

MOST = 8


def of_scope(scope: int) -> Flow:
    return cast("Flow", SimpleNamespace(attempt=SimpleNamespace(scope=scope)))


def test_a_scope_that_holds_many_gives_up_its_own_oldest() -> None:
    held = HeldFlows[int](MOST)
    quiet, loud = of_scope(1), [of_scope(2) for _ in range(3 * MOST)]
    assert list(held.put(0, quiet)) == []
    given_up = [one for key, flow in enumerate(loud, 1) for one in held.put(key, flow)]
    assert given_up == loud[: len(loud) - MOST + 1]
    assert held.get(0) is quiet


def test_where_others_hold_more_they_give_up() -> None:
    held = HeldFlows[int](MOST)
    loud = [of_scope(2) for _ in range(MOST)]
    for key, flow in enumerate(loud):
        assert list(held.put(key, flow)) == []
    assert list(held.put(MOST, of_scope(1))) == loud[:1]
    assert 0 not in held


def test_all_of_some_scopes_are_given_up_oldest_first() -> None:
    held = HeldFlows[int](MOST)
    flows = [of_scope(key % 3) for key in range(MOST)]
    for key, flow in enumerate(flows):
        list(held.put(key, flow))
    assert list(held.take({1})) == flows[1::3]
    assert len(held) == MOST - len(flows[1::3])
    assert held.pop(1) is None


@given(st.lists(st.integers(1, 4), max_size=60))
def test_a_scope_keeps_its_share_whatever_the_others_do(scopes: list[int]) -> None:
    held = HeldFlows[int](MOST)
    kept = Counter[int]()
    for key, scope in enumerate(scopes):
        kept[scope] += 1
        given_up = [flow.attempt.scope for flow in held.put(key, of_scope(scope))]
        kept.subtract(given_up)
        assert len(held) == kept.total() <= MOST
        for one in given_up:
            assert kept[one] >= MOST // len(+kept) - 1
