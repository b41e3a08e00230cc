"""Check that the kernel can hold a policy, before a job needs it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from exporter.policy.compile import compile_policy
from exporter.policy.entries import ENTRIES_ROOM
from exporter.policy.model import Name, Policy, Section, strictest


def check_for_kernel(policy: Policy) -> None:
    """Compile `policy` for a job of no section, and for one of each. Raises PolicyError for what doesn't fit.

    A job that matches several sections may still need more than fits: that is reported when the job begins.
    """
    for section in (None, *policy.sections):
        compile_policy(policy.held_to((section,), section.rules) if section else policy.held_to((), ()))


def crowding(policy: Policy) -> list[str]:
    """Return a remark, with its place, if jobs may fill the kernel's tables; else nothing.

    What is for all jobs is written once for each combination of sections that running jobs match, and who
    names a job chooses which of those with wildcards it matches.
    """
    rules = strictest(policy).rules
    names = sum(isinstance(rule.host, Name) for rule in rules)
    addresses = sum(len(rule.classes) for rule in rules if not isinstance(rule.host, Name))
    entries, combinations = max(names, addresses), _combinations(policy.sections)
    if entries * combinations <= ENTRIES_ROOM:
        return []
    first = policy.sections[0]
    what = (
        f"jobs may match {combinations:,} combinations of sections, each with {entries:,} entries in a table"
    )
    held = "a job without room is held to the general rules, less what any section denies"
    fix = "name networks instead of addresses, or fewer sections with wildcards"
    return [f"{first.source}:{first.line}:{first.column}: {what} of {ENTRIES_ROOM:,}: {held}; {fix}"]


def _combinations(sections: Iterable[Section]) -> int:
    """Return how many combinations of sections jobs may match at most, none included."""
    by_project = defaultdict[tuple[str, str] | None, list[Section]](list)
    for section in sections:
        by_project[section.key.only_project].append(section)
    of_any = _within(by_project.pop(None, []))
    return of_any * (1 + sum(_within(each) - 1 for each in by_project.values()))


def _within(sections: Sequence[Section]) -> int:
    patterns = sum(section.key.is_for_names for section in sections)
    return (len(sections) - patterns + 1) << patterns
