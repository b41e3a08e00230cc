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
        made.add(_attributes(job, act))
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
                "is_policy": made.is_policy,
            }


def _attributes(job: JobReport, act: Act) -> dict[str, Any]:
    """Those of the span that `act` was read from which a draft is made of."""
    return {
        "cicd.pipeline.name": job.pipeline,
        "egress.attempts": act.attempts,
        "egress.lineage": list(act.chain),
        "network.peer.address": act.address,
        "network.transport": act.transport,
        "server.address": act.host,
        "server.port": act.port,
    }
