"""Texts of spans in bounds: also those of a file that has nothing but texts."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from exporter.report.texts import Texts

ROOM = 20_000
KIB = 1024


@pytest.mark.parametrize(
    "add",
    [
        lambda texts, number: texts.name(f"{number:08}"),
        lambda texts, number: texts.line(f"{number:08}" + "\U0001f98a" * 2000),
        lambda texts, number: texts.names(["sh", f"{number:08}"] * 100),
    ],
    ids=["short", "wide", "lists"],
)
def test_what_is_kept_of_them_is_bounded(add: Callable[[Texts, int], object]) -> None:
    texts = Texts(ROOM)
    tracemalloc.start()
    try:
        for number in range(3_000):
            add(texts, number)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 3 * ROOM  # with what the tables of them take


def test_without_room_the_beginning_of_a_text_and_the_end_of_a_list_are_told() -> None:
    texts = Texts(0)
    assert texts.line("x" * KIB) == "x" * 200
    assert texts.names(["make", "sh", "npm", "node", "sh", "curl"]) == ("npm", "node", "sh", "curl")
    assert texts.cut == 2
    assert (texts.name("sh"), texts.names(["sh"]), texts.cut) == ("sh", ("sh",), 2)


def test_with_room_each_is_there_once() -> None:
    texts = Texts(ROOM)
    first, second = (texts.names([f"{'n' * 10}{1}", "npm"]) for _ in range(2))
    assert first is second
    assert texts.name("npm") is first[1]
