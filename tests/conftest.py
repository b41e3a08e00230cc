"""What holds for all tests: their kinds, who may run them, and that in CI none is left out.

A folder is a kind: `tests/kernel/…` carries the marker `kernel`, and so on. Tests that trace for real and
stand elsewhere carry `@pytest.mark.kernel` themselves. Without root those are skipped, with the reason;
under `CI=true` a test that was skipped, deselected or expected to fail makes the whole run fail.

What carries `@pytest.mark.everywhere(feature=…)` also runs on other kernels, by `make test-kernels`; its
feature is a row of docs/kernels.md.

`make test` runs them in rows side by side (tools/test.sh). All trace at once, except while a test runs that
carries `@pytest.mark.alone`: one that looks at the whole host, or that watches it with a policy
that denies other tests' jobs something, too.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.common.errors import KernelError
from exporter.kernel.instances.control import described, instances, leftovers
from tests.times import Times
from tests.turns import turn

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

TESTS = Path(__file__).parent
KINDS = {"browser", "kernel", "integration", "stack"}
LEFT_OUT = ("skipped", "deselected", "xfailed", "xpassed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `python -m tools.kernels` makes before it boots a machine on which making it takes minutes."""
    parser.addoption(
        "--made-ahead",
        type=Path,
        metavar="DIR",
        help="programs/* of the kernel tests, objects/COMPILER.json",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Say in the end where the time went."""
    config.pluginmanager.register(Times(TESTS))


def pytest_report_header() -> list[str]:
    """What killed exporters left on this machine: it may deny tests something, and ci-egress tells of it."""
    if os.geteuid() != 0:
        return []
    with suppress(KernelError):
        return [f"left over: {described(instance)}" for instance in leftovers(instances())]
    return []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the kind that its folder names; skip what needs root without it.

    Those that must be alone come first, then those that don't trace, which other rows are at meanwhile
    (tools/test.sh): so hardly anybody waits.
    """
    needs_root = pytest.mark.skip(reason="needs root")
    for item in items:
        kind = item.path.relative_to(TESTS).parts[0]
        if kind in KINDS:
            item.add_marker(kind)
        for mark in item.iter_markers("everywhere"):
            item.user_properties.append(("feature", mark.kwargs["feature"]))
        if takes_turns(item) and os.geteuid() != 0:
            item.add_marker(needs_root)
    items.sort(key=lambda item: (not is_alone(item), takes_turns(item)))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before the time of the test begins
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait until the test may trace."""
    if not takes_turns(item):
        return (yield)
    with turn(alone=is_alone(item)):
        return (yield)


def takes_turns(item: pytest.Item) -> bool:
    """Whether it traces."""
    return item.get_closest_marker("kernel") is not None


def is_alone(item: pytest.Item) -> bool:
    """Whether nobody else may trace meanwhile."""
    return item.get_closest_marker("alone") is not None


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
