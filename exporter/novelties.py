"""Reports novel attempts at once, the first time that a chain of processes meets a destination."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from exporter.attributes import LayeredSpan
from exporter.destinations import Destination
from exporter.firsts import Firsts, Words, facts, sentence
from exporter.otlp import LogRecord, Severity
from exporter.policy.rule_texts import DNS_PORT
from exporter.programs import Lineage, Program

NOVEL_EVENT = "cicd.egress.novel"
UNLISTED, OTHER_CHAINS = "not in the baseline", "known, but not from this chain"
FORGOTTEN = "known, but there is more to this chain than is remembered"
DOUBTED = "by a name that nobody but the job may have given it"


class _First(NamedTuple):
    host: str
    port: int | None
    transport: str | None
    lineage: Lineage | None


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

    def meet(
        self,
        program: Program | None,
        destination: Destination,
        why: Callable[[], str],
        span: Callable[[], LayeredSpan],
        attempts: int = 1,
    ) -> None:
        """Count novel attempts; report the first of their kind, by the span that `span` makes.

        `program` is None when it isn't known who made them.
        """
        self.attempts += attempts
        lineage = program.lineage if program else None
        if not self._firsts.meets(_First(*destination[:3], lineage)):
            return
        reason = why()
        what = sentence(program, destination, reason)
        urgency = (destination.port == DNS_PORT, reason != UNLISTED)
        if self.first is None or urgency < self._urgency:
            self.first, self._urgency = what, urgency
        told, made = f"novel: {what}", span()
        self._firsts.record(NOVEL_EVENT, Severity.WARN, made, told)
        self._firsts.show(told, NOVEL_EVENT, made, **facts(program, destination), why=reason)


def why_novel(program: Program | None, *, is_known: bool, is_doubted: bool) -> str:
    """Return in words why an attempt is novel.

    `is_known` says whether the baseline has its destination, if only with other chains.
    """
    if not is_known:
        return UNLISTED
    if is_doubted:
        return DOUBTED
    return FORGOTTEN if program and program.has_gap else OTHER_CHAINS
