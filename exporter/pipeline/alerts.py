"""Report at once, as log records and lines, the first denial and the first novel act of each kind."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable
from functools import partial
from typing import NamedTuple

from exporter.common.net.dns_messages import DNS_PORT
from exporter.common.text import printable
from exporter.events.destinations import Destination
from exporter.events.facts import ProcessKey
from exporter.events.programs import Lineage
from exporter.otlp.attributes import LayeredSpan
from exporter.otlp.records import LogRecord

from .attempt import Attempt
from .event_log import DENIED, NOVEL, WOULD_DENY, EventLog
from .summary_table import shown_chain

TOLD_MAX = 4096
"""The most log records about acts of one kind in a job, which can make up destinations without end. Spans
report all of its acts."""
SAID_MAX = 50
"""The most lines on stderr about acts of one kind in a job."""


class Words(NamedTuple):
    """The words for acts of one kind."""

    many: str
    """Name of the kind, in the plural."""
    line: str
    """First word of the lines about acts of this kind."""


class FirstReports:
    """The reports about acts of one kind (denials, or novelties) in one job: the first of alike acts."""

    def __init__(self, log: Callable[[LogRecord], object], say: Callable[..., object], words: Words) -> None:
        """`say` shows a line to people who watch the job; its keywords give programs the same facts."""
        self._log = log
        self._say = say
        self._words = words
        self._met: set[int] = set()
        """Hashes of the acts met, since chains are long, and a job can make up many. Their key is a secret of
        this process, so that no job can make up acts with equal hashes."""
        self._said = 0
        self._is_full = False

    def meets(self, like: Hashable) -> bool:
        """Whether `like` is met for the first time, and is to be reported."""
        known_by = hash(like)
        if known_by in self._met or self._is_full:
            return False
        if len(self._met) >= TOLD_MAX:
            self._is_full = True
            many = self._words.many
            self._say(f"{TOLD_MAX} {many} have a log record each; further ones have none, but spans as ever")
            return False
        self._met.add(known_by)
        return True

    def record(self, name: str, span: LayeredSpan, told: str) -> None:
        """Send a log record called `name` with the attributes of `span` and the text `told`."""
        attributes = {name: value for name, value in span.attributes.items() if name != "egress.attempts"}
        EventLog(self._log, span.resource, span.context).write(name, told, attributes, span.start_time or 0)

    def show(self, told: str, event: str, span: LayeredSpan, **fields: object) -> None:
        """Show `told` as a line; programs get it as `event`, with the ids of `span` and with `fields`."""
        self._said += 1
        if self._said <= SAID_MAX:
            context = span.context
            ids = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
            self._say(told, event=event, **fields, **ids)
        elif self._said == SAID_MAX + 1:
            self._say(f"{self._words.line}: further ones are told in the summary and the spans")


def facts(attempt: Attempt) -> dict[str, object]:
    """Return the process and the destination of an attempt, as keywords for programs."""
    program, destination = attempt.program, attempt.destination
    who = {"pid": program.process.pid, "chain": program.lineage} if program else {}
    return {**who, "destination": destination.shown, "transport": destination.transport}


def sentence(attempt: Attempt, more: str = "", *, asked: str | None = None) -> str:
    """Return the program and the destination of an attempt as text for people, harmless on a terminal.

    `more` goes behind a comma; `asked` is the name for which a resolver, the destination, was to be asked.
    """
    who, program = "a program that isn't known", attempt.program
    if program is not None:
        who = f"{program.name or 'a program'} ({shown_chain(program.lineage, ' → ')})"
    behind = f", {more}" if more else ""
    for_it = f" asks for {asked}" if asked else ""
    return printable(f"{who} → {attempt.destination.shown}{for_it}{behind}", limit=500)


class _DenialKind(NamedTuple):
    process: ProcessKey | None
    exec_id: int
    destination: Destination
    verdict: str
    refused: str | None


class Denials:
    """The denied and would-be denied attempts of one job."""

    def __init__(self, log: Callable[[LogRecord], object], say: Callable[..., object]) -> None:
        """`say` shows a line to people who watch the job; its keywords give programs the same facts."""
        self.attempts = Counter[str]()
        """Number of all denied and would-be denied attempts, by `egress.verdict`."""
        self.first: dict[str, str] = {}
        """The first attempt of each verdict, in words; a DNS lookup only if there was no other attempt."""
        self._lookups: set[str] = set()
        """Verdicts for which `first` is a DNS lookup."""
        self._firsts = FirstReports(log, say, Words("denials", "blocked"))

    def meet(self, attempt: Attempt, span: Callable[[], LayeredSpan]) -> None:
        """Count an attempt if it is against the policy, and report the first one of a kind.

        `span` makes the attempt's span, for a report's attributes and ids.
        """
        ruling = attempt.ruling
        if not ruling.is_against:
            return
        self.attempts[ruling.verdict] += attempt.attempts
        is_lookup = attempt.destination.port == DNS_PORT
        if ruling.verdict not in self.first or (ruling.verdict in self._lookups and not is_lookup):
            self.first[ruling.verdict] = _told(attempt)
            (self._lookups.add if is_lookup else self._lookups.discard)(ruling.verdict)
        if self._firsts.meets(_kind(attempt)):
            self._tell(attempt, span())

    def _tell(self, attempt: Attempt, span: LayeredSpan) -> None:
        ruling = attempt.ruling
        did = "blocked" if ruling.is_denied else "would block"
        told = f"{did}: {_told(attempt)}"
        if not ruling.is_denied:
            self._firsts.record(WOULD_DENY, span, told)
            return
        self._firsts.record(DENIED, span, told)
        by = {"rule": ruling.rule, "ruleset": ruling.ruleset}
        by |= {"question": ruling.refused} if ruling.refused else {}
        self._firsts.show(told, DENIED, span, **facts(attempt), **by)


def _kind(attempt: Attempt) -> _DenialKind:
    program, ruling = attempt.program, attempt.ruling
    process, exec_id = (program.process, program.exec_id) if program else (None, 0)
    return _DenialKind(process, exec_id, attempt.destination, ruling.verdict, ruling.refused)


def _told(attempt: Attempt) -> str:
    rule, refused = attempt.ruling.rule, attempt.ruling.refused
    return sentence(attempt, f"rule {rule}" if rule else "", asked=refused)


UNLISTED, OTHER_CHAINS = "not in the baseline", "known, but not from this chain"
FORGOTTEN = "known, but there is more to this chain than is remembered"
DOUBTED = "by a name that nobody but the job may have given it"


class _NoveltyKind(NamedTuple):
    host: str
    port: int | None
    transport: str | None
    lineage: Lineage


class Novelties:
    """The novel attempts of one job: those that the baseline doesn't have."""

    def __init__(self, log: Callable[[LogRecord], object], say: Callable[..., object]) -> None:
        """`say` shows a line to people who watch the job; its keywords give programs the same facts."""
        self.attempts = 0
        """Number of all novel attempts."""
        self.first: str | None = None
        """The most urgent novel attempt, in words. DNS lookups and known destinations are less urgent."""
        self._urgency = (True, True)
        self._firsts = FirstReports(log, partial(say, level=logging.WARNING), Words("novelties", "novel"))

    def meet(self, attempt: Attempt, why: Callable[[], str], span: Callable[[], LayeredSpan]) -> None:
        """Count a novel attempt, and report the first one of a kind.

        `why` returns in words why the attempt is novel. `span` makes the attempt's span, for a report's
        attributes and ids.
        """
        self.attempts += attempt.attempts
        if not self._firsts.meets(_NoveltyKind(*attempt.destination[:3], attempt.lineage)):
            return
        reason = why()
        what = sentence(attempt, reason)
        urgency = (attempt.destination.port == DNS_PORT, reason != UNLISTED)
        if self.first is None or urgency < self._urgency:
            self.first, self._urgency = what, urgency
        told, made = f"novel: {what}", span()
        self._firsts.record(NOVEL, made, told)
        self._firsts.show(told, NOVEL, made, **facts(attempt), why=reason)


def why_novel(attempt: Attempt, *, is_known: bool) -> str:
    """Return in words why an attempt is novel.

    `is_known` says whether the baseline has the destination, if only with other chains.
    """
    if not is_known:
        return UNLISTED
    if attempt.ruling.is_doubted:
        return DOUBTED
    return FORGOTTEN if attempt.program and attempt.program.has_gap else OTHER_CHAINS
