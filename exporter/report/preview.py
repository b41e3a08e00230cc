"""A report as it would have been with another baseline or another policy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.pipeline.ruling import ALLOWED, DENIED, WOULD_DENY

from .model import JobReport, Report, ReportedAct
from .what_if import WhatIf

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline
    from exporter.policy.model import Address, Policy

_AUDIT = "audit"


def previewed(
    report: Report, baseline: Baseline | None, policy: Policy | None, resolvers: Iterable[Address] = ()
) -> Report:
    """Return `report` with the answers of `baseline` and `policy` on each act, in place of recorded ones.

    With neither it stays the same. Acts that were denied stay denied. `resolvers` are the system's.
    """
    jobs = [previewed_job(job, WhatIf(job, baseline, policy, resolvers)) for job in report.jobs]
    return replace(report, jobs=jobs)


def previewed_job(job: JobReport, held: WhatIf) -> JobReport:
    """Return `job` with the answers of the baseline and the policy in `held` on each act."""
    if held.to_nothing:
        return job
    mode = (job.mode or _AUDIT) if held.has_policy else job.mode
    return replace(job, mode=mode, acts=[_act(act, held) for act in job.acts])


def _act(act: ReportedAct, held: WhatIf) -> ReportedAct:
    said = held.seen(act)
    if said.effect is None or act.verdict == DENIED:
        return replace(act, novel=said.novel)
    verdict = WOULD_DENY if said.is_denied else ALLOWED
    return replace(act, novel=said.novel, verdict=verdict, rule=said.rule)
