"""Finders of jobs that nobody announced: the interface by which the pipeline asks a watch."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from exporter.events.facts import Environment
from exporter.events.programs import Program


class Discovered(NamedTuple):
    """A job that a program is a root of."""

    scope: int
    step: str | None = None
    """The CI system's name for this root's step; None where it has none."""


class JobFinder(Protocol):
    """A finder of jobs, which the pipeline asks about processes outside of the jobs that it knows."""

    def discover(self, event: Environment, program: Program) -> Discovered | None:
        """Find the job that `program` is a root of. Returns None when it is a root of no job.

        `program` belongs to no job so far.
        """

    def passed(self, event: Environment) -> None:
        """Forget `event`: no job is made of it, since its process belongs to one by now, or has ended."""

    def stirs(self, scope: int, at_ns: int) -> None:
        """Note that a process of `scope` acts, although the job of `scope` is over.

        The finder may begin a further part of that job. If it doesn't, the act belongs to the job that takes
        all other scopes.
        """


class NoJobFinder:
    """A finder for runs in which all jobs are announced."""

    def discover(self, _: Environment, _program: Program) -> Discovered | None:
        """Return None: no job is found."""
        return None

    def passed(self, _: Environment) -> None:
        """Do nothing: there was no decision to forget."""

    def stirs(self, scope: int, at_ns: int) -> None:
        """Do nothing: the job stays over."""
