"""What a reader takes along: a policy that allows what a job did, what its own policy and baseline lack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import TYPE_CHECKING, Any

from exporter.policy.draft import Draft
from exporter.report.additions import additions
from exporter.report.model import Act, JobReport
from exporter.report.sheet import sheet_of_report

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline

PIECES_MAX = 1000
"""Entries or rules of one addition."""
_TAG = re.compile(r"<[^<>]*>")


def drafted(job: JobReport) -> Draft:
    """Of all that `job` did, denied or not."""
    made = Draft()
    for act in job.acts:
        made.add(attributes(job, act))
    return made


def added(job: JobReport, baseline: Baseline | None) -> Iterator[dict[str, Any]]:
    """What to add to the baseline and the policy that `job` was held against, as YAML."""
    for made in additions(sheet_of_report(job, baseline=baseline)):
        if made.pieces and not made.head:  # with a head it is a whole policy, which is drafted anyway
            pieces = list(made.pieces[:PIECES_MAX])
            yield {
                "title": made.title,
                "where": unescape(_TAG.sub("", made.where)),
                "text": "\n".join(pieces) + "\n",
                "more": len(made.pieces) - len(pieces),
                "is_policy": "policy" in made.title,
            }


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
