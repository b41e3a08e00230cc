"""What a policy denies, or would deny, told at once: the first time that a program meets a destination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from exporter.attributes import LayeredSpan
from exporter.destinations import Destination
from exporter.events import ProcessKey
from exporter.firsts import Firsts, Words, facts, sentence
from exporter.otlp import LogRecord, Severity
from exporter.policy.rule_texts import DNS_PORT
from exporter.programs import Program
from exporter.terms import Ruling

DENIED_EVENT, WOULD_DENY_EVENT = "cicd.egress.denied", "cicd.egress.would_deny"


class _First(NamedTuple):
    process: ProcessKey | None
    exec_id: int
    destination: Destination
    verdict: str
    refused: str | None


class Denials:
    """Those of one job."""

    def __init__(self, log: Callable[[LogRecord], object], say: Callable[..., object]) -> None:
        """`say` shows a line to whoever watches the job; for programs, what it says comes as keywords."""
        self.attempts = Counter[str]()
        """All that were denied or would be, by `egress.verdict`."""
        self.first: dict[str, str] = {}
        """Of each verdict the first one, in words; a lookup only where there was nothing else."""
        self._lookups: set[str] = set()
        """Verdicts of which `first` is a lookup."""
        self._firsts = Firsts(log, say, Words("denials", "blocked"))

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
        is_lookup = destination.port == DNS_PORT
        if ruling.verdict not in self.first or (ruling.verdict in self._lookups and not is_lookup):
            self.first[ruling.verdict] = _told(program, destination, ruling)
            (self._lookups.add if is_lookup else self._lookups.discard)(ruling.verdict)
        process, exec_id = (program.process, program.exec_id) if program else (None, 0)
        if self._firsts.meets(_First(process, exec_id, destination, ruling.verdict, ruling.refused)):
            self._tell(program, destination, ruling, span())

    def _tell(
        self, program: Program | None, destination: Destination, ruling: Ruling, span: LayeredSpan
    ) -> None:
        did = "blocked" if ruling.is_denied else "would block"
        told = f"{did}: {_told(program, destination, ruling)}"
        if not ruling.is_denied:
            self._firsts.record(WOULD_DENY_EVENT, Severity.WARN, span, told)
            return
        self._firsts.record(DENIED_EVENT, Severity.ERROR, span, told)
        by = {"rule": ruling.rule, "ruleset": ruling.ruleset}
        by |= {"question": ruling.refused} if ruling.refused else {}
        self._firsts.show(told, DENIED_EVENT, span, **facts(program, destination), **by)


def _told(program: Program | None, destination: Destination, ruling: Ruling) -> str:
    rule = f"rule {ruling.rule}" if ruling.rule else ""
    return sentence(program, destination, rule, asked=ruling.refused)
