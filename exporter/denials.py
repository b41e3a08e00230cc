"""Reports denied and would-be denied attempts at once, the first time that a program meets a destination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from exporter.attempt import Attempt
from exporter.attributes import LayeredSpan
from exporter.destinations import Destination
from exporter.events import ProcessKey
from exporter.firsts import Firsts, Words, facts, sentence
from exporter.otlp import LogRecord, Severity
from exporter.policy.rule_texts import DNS_PORT

DENIED_EVENT, WOULD_DENY_EVENT = "cicd.egress.denied", "cicd.egress.would_deny"


class _Kind(NamedTuple):
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

    def meet(self, attempt: Attempt, span: Callable[[], LayeredSpan]) -> None:
        """Count an attempt against the policy; report the first of a kind, by the span that `span` makes."""
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
            self._firsts.record(WOULD_DENY_EVENT, Severity.WARN, span, told)
            return
        self._firsts.record(DENIED_EVENT, Severity.ERROR, span, told)
        by = {"rule": ruling.rule, "ruleset": ruling.ruleset}
        by |= {"question": ruling.refused} if ruling.refused else {}
        self._firsts.show(told, DENIED_EVENT, span, **facts(attempt), **by)


def _kind(attempt: Attempt) -> _Kind:
    program, ruling = attempt.program, attempt.ruling
    process, exec_id = (program.process, program.exec_id) if program else (None, 0)
    return _Kind(process, exec_id, attempt.destination, ruling.verdict, ruling.refused)


def _told(attempt: Attempt) -> str:
    rule, refused = attempt.ruling.rule, attempt.ruling.refused
    return sentence(attempt, f"rule {rule}" if rule else "", asked=refused)
