"""Fixtures of tests in which this very process is the job."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.kinds import SecurityHook, possible
from tests.kernel.dns_exchange import Asking
from tests.kernel.held_job import HeldJob, held_job
from tests.kernel.running_exporter import nothing_left

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.lab import Lab, Network

_NEEDING = ("test_frames_sent.py", "test_refused_acts.py", "test_unix_connects.py")
_TAKEN_OUT = pytest.StashKey[int]()


@pytest.fixture(scope="module")
def job() -> Iterator[HeldJob]:
    """This process, held to whatever policy a test gives it."""
    with nothing_left(), held_job() as job:
        yield job


@pytest.fixture(autouse=True)
def denied_no_longer(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the policy with its test: the programs stay until the module ends, beside tests of other checkouts.

    While there is any policy, the programs deny MPTCP's further connects, which belong to no process.
    """
    yield
    if isinstance(job := request.node.funcargs.get("job"), HeldJob):
        job.kernel.judge_nothing()


@pytest.fixture
def asking(lab: Lab, network: Network) -> Iterator[Asking]:
    """A client and the resolver that it asks."""
    with ExitStack() as stack:
        yield Asking.at(stack, lab, network)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out what needs programs at security hooks, on a kernel that takes none there.

    `make test-kernels` fails on a stock kernel on which nothing of it was tried.
    """
    if any(isinstance(each, SecurityHook) for each in possible(PROGRAMS)):
        return
    needing = [item for item in items if item.path.name in _NEEDING]
    config.stash[_TAKEN_OUT] = len(needing)
    items[:] = [item for item in items if item not in needing]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many those were."""
    if number := config.stash.get(_TAKEN_OUT, 0):
        terminalreporter.write_line(
            f"{', '.join(_NEEDING)}: {number} tests of what security hooks refuse did not run: "
            "this kernel takes no program there. Kernels of `make test-kernels` do.",
            yellow=True,
        )
