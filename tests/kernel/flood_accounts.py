"""Accounts of floods: attempts by their outcome, and that they add up."""

from __future__ import annotations

from tests.kernel.tracing import Span, Trace

EACH_MAX, FIRSTS_MAX = 32, 256
"""Acts told one by one, and peers told apart, in a window: bpf/acts.bpf.c."""


def attempts(spans: list[Span]) -> int:
    return sum(int(str(span["egress.attempts"])) for span in spans)


def account(seen: Trace) -> dict[str, int]:
    words = seen.account.split()
    return {name: int(words[words.index(name) + 1]) for name in ("attempts", "exported", "aggregated")}


def assert_adds_up(seen: Trace, number: int) -> None:
    """Each of `number` attempts is in the account, in the spans and in the metrics; none is lost."""
    counted = account(seen)
    assert counted["attempts"] == number
    assert counted["exported"] + counted["aggregated"] == number
    assert seen.account.endswith("+ dropped 0 + pending 0")
    assert attempts(seen.egress) == number
    assert sum(point.value for point in seen.metrics["cicd.egress.connections"]) == number


def with_outcome(seen: Trace, outcome: str) -> list[Span]:
    return [span for span in seen.egress if span.attributes.get("egress.outcome") == outcome]
