"""The tutorial does what it says: typed into a shell, its commands print what the page shows."""

from __future__ import annotations

import re

import pytest

from tests.docs import tutorial_week
from tests.docs.pages import quoted
from tests.docs.tutorial_week import Done, find, lines

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(tutorial_week.WITHIN_S)]

OF_SOME_KERNELS = re.compile(
    ", and reports less than it could$|; with them, each system call of the machine passes sys_.*"
)
"""What doctor adds where the kernel takes no programs at its security hooks, or at the end of functions."""
FAILS_ON = {"--fail-on novel": 90, "--fail-on deny": 90}


def test_each_step_ends_as_the_page_says(done: list[Done]) -> None:
    assert [each[1:] for each in done if each.status != _expected(each)] == []


def _expected(done: Done) -> int:
    return next((status for words, status in FAILS_ON.items() if words in done.step.commands), 0)


def test_each_step_prints_what_the_page_shows(done: list[Done]) -> None:
    missing = [line for each in done for line in lines(each.step.shown) if not _is_in(line, each.output)]
    assert missing == []
    assert sum(bool(each.step.shown) for each in done) >= 8


def _is_in(line: str, output: str) -> bool:
    """Whether a line of `output` is it, or ends with it: a job writes its own in pieces."""
    return any(OF_SOME_KERNELS.sub("", told).endswith(line) for told in lines(output))


def test_the_poisoned_release_reaches_its_beacon_until_it_is_enforced_and_after_it_was_turned_off(
    done: list[Done],
) -> None:
    assert find(done, "--fail-on novel").requests == 2
    assert find(done, "--enforce").requests == 0
    assert find(done, "enforce off").requests == 2


def test_what_is_typed_before_each_run_stands_on_the_page() -> None:
    assert tutorial_week.COUNT in quoted(tutorial_week.TUTORIAL)


def test_the_page_has_every_day() -> None:
    days = list(dict.fromkeys(step.day for step in tutorial_week.steps()))
    assert len(days) == 8
    assert set(days) >= tutorial_week.POISONED
