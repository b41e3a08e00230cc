"""Runs of an array's entries: nobody gets what another one has, and what is given back can be taken again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.kernel.maps.free_entries import FreeEntries

END = 40


def test_what_is_given_back_is_whole_again() -> None:
    rooms = FreeEntries(1, END)
    taken = [rooms.take(13) for _ in range(3)]
    assert taken == [1, 14, 27]
    assert rooms.take(1) is None
    for start in (14, 1, 27):
        rooms.give(start, 13)
    assert rooms.take(END - 1) == 1


def test_nothing_takes_no_room() -> None:
    rooms = FreeEntries(1, 2)
    start = rooms.take(0)
    assert start is not None
    assert (rooms.take(1), rooms.take(0)) == (1, start)
    rooms.give(start, 0)
    assert rooms.take(1) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=60))
def test_no_entry_is_anybodys_twice(steps: list[tuple[bool, int]]) -> None:
    rooms, held = FreeEntries(1, END), list[range]()
    for gives, number in steps:
        if gives and held:
            back = held.pop(number % len(held))
            rooms.give(back.start, len(back))
        elif (start := rooms.take(number)) is not None:
            held.append(range(start, start + number))
        entries = [entry for run in held for entry in run]
        assert len(set(entries)) == len(entries)
        assert all(1 <= entry < END for entry in entries)
    for run in held:
        rooms.give(run.start, len(run))
    assert rooms.take(END - 1) == 1


def test_what_somebody_had_before_is_nobodys_to_take() -> None:
    rooms = FreeEntries(1, END)
    for start, size in ((20, 5), (1, 3), (30, 10), (7, 0)):
        rooms.claim(start, size)
    assert [rooms.take(16), rooms.take(5), rooms.take(1)] == [4, 25, None]
    rooms.give(20, 5)
    assert rooms.take(5) == 20
