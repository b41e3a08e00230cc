"""What a policy denies, or would deny, told at once: the first time that a program meets a destination."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

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
    process: ProcessKey
    exec_id: int
    destination: Destination
    verdict: str


class Denials:
    """Those of one job."""

    def __init__(self, log: Callable[[LogRecord], object], say: Callable[[str], object]) -> None:
        """`say` shows a line to whoever watches the job."""
        self._log = log
        self._say = say
        self._met: set[_First] = set()
        self._said = 0
        self._is_full = False

    def meet(
        self,
        program: Program,
        destination: Destination,
        ruling: Ruling,
        span: Callable[[], LayeredSpan],
    ) -> None:
        """Tell of an act, whose span `span` makes, unless its like was told before."""
        first = _First(program.process, program.exec_id, destination, ruling.verdict)
        if not ruling.is_against or first in self._met or self._is_full:
            return
        if len(self._met) >= TOLD_MAX:
            self._is_full = True
            self._say(f"{TOLD_MAX} denials have a log record each; further ones have none, but spans as ever")
            return
        self._met.add(first)
        told = _sentence(program, destination, ruling)
        self._record(span(), ruling, told)
        if ruling.is_denied:
            self._show(told)

    def _record(self, span: LayeredSpan, ruling: Ruling, told: str) -> None:
        name = DENIED_EVENT if ruling.is_denied else WOULD_DENY_EVENT
        severity = Severity.ERROR if ruling.is_denied else Severity.WARN
        attributes = {name: value for name, value in span.attributes.items() if name != "egress.attempts"}
        at_ns = span.start_time or 0
        self._log(LogRecord(name, severity, at_ns, attributes, span.resource, span.context, told))

    def _show(self, told: str) -> None:
        self._said += 1
        if self._said <= SAID_MAX:
            self._say(told)
        elif self._said == SAID_MAX + 1:
            self._say("blocked: further ones are told in the summary and the spans")


def _sentence(program: Program, destination: Destination, ruling: Ruling) -> str:
    did = "blocked" if ruling.is_denied else "would block"
    who = f"{program.name or 'a program'} ({shown_chain(program.lineage, ' → ')})"
    rule = f", rule {ruling.rule}" if ruling.rule else ""
    return printable(f"{did}: {who} → {destination.shown}{rule}", limit=500)
