"""Who finds the jobs that nobody announces."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from exporter.events import Environment
from exporter.programs import Program


class Discovered(NamedTuple):
    """The job that a program is a root of."""

    scope: int
    step: str | None = None
    """What the CI system calls what this root does; None where that isn't told."""


class Finder(Protocol):
    """Asked by the pipeline about what happens outside of the jobs that it was told of."""

    def discover(self, event: Environment, program: Program) -> Discovered | None:
        """The job that `program`, one of none, is a root of; None: of none."""

    def passed(self, event: Environment) -> None:
        """Nothing is made of `event`: its process is of a job by now, or over."""

    def stirs(self, scope: int, at_ns: int) -> None:
        """Something of `scope` acts, whose job is over: let it begin again, or leave that to the rest."""


class NoFinder:
    """All jobs are announced."""

    def discover(self, _: Environment, _program: Program) -> Discovered | None:
        """None is."""
        return None

    def passed(self, _: Environment) -> None:
        """Nothing was decided of it."""

    def stirs(self, scope: int, at_ns: int) -> None:
        """It stays over."""
