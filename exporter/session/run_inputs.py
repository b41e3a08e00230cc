"""The inputs of `run`: its options, and the contents of the files that they name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from .settings import RunConfig

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline
    from exporter.policy.model import Policy

    from .job_policy import Source


class RunInputs(NamedTuple):
    """The inputs, all of which are read before anything is loaded, so that bad input is refused first."""

    config: RunConfig
    source: Source | None
    baseline: Baseline | None
    on_failure: Callable[[], object]
    """Called once COMMAND has failed, before the summary."""

    @property
    def policy(self) -> Policy | None:
        """The whole policy, with its sections for all jobs; None without one."""
        return self.source.policy if self.source else None
