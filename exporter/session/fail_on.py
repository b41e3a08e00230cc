"""`--fail-on`: make a run fail for attempts against policy or baseline, although its COMMAND succeeded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from exporter.common.text import counted
from exporter.jobs.model import Job
from exporter.pipeline.account import Account
from exporter.pipeline.alerts import Denials, Novelties
from exporter.pipeline.summary import Summary
from exporter.policy.model import Mode

from .settings import FailOn
from .shared_messages import job_label

_HAPPENED = {
    FailOn.NOVEL: "to what the baseline doesn't have",
    FailOn.AUDIT: "would be denied",
    FailOn.DENY: "denied",
}
_UNJUDGED_STAGES = ("kernel", "ring", "process")
"""The stages that lose attempts before policy and baseline have judged them."""


def futile(fail_on: Collection[FailOn], mode: Mode) -> str | None:
    """Return a warning when `fail_on` has `deny` and `mode` denies nothing; else None.

    Returns None if `fail_on` has `audit`, too: then attempts that would be denied make the run fail.
    """
    if mode is Mode.ENFORCE or FailOn.DENY not in fail_on or FailOn.AUDIT in fail_on:
        return None
    return (
        "--fail-on deny: the policy isn't enforced, so nothing is denied; "
        "add --enforce, or give --fail-on audit,deny"
    )


def failings(
    fail_on: Collection[FailOn], denials: Denials, novelties: Novelties, account: Account
) -> list[str]:
    """Return the conditions of `fail_on` that are met, a line each. Unjudged attempts count, too."""
    attempts = {FailOn.NOVEL: novelties.attempts, **denials.attempts}
    first = {FailOn.NOVEL: novelties.first, **denials.first}
    return _lines(fail_on, attempts, first, account)


class Judged:
    """A count of the attempts against policy or baseline, of many jobs."""

    def __init__(self) -> None:
        """Begin with no attempts."""
        self._attempts = Counter[str]()
        self._first: dict[str, str] = {}

    def add(self, job: Job, summary: Summary) -> None:
        """Add the attempts in `summary`; of a job that goes on after its end, each part is added."""
        for what, attempts in summary.against.items():
            self._attempts[what] += attempts
            if attempts:
                self._first.setdefault(what, f"in {job_label(job)}")

    def failings(self, fail_on: Collection[FailOn], account: Account, unknown: int) -> list[str]:
        """Return the conditions of `fail_on` that are met in any of the jobs, a line each.

        `unknown` is the number of processes whose jobs found no room: nobody judged their acts.
        """
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
