"""What is told at once, and once: the first of acts that are alike, by a log record and a line."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

from exporter.attributes import LayeredSpan
from exporter.destinations import Destination
from exporter.otlp import LogRecord, Severity
from exporter.programs import Program
from exporter.summary_table import shown_chain
from exporter.text import printable

TOLD_MAX = 4096
"""Log records of a job; a job can make up destinations without end, and the spans tell them all."""
SAID_MAX = 50
"""Lines on stderr."""


class Words(NamedTuple):
    """How acts of some kind are called."""

    many: str
    """In the plural."""
    line: str
    """How their lines begin."""


class Firsts:
    """Those of one kind, of one job."""

    def __init__(self, log: Callable[[LogRecord], object], say: Callable[..., object], words: Words) -> None:
        """`say` shows a line to whoever watches the job; for programs, what it says comes as keywords."""
        self._log = log
        self._say = say
        self._words = words
        self._met: set[int] = set()
        """Hashes, with a key of this process: a chain of processes is long, and a job can make up many."""
        self._said = 0
        self._is_full = False

    def meets(self, like: Hashable) -> bool:
        """Whether it is the first one like that, and to be told."""
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
        """Log what `span` is of, called `name`."""
        attributes = {name: value for name, value in span.attributes.items() if name != "egress.attempts"}
        at_ns = span.start_time or 0
        self._log(LogRecord(name, severity, at_ns, attributes, span.resource, span.context, told))

    def show(self, told: str, event: str, span: LayeredSpan, **fields: object) -> None:
        """Say it on a line, which for programs is `event` with what is known of `span`, and `fields`."""
        self._said += 1
        if self._said <= SAID_MAX:
            context = span.context
            ids = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
            self._say(told, event=event, **fields, **ids)
        elif self._said == SAID_MAX + 1:
            self._say(f"{self._words.line}: further ones are told in the summary and the spans")


def facts(program: Program | None, destination: Destination) -> dict[str, object]:
    """Who did it and where to, for programs; None: it isn't known who."""
    who = {"pid": program.process.pid, "chain": program.lineage} if program else {}
    return {**who, "destination": destination.shown, "transport": destination.transport}


def sentence(
    program: Program | None, destination: Destination, more: str = "", *, asked: str | None = None
) -> str:
    """The same in words, with `more` behind a comma; harmless for a terminal.

    `asked` is the name that a resolver, the destination, was to be asked for.
    """
    who = "a program that isn't known"
    if program is not None:
        who = f"{program.name or 'a program'} ({shown_chain(program.lineage, ' → ')})"
    behind = f", {more}" if more else ""
    for_it = f" asks for {asked}" if asked else ""
    return printable(f"{who} → {destination.shown}{for_it}{behind}", limit=500)
