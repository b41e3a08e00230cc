"""Find the part of a policy for one job: the general rules, and the sections of `jobs` that match the job.

The denies of a section, and its mode `enforce`, count for every job that may match it. Its allows count only
for a job that is known to match: by more than a name that the job's author chooses, or where the file says
`trust_names`. A job whose claims contradict each other, or are known in part, isn't known to match.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from exporter.common.documents.problems import shown
from exporter.jobs.claims import Who

from .model import Effect, JobPolicy, Policy, Rule, Section


class Withheld(NamedTuple):
    """A section whose allows don't count, for one job or for any."""

    section: Section
    why: str
    fix: str

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that don't count."""
        return _allowing(self.section)

    @property
    def why_not(self) -> str:
        """Why each of its rules doesn't count."""
        return f"its section doesn't count: {self.why}; {self.fix}"

    def __str__(self) -> str:
        """Return it as a remark with its place in the file, for people and editors."""
        section = self.section
        what = f"what {shown(section.key.text)} allows doesn't count: {self.why}"
        return f"{section.source}:{section.line}:{section.column}: {what}; {self.fix}"


def effective(policy: Policy, who: Who) -> JobPolicy:
    """Return the part of `policy` for the job `who`.

    All sections that it may match add up. The strictest mode wins, and lookups are refused if one section
    refuses them. Rules of the same meaning count once.
    """
    sections = _for(policy, who)
    return policy.held_to(sections, (rule for each in sections for rule in _counting(policy, each, who)))


def withheld(policy: Policy, who: Who) -> Iterator[Withheld]:
    """Yield the sections that would allow something to `who` if its claims were believed."""
    for section in _for(policy, who._replace(besides=())):
        doubt = _doubt(policy, section, who) if _allowing(section) else None
        if doubt is not None:
            yield Withheld(section, *doubt)


def remarks(policy: Policy) -> Iterator[Withheld]:
    """Yield the sections whose allows count for no job at all."""
    for section in policy.sections:
        doubt = section.key.doubt
        if doubt is not None and _allowing(section) and not _trusts_names(policy, section):
            yield Withheld(section, *doubt)


def _for(policy: Policy, who: Who) -> list[Section]:
    """Return the sections that the job may match."""
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
    """Return why `who` isn't known to match `section`, and how to mend that. None: it is known to match."""
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
