"""Where the time of a run went: a table at its end."""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests import turns

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


FILES_SHOWN = 40


@dataclass
class Spent:
    """By the tests of one folder, or file."""

    tests: int = 0
    all_s: float = 0.0
    turn_s: float = 0.0
    """Of that, waiting for a turn (tests/turns.py)."""
    processor_s: float = 0.0
    """Of this process and of what it started, once that has ended."""


class Times:
    """A plugin that measures each test, and what it waits for."""

    def __init__(self, tests: Path) -> None:
        """`tests` has the folders."""
        self._tests = tests
        self._by_folder = defaultdict[str, Spent](Spent)
        self._by_file = defaultdict[str, Spent](Spent)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Measure one."""
        path = item.path.relative_to(self._tests)
        before = time.monotonic(), turns.waited_s, _processor_s()
        try:
            return (yield)
        finally:
            for spent in (self._by_folder[path.parts[0]], self._by_file[str(path)]):
                spent.tests += 1
                spent.all_s += time.monotonic() - before[0]
                spent.turn_s += turns.waited_s - before[1]
                spent.processor_s += _processor_s() - before[2]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """A line for each folder, and for the files that took longest."""
        line = "{:48}{:>8}{:>10}{:>10}{:>12}".format
        terminalreporter.section("seconds")
        terminalreporter.write_line(line("", "tests", "all", "turn", "processors"))
        by_file = sorted(self._by_file.items(), key=_seconds)[:FILES_SHOWN]
        for name, spent in [*sorted(self._by_folder.items(), key=_seconds), *by_file]:
            figures = (f"{each:.0f}" for each in (spent.all_s, spent.turn_s, spent.processor_s))
            terminalreporter.write_line(line(name, spent.tests, *figures))


def _seconds(row: tuple[str, Spent]) -> float:
    return -row[1].all_s


def _processor_s() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))
