"""The policy that would allow what a job did, as `ci-egress policy init` drafts it from its spans."""

from __future__ import annotations

from typing import Any

from exporter.policy.draft import Draft
from exporter.report.model import Act, JobReport


def drafted(job: JobReport) -> Draft:
    """Of all that `job` did, denied or not."""
    made = Draft()
    for act in job.acts:
        made.add(attributes(job, act))
    return made


def attributes(job: JobReport, act: Act) -> dict[str, Any]:
    """Those of the span that `act` was read from which policies and baselines are made of."""
    said: dict[str, Any] = {
        "cicd.pipeline.name": job.pipeline,
        "cicd.pipeline.run.id": job.run_id,
        "cicd.pipeline.task.name": job.task,
        "egress.attempts": act.attempts,
        "egress.lineage": list(act.chain) or None,
        "egress.novel": act.novel,
        "egress.rule": act.rule,
        "egress.verdict": act.verdict,
        "network.peer.address": act.address,
        "network.transport": act.transport,
        "server.address": act.host,
        "server.port": act.port,
    }
    return {name: value for name, value in said.items() if value is not None}
