"""What holds for all tests: their kinds, who may run them, and that in CI none is left out.

A folder is a kind: `tests/kernel/…` carries the marker `kernel`, and so on. Tests that trace for real and
stand elsewhere carry `@pytest.mark.kernel` themselves. Without root those are skipped, with the reason;
under `CI=true` a test that was skipped, deselected or expected to fail makes the whole run fail.

Those that don't trace come first: what `tests/clean` and `tests/stack` need is prepared beside them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parent
KINDS = {"browser", "kernel", "integration", "stack"}
LAST = ("clean", "integration", "kernel", "stack")
"""Folders whose tests trace, or wait for what is built and downloaded behind the others."""
LEFT_OUT = ("skipped", "deselected", "xfailed", "xpassed")

hypothesis.settings.register_profile("default", deadline=None, database=None)
hypothesis.settings.register_profile("ci", deadline=None, database=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the kind that its folder names; skip what needs root without it; order them."""
    needs_root = pytest.mark.skip(reason="needs root")
    for item in items:
        kind = item.path.relative_to(TESTS).parts[0]
        if kind in KINDS:
            item.add_marker(kind)
        if item.get_closest_marker("kernel") and os.geteuid() != 0:
            item.add_marker(needs_root)
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    folder = item.path.relative_to(TESTS).parts[0]
    return LAST.index(folder) if folder in LAST else -1


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """In CI, a run that left a test out has failed."""
    left_out = count_left_out(session.config)
    if os.environ.get("CI") == "true" and left_out and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why a run without a failed test failed."""
    left_out = count_left_out(terminalreporter.config)
    if os.environ.get("CI") == "true" and left_out:
        terminalreporter.write_line(f"CI: {left_out} tests were left out, which counts as failed", red=True)


def count_left_out(config: pytest.Config) -> int:
    """How many tests were collected and gave no verdict."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return sum(len(reporter.stats.get(outcome, [])) for outcome in LEFT_OUT) if reporter else 0
