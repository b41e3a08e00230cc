"""What a policy denies, or would deny, told at once: the first time that a program meets a destination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from opentelemetry.trace import SpanContext

from exporter.attributes import LayeredSpan
from exporter.destinations import Destination
from exporter.events import ProcessKey
from exporter.otlp import LogRecord, Severity
from exporter.programs import Program
from exporter.summary import shown_chain
from exporter.terms import Ruling
from exporter.text import printable

DENIED_EVENT, WOULD_DENY_EVENT = "cicd.egress.denied", "cicd.egress.would_deny"
TOLD_MAX = 4096
"""Log records of a job; a job can make up destinations without end, and the spans tell them all."""
SAID_MAX = 50
"""Lines on stderr."""


class _First(NamedTuple):
    process: ProcessKey | None
    exec_id: int
    destination: Destination
    verdict: str


class Denials:
    """Those of one job."""

    def __init__(self, log: Callable[[LogRecord], object], say: Callable[..., object]) -> None:
        """`say` shows a line to whoever watches the job; for programs, what it says comes as keywords."""
        self._log = log
        self._say = say
        self.attempts = Counter[str]()
        """All that were denied or would be, by `egress.verdict`."""
        self.first: dict[str, str] = {}
        """Of each verdict the first one, in words."""
        self._met: set[_First] = set()
        self._said = 0
        self._is_full = False

    def meet(
        self,
        program: Program | None,
        destination: Destination,
        ruling: Ruling,
        span: Callable[[], LayeredSpan],
        attempts: int = 1,
    ) -> None:
        """Count attempts, and tell of them by a span that `span` makes, unless their like was told before.

        `program` is None where it isn't known who they are of.
        """
        if not ruling.is_against:
            return
        self.attempts[ruling.verdict] += attempts
        if ruling.verdict not in self.first:
            self.first[ruling.verdict] = _told(program, destination, ruling)
        process, exec_id = (program.process, program.exec_id) if program else (None, 0)
        first = _First(process, exec_id, destination, ruling.verdict)
        if first in self._met or self._is_full:
            return
        if len(self._met) >= TOLD_MAX:
            self._is_full = True
            self._say(f"{TOLD_MAX} denials have a log record each; further ones have none, but spans as ever")
            return
        self._met.add(first)
        did = "blocked" if ruling.is_denied else "would block"
        told = f"{did}: {_told(program, destination, ruling)}"
        made = span()
        self._record(made, ruling, told)
        if ruling.is_denied:
            self._show(told, _fields(program, destination, ruling, made.context))

    def _record(self, span: LayeredSpan, ruling: Ruling, told: str) -> None:
        name = DENIED_EVENT if ruling.is_denied else WOULD_DENY_EVENT
        severity = Severity.ERROR if ruling.is_denied else Severity.WARN
        attributes = {name: value for name, value in span.attributes.items() if name != "egress.attempts"}
        at_ns = span.start_time or 0
        self._log(LogRecord(name, severity, at_ns, attributes, span.resource, span.context, told))

    def _show(self, told: str, fields: Mapping[str, object]) -> None:
        self._said += 1
        if self._said <= SAID_MAX:
            self._say(told, **fields)
        elif self._said == SAID_MAX + 1:
            self._say("blocked: further ones are told in the summary and the spans")


def _fields(
    program: Program | None, destination: Destination, ruling: Ruling, context: SpanContext
) -> dict[str, object]:
    """What the line says, for programs."""
    who = {"pid": program.process.pid, "chain": program.lineage} if program else {}
    where = {"destination": destination.shown, "transport": destination.transport}
    ids = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    return {"event": DENIED_EVENT, **who, **where, "rule": ruling.rule, "ruleset": ruling.ruleset, **ids}


def _told(program: Program | None, destination: Destination, ruling: Ruling) -> str:
    who = "a program that isn't known"
    if program is not None:
        who = f"{program.name or 'a program'} ({shown_chain(program.lineage, ' → ')})"
    rule = f", rule {ruling.rule}" if ruling.rule else ""
    return printable(f"{who} → {destination.shown}{rule}", limit=500)
