"""What a command was given: options, and what was read of the files that they name."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from exporter.config import RunConfig, WatchConfig

if TYPE_CHECKING:
    from exporter.agents import Above, Agent
    from exporter.baseline.model import Baseline
    from exporter.cli.governing import Source
    from exporter.jobs.model import Job
    from exporter.policy.model import Policy


class GivenRun(NamedTuple):
    """For `run`."""

    config: RunConfig
    policy: Policy | None
    """For any job."""
    baseline: Baseline | None


class GivenWatch(NamedTuple):
    """For `watch`."""

    config: WatchConfig
    policy: Source | None
    baseline: Baseline | None
    job: Job | None
    """The one that the whole machine belongs to; None: it belongs to none."""
    agents: Collection[Agent]
    """Who starts jobs, besides those that are known."""
    above: Above | None
    """What started this; None: it is of no job."""
