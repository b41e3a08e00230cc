"""The parts from which files to install are built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Contents:
    """The same for all of them."""

    source: Path
    """A checkout."""
    wheel: Path
    requirements: Sequence[str]
    """`name==version` of each package that the wheel needs."""
    version: str
    made_s: int
    """The time of every file (Unix)."""
