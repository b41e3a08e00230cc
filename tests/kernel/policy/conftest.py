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


@pytest.fixture(scope="module")
def job() -> Iterator[HeldJob]:
    """This process, held to whatever policy a test gives it."""
    with nothing_left(), held_job() as job:
        yield job


@pytest.fixture
def asking(lab: Lab, network: Network) -> Iterator[Asking]:
    """A client and the resolver that it asks."""
    with ExitStack() as stack:
        yield Asking.at(stack, lab, network)


collect_ignore = (
    []
    if any(isinstance(each, SecurityHook) for each in possible(PROGRAMS))
    else ["test_frames_sent.py"]  # the kernel takes no program at sends: interfaces alone stop frames
)
