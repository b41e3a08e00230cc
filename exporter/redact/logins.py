"""Recognizes options, programs, users and passwords among the words of any command line."""

from __future__ import annotations

from collections.abc import Sequence

from .programs import ASKING, CHANGES, NO_PASSWORD, USER_OPTIONS

MAX_LOGIN_WORDS = 24


def is_password_of(before: Sequence[str], word: str) -> bool:
    """Whether `word` is the password behind `-u name`, perhaps other options, and `-p`."""
    if is_option(word) or NO_PASSWORD.fullmatch(word):
        return False
    if before[-1] == "-p" and "login" in before:
        return True
    was_option = True
    for at in range(len(before) - 2, max(len(before) - MAX_LOGIN_WORDS, 0), -1):
        is_an_option = is_option(before[at])
        if not (is_an_option or was_option):
            return False
        if not is_an_option and before[at - 1] in USER_OPTIONS:
            return "/" not in before[at]
        was_option = is_an_option
    return False


def changes_password(program: str, word: str) -> bool:
    """Whether the subcommand `word` changes a password, and `program` before it doesn't prompt for it."""
    return "pass" in word and CHANGES.fullmatch(word) is not None and (name_of(program), word) not in ASKING


def last_argument(words: Sequence[str]) -> int:
    """Return the index of the last word that is no option and stands behind none; -1 if there is none."""
    for at in range(len(words) - 1, 0, -1):
        if not (is_option(words[at]) or is_option(words[at - 1])):
            return at
    return -1


def name_of(word: str) -> str:
    """Return the program's name if `word` is a program: the last part of its path."""
    if "/" in word or "=" in word or "." in word:
        return word.rpartition("/")[2].rpartition("=")[2].removesuffix(".exe")
    return word


def takes_value(option: str) -> bool:
    """Whether the word behind `option` may be its value."""
    return is_option(option) and "=" not in option and option != "--"


def is_option(word: str) -> bool:
    """Whether `word` is an option, and not `-` alone."""
    return len(word) > 1 and word.startswith("-")
