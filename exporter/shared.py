"""Attempts that were allowed by a rule for another name of their address, in words for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from exporter.policy.sharing import is_of_another_name
from exporter.terms import ALLOWED
from exporter.text import counted

_REMARKS_MAX = 10


def is_shared_with_another(verdict: str, rule: str | None, host: str | None) -> bool:
    """Whether `rule` allowed an act to `host` only because its address also has the name in the rule.

    The kernel decides by address, and grants the addresses of names that a rule has.
    """
    return verdict == ALLOWED and bool(rule and host) and is_of_another_name(rule or "", host or "")


def shared_remarks(shared: Iterable[tuple[str, str, int]]) -> Iterator[str]:
    """Yield a line for each destination and rule of `(destination, rule, attempts)`, most attempts first.

    The lines contain texts that may come from an attacker.
    """
    attempts = Counter[tuple[str, str]]()
    for destination, rule, number in shared:
        attempts[destination, rule] += number
    for (destination, rule), number in attempts.most_common(_REMARKS_MAX):
        were = "was" if number == 1 else "were"
        attempted = f"{counted(number, 'attempt')} to {destination} {were} allowed"
        yield f"{attempted} by the rule for another name of its address: {rule}"
    if len(attempts) > _REMARKS_MAX:
        more = counted(len(attempts) - _REMARKS_MAX, "more destination")
        yield f"… and {more} allowed by rules for other names of their addresses: see the spans"
