"""Reports novel attempts at once, the first time that a chain of processes meets a destination."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from exporter.attempt import Attempt
from exporter.attributes import LayeredSpan
from exporter.firsts import Firsts, Words, facts, sentence
from exporter.otlp import LogRecord, Severity
from exporter.policy.rule_texts import DNS_PORT
from exporter.programs import Lineage

NOVEL_EVENT = "cicd.egress.novel"
UNLISTED, OTHER_CHAINS = "not in the baseline", "known, but not from this chain"
FORGOTTEN = "known, but there is more to this chain than is remembered"
DOUBTED = "by a name that nobody but the job may have given it"


class _Kind(NamedTuple):
    host: str
    port: int | None
    transport: str | None
    lineage: Lineage


class Novelties:
    """The novel attempts of one job: those that the baseline doesn't have."""

    def __init__(self, log: Callable[[LogRecord], object], say: Callable[..., object]) -> None:
        """`say` shows a line to whoever watches the job; the keywords tell programs the same."""
        self.attempts = 0
        """Number of all novel attempts."""
        self.first: str | None = None
        """The most urgent one, in words; DNS lookups and listed destinations are less urgent."""
        self._urgency = (True, True)
        self._firsts = Firsts(log, partial(say, level=logging.WARNING), Words("novelties", "novel"))

    def meet(self, attempt: Attempt, why: Callable[[], str], span: Callable[[], LayeredSpan]) -> None:
        """Count a novel attempt; report the first of a kind, by the span that `span` makes.

        `why` says in words why it is novel.
        """
        self.attempts += attempt.attempts
        if not self._firsts.meets(_Kind(*attempt.destination[:3], attempt.lineage)):
            return
        reason = why()
        what = sentence(attempt, reason)
        urgency = (attempt.destination.port == DNS_PORT, reason != UNLISTED)
        if self.first is None or urgency < self._urgency:
            self.first, self._urgency = what, urgency
        told, made = f"novel: {what}", span()
        self._firsts.record(NOVEL_EVENT, Severity.WARN, made, told)
        self._firsts.show(told, NOVEL_EVENT, made, **facts(attempt), why=reason)


def why_novel(attempt: Attempt, *, is_known: bool) -> str:
    """Return in words why an attempt is novel.

    `is_known` says whether the baseline has its destination, if only with other chains.
    """
    if not is_known:
        return UNLISTED
    if attempt.ruling.is_doubted:
        return DOUBTED
    return FORGOTTEN if attempt.program and attempt.program.has_gap else OTHER_CHAINS
