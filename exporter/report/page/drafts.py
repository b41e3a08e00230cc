"""Texts for a reader to copy: a draft of a policy, and additions to the job's policy and baseline."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from html import unescape
from typing import TYPE_CHECKING, Any, NamedTuple

from exporter.baseline.policy_draft import Draft
from exporter.common.text import printable
from exporter.pipeline.ruling import ALLOWED, DENIED
from exporter.policy.model import DEFAULT
from exporter.report.additions import additions
from exporter.report.model import JobReport, ReportedAct
from exporter.report.sheet import sheet_of_report

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline

PIECES_MAX = 1000
"""The most entries or rules of one addition, and the most rules that a draft lists as left out."""
_REASON_MAX = 200
"""The most characters of a reason."""
_NOTHING_ALLOWED = (
    "# A draft: all that this job did was denied, or would be.",
    "version: 1",
    "mode: audit",
    "allow: []",
)
_TAG = re.compile(r"<[^<>]*>")


class Drafted(NamedTuple):
    """The draft of a policy."""

    lines: list[str]
    """The lines of the file, with left-out rules as comments; empty if the job did nothing."""
    endpoints: list[str]
    """The rules as words of `--allowed-endpoints`."""


def drafted(job: JobReport) -> Drafted:
    """Draft a policy that allows the acts of `job`, except those that its policy denied or would deny."""
    allowed = _draft(job, (act for act in job.acts if act.verdict == ALLOWED))
    against = {reason: _draft(job, acts) for reason, acts in _by_reason(job).items()}
    if allowed.is_empty and not against:
        return Drafted([], [])
    endpoints = [rule for rule, _ in allowed.rules()]
    lines = _NOTHING_ALLOWED if allowed.is_empty else allowed.lines()
    return Drafted([*lines, *_left_out(against, frozenset(endpoints))], endpoints)


def _by_reason(job: JobReport) -> dict[str, list[ReportedAct]]:
    found: dict[str, list[ReportedAct]] = {}
    for act in job.acts:
        if act.verdict != ALLOWED:
            found.setdefault(_reason(act), []).append(act)
    return found


def _reason(act: ReportedAct) -> str:
    verdict = "was denied" if act.verdict == DENIED else "would be denied"
    rule = act.rule or "a rule that isn't known"
    by = "no rule allows it" if rule == DEFAULT else f"by {rule}"
    return printable(f"{verdict}, {by}", limit=_REASON_MAX)


def _left_out(against: Mapping[str, Draft], allowed: frozenset[str]) -> Iterator[str]:
    """Yield comments that list the rules that were left out, by the reason why."""
    left = PIECES_MAX
    for reason, made in against.items():
        rules = list(made.rules())[:left]
        left -= len(rules)
        if rules:
            yield f"  # Left out: {reason}"
        for rule, described in rules:
            elsewhere = "; allowed above, as others reached it" if rule in allowed else ""
            yield f'  # - "{rule}"  # {described}{elsewhere}'


def added(job: JobReport, baseline: Baseline | None) -> Iterator[dict[str, Any]]:
    """Yield additions, as YAML, to the baseline and the policy that `job` was compared with."""
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


def _draft(job: JobReport, acts: Iterable[ReportedAct]) -> Draft:
    made = Draft()
    for act in acts:
        made.add(_attributes(job, act))
    return made


def _attributes(job: JobReport, act: ReportedAct) -> dict[str, Any]:
    """Return those attributes of the act's span that a draft is made from."""
    return {
        "cicd.pipeline.name": job.pipeline,
        "egress.attempts": act.attempts,
        "egress.bytes_sent": act.bytes_sent,
        "egress.lineage": list(act.chain),
        "network.peer.address": act.address,
        "network.transport": act.transport,
        "server.address": act.host,
        "server.port": act.port,
    }
