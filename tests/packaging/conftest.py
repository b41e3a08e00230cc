"""What is built once for all of these tests, and where it is installed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.conftest import lab, programs
from tests.kernel.test_watch_policy import runner, steps
from tests.kernel.tracing import ROOT
from tools.release import debian, distributions
from tools.release.checkout import Checkout
from tools.release.closure import runtime_requirements
from tools.release.distributions import Distributions

from .machine import debian_root, machine, with_systemd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .machine import Machine

__all__ = ["lab", "programs", "runner", "steps"]

MADE_S = 1_700_000_000
"""The time of every file of what these tests build."""


@dataclass(frozen=True)
class Built:
    """All that a release has of programs."""

    distributions: Distributions
    package: Path
    laid_out: Path
    """The package's files, before they were packed."""


@pytest.fixture(scope="session")
def built_distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """Source distribution and wheel of this checkout."""
    return distributions.build(ROOT, tmp_path_factory.mktemp("distributions"), MADE_S)


@pytest.fixture(scope="session")
def built(built_distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """And the Debian package of it."""
    output, work = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("work")
    requirements = runtime_requirements(ROOT / "constraints.txt")
    contents = debian.Contents(
        ROOT, built_distributions.wheel, requirements, Checkout(ROOT).version(), MADE_S
    )
    return Built(built_distributions, debian.build(contents, output, work), work / "root")


@pytest.fixture(scope="module")
def trixie() -> Iterator[Machine]:
    """A Debian 13 with BCC and no systemd."""
    with machine(debian_root("trixie")) as made:
        yield made


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    """One like this machine, with a systemd that runs."""
    with machine(Path("/")) as made, with_systemd(made):
        yield made
