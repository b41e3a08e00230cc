"""Reports the first of several acts that are alike, at once, by a log record and a line."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

from exporter.attempt import Attempt
from exporter.attributes import LayeredSpan
from exporter.otlp import LogRecord, Severity
from exporter.summary_table import shown_chain
from exporter.text import printable

TOLD_MAX = 4096
"""The most log records for a job, which can make up destinations without end; spans report all of them."""
SAID_MAX = 50
"""The most lines on stderr."""


class Words(NamedTuple):
    """The words for acts of one kind."""

    many: str
    """Name of the kind, in the plural."""
    line: str
    """First word of the lines about them."""


class Firsts:
    """The reports about acts of one kind in one job."""

    def __init__(self, log: Callable[[LogRecord], object], say: Callable[..., object], words: Words) -> None:
        """`say` shows a line to whoever watches the job; the keywords tell programs the same."""
        self._log = log
        self._say = say
        self._words = words
        self._met: set[int] = set()
        """Hashes, keyed for this process, of the acts met: chains are long, and a job can make up many."""
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

    def record(self, name: str, severity: Severity, span: LayeredSpan, told: str) -> None:
        """Send a log record called `name` with the attributes of `span` and the text `told`."""
        attributes = {name: value for name, value in span.attributes.items() if name != "egress.attempts"}
        at_ns = span.start_time or 0
        self._log(LogRecord(name, severity, at_ns, attributes, span.resource, span.context, told))

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
    """Return who acted and where to, as keywords for programs."""
    program, destination = attempt.program, attempt.destination
    who = {"pid": program.process.pid, "chain": program.lineage} if program else {}
    return {**who, "destination": destination.shown, "transport": destination.transport}


def sentence(attempt: Attempt, more: str = "", *, asked: str | None = None) -> str:
    """Return who acted and where to, as text for people that is harmless on a terminal.

    `more` goes behind a comma; `asked` is the name for which a resolver, the destination, was to be asked.
    """
    who, program = "a program that isn't known", attempt.program
    if program is not None:
        who = f"{program.name or 'a program'} ({shown_chain(program.lineage, ' → ')})"
    behind = f", {more}" if more else ""
    for_it = f" asks for {asked}" if asked else ""
    return printable(f"{who} → {attempt.destination.shown}{for_it}{behind}", limit=500)
