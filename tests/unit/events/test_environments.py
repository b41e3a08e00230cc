"""Environments put together from their pieces, and read as the C library does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.events import wire
from exporter.events.decode import Decoder
from exporter.events.environments import contested, names_one_of, part_of, variables
from exporter.events.facts import Environment, ProcessKey
from tests.unit.records import BASH, environment_pieces

PIECE, MOST = wire.ARGUMENTS_PIECE, wire.ENVIRONMENT_MAX
STEP = wire.STANDING_STEP


def decoded(records: list[bytes]) -> list[Environment]:
    decoder = Decoder()
    events = [event for each in records for event in decoder.decode(each, 0, len(each))]
    return [event for event in events if isinstance(event, Environment)]


def filler(size: int) -> bytes:
    return b"A=" + bytes(ord("a") + at % 26 for at in range(size - 3)) + b"\0"


@pytest.mark.parametrize("size", [10, 1024, PIECE, PIECE + 1, 3 * PIECE, MOST - 1, MOST])
def test_a_block_comes_out_as_it_was(size: int) -> None:
    assert decoded(environment_pieces(filler(size))) == [
        Environment(5, BASH, 1, filler(size), False, STEP, 2, ProcessKey(3, 7))
    ]


def test_one_that_is_too_long_is_cut() -> None:
    (event,) = decoded(environment_pieces(filler(MOST + 10)))
    assert (event.block, event.is_cut) == (filler(MOST + 10)[:MOST], True)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_one_of_which_a_piece_was_lost_is_what_there_is_up_to_it(lost: int) -> None:
    whole = environment_pieces(filler(4 * PIECE))
    events = decoded([*whole[:lost], *whole[lost + 1 :], *environment_pieces(b"B=1\0")])
    assert events[-1].block == b"B=1\0"
    assert [(len(event.block), event.is_cut) for event in events[:-1]] in ([(lost * PIECE, True)], [])


def test_one_without_a_beginning_is_passed_over() -> None:
    assert decoded(environment_pieces(filler(2 * PIECE))[1:]) == []


def test_those_of_several_processes_may_come_mixed() -> None:
    other = ProcessKey(7, 8)
    *rest, last = environment_pieces(filler(2 * PIECE + 5), other)
    mixed = zip(environment_pieces(filler(2 * PIECE)), rest, strict=True)
    assert [event.process for event in decoded([*(each for pair in mixed for each in pair), last])] == [
        BASH,
        other,
    ]


def test_what_never_gets_complete_is_bounded() -> None:
    decoder = Decoder()
    for pid in range(1, 5000):
        first = environment_pieces(filler(2 * PIECE), ProcessKey(pid, 1))[0]
        assert list(decoder.decode(first, 0, len(first))) == []
    assert len(vars(vars(decoder)["_environments"])["_waiting"]) <= 256


def test_of_a_name_that_is_there_twice_the_first_counts() -> None:
    assert variables(b"A=1\0A=2\0\0=x\0B\0C=\0D=a=b\0") == {"A": "1", "C": "", "D": "a=b"}


@given(st.binary(max_size=300))
def test_any_block_can_be_read(block: bytes) -> None:
    assert all(name and "=" not in name for name in variables(block))


@given(st.lists(st.tuples(st.sampled_from(["A", "AB", "B", "XA"]), st.text("A=B", max_size=5)), max_size=6))
def test_a_block_names_a_variable_just_when_it_has_it(pairs: list[tuple[str, str]]) -> None:
    block = b"".join(f"{name}={value}\0".encode() for name, value in pairs)
    assert names_one_of(["A", "B"])(block) == bool({"A", "B"} & variables(block).keys())


@given(st.lists(st.tuples(st.sampled_from(["A", "AB", "B", "XA"]), st.text("A=B", max_size=5)), max_size=6))
def test_a_part_of_a_block_says_the_same_of_its_variables(pairs: list[tuple[str, str]]) -> None:
    block, names = b"".join(f"{name}={value}\0".encode() for name, value in pairs), {b"A", b"B"}
    part, whole = part_of(block, names), variables(block)
    assert variables(part) == {name: value for name, value in whole.items() if name in {"A", "B"}}
    assert contested(part, names) == contested(block, names)


@pytest.mark.parametrize(
    ("block", "is_contested"),
    [
        (b"A=1\0B=1\0A=2\0", True),
        (b"A=1\0A=1\0", False),
        (b"A\0A=1\0", True),
        (b"C=1\0C=2\0A=1\0", False),
        (b"A==1\0A=1", True),
        (b"", False),
    ],
)
def test_a_variable_with_two_values_is_contested(block: bytes, *, is_contested: bool) -> None:
    assert contested(block, {b"A", b"B"}) is is_contested
