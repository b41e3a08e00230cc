"""Text as it may leave the process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.common.text import LIMIT_BYTES, clean, counted, cut, first_of, form_of, printable

ANY = st.text(st.characters(), max_size=50)  # surrogates included
VALID = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


def test_bytes_that_are_not_utf_8_become_replacement_characters() -> None:
    undecoded = b"caf\xe9 ok".decode(errors="surrogateescape")
    assert clean(undecoded) == "caf\ufffd ok"
    assert clean("né") == "né"


@given(ANY)
def test_clean_text_is_valid_utf_8_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    assert cleaned.encode().decode() == cleaned
    assert clean(cleaned) == cleaned


@given(VALID, st.integers(0, 60))
def test_cut_text_fits_is_a_beginning_and_says_whether_it_was_longer(text: str, limit_bytes: int) -> None:
    kept, was_longer = cut(text, limit_bytes)
    assert len(kept.encode()) <= limit_bytes
    assert text.startswith(kept)
    assert was_longer == (kept != text)
    assert not was_longer or len(kept.encode()) > limit_bytes - 4, "more was cut than had to be"


@pytest.mark.parametrize("character", ["a", "é", "€", "😀"])
def test_a_cut_falls_between_characters(character: str) -> None:
    kept, was_longer = cut(character * LIMIT_BYTES)
    assert set(kept) == {character}
    assert (len(kept), was_longer) == (
        LIMIT_BYTES // len(character.encode()),
        len(character.encode()) > 1,
    )


@given(ANY, st.integers(1, 40))
def test_printable_text_is_one_bounded_line_of_what_a_terminal_shows(text: str, limit: int) -> None:
    safe = printable(text, limit=limit)
    assert len(safe) <= limit
    assert safe.isprintable()
    assert safe.encode().decode() == safe


def test_what_is_harmless_is_shown_as_it_is_and_the_rest_as_escapes() -> None:
    assert printable("naïve [red]x[/red] 日本") == "naïve [red]x[/red] 日本"
    assert printable("a\x1b[2J\u202eb") == r"a\x1b[2J\u202eb"
    assert printable("a\u180e\u3000\ue000\U000e0100b") == "a\\u180e\\u3000\\ue000\U000e0100b"
    assert printable("x" * 161) == "x" * 159 + "…"


def test_one_of_what_is_counted_is_in_the_singular() -> None:
    assert [counted(number, "fork") for number in (0, 1, 2)] == ["0 forks", "1 fork", "2 forks"]
    assert [counted(number, "address", "addresses") for number in (1, 2)] == ["1 address", "2 addresses"]
    assert [form_of(number, "was", "were") for number in (0, 1, 2)] == ["were", "was", "were"]


def test_of_several_texts_the_first_are_named_and_the_others_counted() -> None:
    told = [first_of(["a", "b", "c"][:number], 2) for number in range(4)]
    assert told == ["", "a", "a, b", "a, b and 1 more"]
    assert first_of(["a", "b", "c"], 2, between="; ") == "a; b and 1 more"
