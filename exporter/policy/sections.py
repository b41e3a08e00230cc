"""What of a policy holds for one job: the file's general part, and the sections of `jobs` that are for it.

What a section denies, and that it enforces, counts for every job that may be meant. What it allows counts
for a job that is known to be meant: by more than a name that its author chooses, or where the file says
`trust_names`. A job that contradicts itself isn't known to be anybody, nor is one that is known in part.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from exporter.documents.problems import shown
from exporter.jobs.claims import Who
from exporter.policy.model import Effect, JobPolicy, Policy, Rule, Section


class Withheld(NamedTuple):
    """What a section allows, and not to this job."""

    section: Section
    why: str
    fix: str

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Those that don't count."""
        return _allowing(self.section)

    @property
    def why_not(self) -> str:
        """Of one of its rules."""
        return f"its section doesn't count: {self.why}; {self.fix}"

    def __str__(self) -> str:
        """With its place, for people and editors."""
        section = self.section
        what = f"what {shown(section.key.text)} allows doesn't count: {self.why}"
        return f"{section.source}:{section.line}:{section.column}: {what}; {self.fix}"


def effective(policy: Policy, who: Who) -> JobPolicy:
    """What `policy` says for the job `who`.

    All sections that may be for it add up, and the strictest mode wins, as does that lookups are refused.
    What several say alike counts once.
    """
    sections = _for(policy, who)
    return policy.held_to(sections, (rule for each in sections for rule in _counting(policy, each, who)))


def withheld(policy: Policy, who: Who) -> Iterator[Withheld]:
    """What would be allowed to `who` if it were known to be who it says."""
    for section in _for(policy, who._replace(besides=())):
        doubt = _doubt(policy, section, who) if _allowing(section) else None
        if doubt is not None:
            yield Withheld(section, *doubt)


def remarks(policy: Policy) -> Iterator[Withheld]:
    """What is allowed to nobody, whoever it is."""
    for section in policy.sections:
        doubt = section.key.doubt
        if doubt is not None and _allowing(section) and not _trusts_names(policy, section):
            yield Withheld(section, *doubt)


def _for(policy: Policy, who: Who) -> list[Section]:
    """Those that may be for it."""
    if who.is_partial:
        return list(policy.sections)
    return [
        section
        for section in policy.sections
        if any(section.key.fits(claim, unknown_fits=True) for claim in (*who.claims, *who.besides))
    ]


def _counting(policy: Policy, section: Section, who: Who) -> tuple[Rule, ...]:
    if _doubt(policy, section, who) is None:
        return section.rules
    return tuple(rule for rule in section.rules if rule.effect is Effect.DENY)


def _doubt(policy: Policy, section: Section, who: Who) -> tuple[str, str] | None:
    """Why `who` isn't known to be one of those that `section` is for, and how to mend it; None: it is."""
    key = section.key
    if who.is_contradictory or who.is_partial:
        return _doubt_of_all(who)
    if not key.fits(who.claims[0], unknown_fits=who.is_recorded):
        what = "which project, or what kind of branch, the job is of isn't known"
        return what, "name it: PROVIDER:PROJECT:PIPELINE/TASK"
    if key.is_for_all or _trusts_names(policy, section):
        return None
    if key.doubt is not None:
        return key.doubt
    if who.is_vouched or who.is_recorded:
        return None
    what = f"no agent of {key.provider} made the job's first process"
    return what, "let it be a step of its own, not a container's first process, or add `trust_names: true`"


def _doubt_of_all(who: Who) -> tuple[str, str]:
    if who.is_partial:
        what = "not all that the job says of itself is known"
        return what, "see that the environment of its first process is less than 256 KiB"
    systems = " and ".join(str(claim.provider) for claim in who.claims)
    return f"the job has the marks of {systems}", "see that its environment has one system's alone"


def _allowing(section: Section) -> tuple[Rule, ...]:
    return tuple(rule for rule in section.rules if rule.effect is Effect.ALLOW)


def _trusts_names(policy: Policy, section: Section) -> bool:
    return policy.trusts_names if section.trusts_names is None else section.trusts_names
