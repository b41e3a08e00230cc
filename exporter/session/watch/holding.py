"""The interface by which a watch holds its jobs to their policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from exporter.jobs.model import Job
from exporter.kernel.maps.registry import ResumableJob
from exporter.pipeline.ruling import Terms


class PolicyHolder(Protocol):
    """A part of the watch that holds jobs to their policies."""

    def begin(self, scope: int, job: Job, standing: ResumableJob, *, is_new: bool = False) -> Terms | None:
        """Hold `scope` to the part of the policy for `job`; returns its terms, None without a policy.

        `standing` is for a watch that adopts the instance later. With `is_new`, no process is of `scope` yet.
        Call it again once the names of `job` are known.
        """

    def over(self, scope: int, standing: ResumableJob) -> None:
        """Register `standing` for a job that left processes behind, and whose span was sent."""

    def end(self, scope: int) -> None:
        """Note that no process of the job is left, or that it could not begin."""

    def overflow(self) -> int | None:
        """Return the scope of jobs that find no room; None without a policy."""

    def others(self) -> Mapping[int, Terms]:
        """Return the terms of the scope `overflow()`, by the kernel's number of its policy."""
