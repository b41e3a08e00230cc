"""`--fail-on`: whether what policy and baseline said makes a run fail whose COMMAND succeeded."""

from __future__ import annotations

from collections.abc import Collection

from exporter.account import Account
from exporter.config import FailOn
from exporter.denials import Denials
from exporter.novelties import Novelties
from exporter.policy.model import Mode
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
    if not fail_on:
        return []
    attempts = {FailOn.NOVEL: novelties.attempts, **denials.attempts}
    first = {FailOn.NOVEL: novelties.first, **denials.first}
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
