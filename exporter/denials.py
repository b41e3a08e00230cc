"""Reports denied and would-be denied attempts at once, the first time that a program meets a destination."""

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
    """The denied and would-be denied attempts of one job."""

    def __init__(self, log: Callable[[LogRecord], object], say: Callable[..., object]) -> None:
        """`say` shows a line to whoever watches the job; the keywords tell programs the same."""
        self.attempts = Counter[str]()
        """Number of all denied and would-be denied attempts, by `egress.verdict`."""
        self.first: dict[str, str] = {}
        """The first attempt of each verdict, in words; a DNS lookup only where there was nothing else."""
        self._lookups: set[str] = set()
        """Verdicts for which `first` is a DNS lookup."""
        self._firsts = Firsts(log, say, Words("denials", "blocked"))

    def meet(
        self,
        program: Program | None,
        destination: Destination,
        ruling: Ruling,
        span: Callable[[], LayeredSpan],
        attempts: int = 1,
    ) -> None:
        """Count attempts against the policy; report the first of their kind, by the span that `span` makes.

        `program` is None when it isn't known who made them.
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
