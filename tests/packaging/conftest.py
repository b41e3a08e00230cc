"""What is released for all of these tests, once, and where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.conftest import lab, made_ahead, programs, runner, steps
from tests.turns import turn_left

from .machine import debian_root, machine, with_systemd
from .releases import Built, commit_once, release_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .machine import Machine

__all__ = ["lab", "made_ahead", "programs", "runner", "steps"]


@pytest.fixture(scope="session")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A commit of what is here."""
    with turn_left():
        return commit_once(tmp_path_factory.getbasetemp().parent)


@pytest.fixture(scope="session")
def built(committed: Path) -> Built:
    """What `make release` makes of it."""
    with turn_left():
        return release_once(committed)


@pytest.fixture(scope="module")
def trixie() -> Iterator[Machine]:
    """A Debian 13 with BCC and no systemd."""
    with machine(debian_root("trixie", "python3-bpfcc", "libbpf1")) as made:
        yield made


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    """One like this machine, with a systemd that runs."""
    with machine(Path("/")) as made, with_systemd(made):
        yield made
