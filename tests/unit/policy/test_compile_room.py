"""What is said of a policy before a job needs it."""

from __future__ import annotations

import json

import pytest

from exporter.policy.compile import crowding

from .files import policy


def text(rules: int, *keys: str) -> str:
    """Addresses that are denied to all, and sections."""
    denied = json.dumps([f"10.{number >> 8}.{number & 255}.1" for number in range(rules)])
    return (
        f"version: 1\ndeny: {denied}\njobs: {json.dumps({key: {'allow': ['a.example']} for key in keys})}\n"
    )


def project(number: int) -> str:
    return f"github:github.com/octo/app{number}:*"


@pytest.mark.parametrize(
    ("rules", "keys"),
    [
        (15_000, ()),
        (15_000, ("a", "b", "c")),
        (1_000, ("*a*", "*b*", "*c*", "*d*")),
        (10_000, tuple(project(number) for number in range(20))),
    ],
)
def test_of_what_has_room_nothing_is_said(rules: int, keys: tuple[str, ...]) -> None:
    assert crowding(policy(text(rules, *keys))) == []


@pytest.mark.parametrize(
    ("rules", "keys", "combinations"),
    [
        (15_000, ("*a*", "*b*", "*c*", "*d*", "victim"), "32"),
        (15_000, tuple("abcdefghijklmnopq"), "18"),
        (10_000, ("*a*", *(project(number) for number in range(20))), "42"),
        (200, tuple(f"*{number}*" for number in range(12)), "4,096"),
    ],
)
def test_where_jobs_may_take_all_room_it_is_said(
    rules: int, keys: tuple[str, ...], combinations: str
) -> None:
    """Who names jobs could have them match each combination of sections, and others would find no room."""
    (said,) = crowding(policy(text(rules, *keys)))
    assert said == (
        f"policy.yaml:3:8: jobs may match {combinations} combinations of sections, each with {rules:,} "
        "entries in a table of 262,144: a job without room is held to the general rules, less what any "
        "section denies; name networks instead of addresses, or fewer sections with wildcards"
    )


def test_names_take_room_too() -> None:
    denied = json.dumps([f"a{number}.example" for number in range(1_000)])
    keys = json.dumps({f"*{number}*": {"mode": "enforce"} for number in range(9)})
    assert crowding(policy(f"version: 1\nallow: {denied}\njobs: {keys}\n"))
