"""The inputs of `watch`: its options, and the contents of the files that they name."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from exporter.session.settings import WatchConfig

from .agents import Above, Agent

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline
    from exporter.jobs.model import Job
    from exporter.session.job_policy import Source


class WatchInputs(NamedTuple):
    """The inputs, all of which are read before anything is loaded, so that bad input is refused first."""

    config: WatchConfig
    policy: Source | None
    baseline: Baseline | None
    job: Job | None
    """The job that the whole machine belongs to; None when it belongs to none."""
    agents: Collection[Agent]
    """The agents that start jobs here, besides those that are known."""
    above: Above | None
    """The processes that started the watch of a job's machine; None when the machine belongs to no job."""
