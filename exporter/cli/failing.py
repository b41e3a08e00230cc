"""`--fail-on`: whether what policy and baseline said makes a run fail whose COMMAND succeeded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from exporter.account import Account
from exporter.cli.notices import job_told
from exporter.config import FailOn
from exporter.denials import Denials
from exporter.jobs.model import Job
from exporter.novelties import Novelties
from exporter.policy.model import Mode
from exporter.summary import Summary
from exporter.text import counted

_HAPPENED = {
    FailOn.NOVEL: "to what the baseline doesn't have",
    FailOn.AUDIT: "would be denied",
    FailOn.DENY: "denied",
}
_UNJUDGED_STAGES = ("kernel", "ring", "process")
"""Where attempts get lost before it is known here what policy and baseline said."""


def futile(fail_on: Collection[FailOn], mode: Mode) -> str | None:
    """What of `fail_on` can't happen in `mode`, so that it would never fail; None: what was asked for can."""
    if mode is Mode.ENFORCE or FailOn.DENY not in fail_on or FailOn.AUDIT in fail_on:
        return None
    return (
        "--fail-on deny: the policy isn't enforced, so nothing is denied; "
        "add --enforce, or give --fail-on audit,deny"
    )


def failings(
    fail_on: Collection[FailOn], denials: Denials, novelties: Novelties, account: Account
) -> list[str]:
    """What of `fail_on` happened, a line each; an attempt of which it isn't known counts, too."""
    attempts = {FailOn.NOVEL: novelties.attempts, **denials.attempts}
    first = {FailOn.NOVEL: novelties.first, **denials.first}
    return _lines(fail_on, attempts, first, account)


class Judged:
    """What policy and baseline said to many jobs."""

    def __init__(self) -> None:
        """Of none so far."""
        self._attempts = Counter[str]()
        self._first: dict[str, str] = {}

    def add(self, job: Job, summary: Summary) -> None:
        """`job` is over, or a part of it is."""
        for what, attempts in summary.against.items():
            self._attempts[what] += attempts
            if attempts:
                self._first.setdefault(what, f"in {job_told(job)}")

    def failings(self, fail_on: Collection[FailOn], account: Account, unknown: int) -> list[str]:
        """As for one job; `unknown` are processes of jobs that found no room, so that nobody judged them."""
        lines = _lines(fail_on, self._attempts, self._first, account)
        if fail_on and unknown:
            lines.append(f"--fail-on: {counted(unknown, 'process', 'processes')} of jobs had no room")
        return lines


def _lines(
    fail_on: Collection[FailOn],
    attempts: Mapping[str, int],
    first: Mapping[str, str | None],
    account: Account,
) -> list[str]:
    if not fail_on:
        return []
    lines = [
        f"--fail-on {what}: {counted(attempts[what], 'attempt')} {told}, first: {first[what]}"
        for what, told in _HAPPENED.items()
        if what in fail_on and attempts.get(what)
    ]
    unjudged = sum(number for (stage, _), number in account.dropped.items() if stage in _UNJUDGED_STAGES)
    if unjudged:
        said = ["whether it was novel"] if FailOn.NOVEL in fail_on else []
        said += ["what the policy said"] if {FailOn.AUDIT, FailOn.DENY} & {*fail_on} else []
        told = f"of {counted(unjudged, 'attempt')} it isn't known {' and '.join(said)}"
        lines.append(f"--fail-on: {told}")
    return lines
