"""The options that a command was given, and what was read from the files that they name."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from exporter.common.settings import RunConfig, WatchConfig

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline
    from exporter.jobs.model import Job
    from exporter.policy.model import Policy
    from exporter.session.watch.agents import Above, Agent

    from .job_policy import Source


class GivenRun(NamedTuple):
    """What `run` was given."""

    config: RunConfig
    policy: Policy | None
    """The whole policy, with its sections for all jobs; None without one."""
    baseline: Baseline | None


class GivenWatch(NamedTuple):
    """What `watch` was given."""

    config: WatchConfig
    policy: Source | None
    baseline: Baseline | None
    job: Job | None
    """The job that the whole machine belongs to; None when it belongs to none."""
    agents: Collection[Agent]
    """The agents that start jobs here, besides those that are known."""
    above: Above | None
    """The processes that started the watch of a job's machine; None when the machine belongs to no job."""
