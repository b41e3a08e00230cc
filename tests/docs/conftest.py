"""What several tests of the pages look at: the tutorial's week, done once."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.docs import tutorial_week

if TYPE_CHECKING:
    from collections.abc import Iterator


class Week(NamedTuple):
    """It, and where its telemetry is."""

    done: list[tutorial_week.Done]
    workspace: Path


@pytest.fixture(scope="session")
def worked_week() -> Iterator[Week]:
    """In a folder of its own, which goes with the session."""
    scratch = Path(tempfile.mkdtemp(prefix="ci-egress-week-"))
    try:
        yield Week(tutorial_week.do(scratch), scratch / "workspace")
    finally:
        shutil.rmtree(scratch)


@pytest.fixture
def done(worked_week: Week) -> list[tutorial_week.Done]:
    """Its steps."""
    return worked_week.done
