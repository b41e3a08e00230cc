"""The table of destinations: a row for all acts that have the same properties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.common.net.dns_messages import DNS_PORT
from exporter.pipeline.ruling import ALLOWED, is_shared_with_another
from exporter.pipeline.summary import FAILED
from exporter.report.model import ReportedAct
from exporter.report.what_if import WhatIf, WhatIfAnswer

_ADDRESSES_MAX = _QUESTIONS_MAX = 20


class RowKey(NamedTuple):
    """The properties that acts of one row have in common."""

    destination: str
    transport: str | None
    is_loopback: bool
    chain: tuple[str, ...]
    step: str | None
    verdict: str
    rule: str | None
    is_shared: bool
    """Whether the rule is for another name of the address."""
    seen: WhatIfAnswer
    """The answer of baseline and policy on these acts."""

    @property
    def is_against(self) -> bool:
        """Whether the acts of the row are new, were denied, or would be: such rows come first."""
        return self.seen.novel is True or self.verdict != ALLOWED or self.seen.is_denied


@dataclass(slots=True)
class RowCounts:
    """The sums over the acts of one row."""

    attempts: int = 0
    failed: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    first_ns: int = 0
    acts: list[int] = field(default_factory=list)
    """The places (indices) of the acts in their job."""
    addresses: Counter[str] = field(default_factory=Counter)
    questions: Counter[str] = field(default_factory=Counter)
    """Attempts by the name that a lookup asked for."""
    is_lookup: bool = False

    def add(self, place: int, act: ReportedAct) -> None:
        """Count `act`, whose place in its job is `place`."""
        self.attempts += act.attempts
        self.failed += act.attempts if act.outcome in FAILED else 0
        self.bytes_sent += act.bytes_sent or 0
        self.bytes_received += act.bytes_received or 0
        self.first_ns = min(self.first_ns or act.started_ns, act.started_ns)
        self.acts.append(place)
        self.is_lookup |= act.port == DNS_PORT or act.question is not None
        _count(self.addresses, act.address, act.attempts, _ADDRESSES_MAX)
        for name in act.names or (act.question,):
            _count(self.questions, name, act.attempts, _QUESTIONS_MAX)


Table = dict[RowKey, RowCounts]


def table_of(acts: Iterable[ReportedAct], held: WhatIf) -> Table:
    """Count acts in rows, sorted for reading: new, denied, then failed ones, then by bytes and attempts.

    Loopback comes last, and among rows that are equally new and denied, lookups of names come last.
    """
    rows: Table = {}
    for place, act in enumerate(acts):
        row = RowKey(
            act.destination,
            act.transport,
            act.is_loopback,
            act.chain,
            act.step,
            act.verdict,
            act.rule,
            is_shared_with_another(act.verdict, act.rule, act.host),
            held.seen(act),
        )
        rows.setdefault(row, RowCounts()).add(place, act)
    return dict(sorted(rows.items(), key=_order))


def _order(item: tuple[RowKey, RowCounts]) -> tuple[object, ...]:
    row, counts = item
    is_denied = row.verdict != ALLOWED or row.seen.is_denied
    size = counts.bytes_sent + counts.bytes_received
    urgency = (row.is_loopback, not row.seen.novel, not is_denied, counts.is_lookup, not counts.failed)
    return (*urgency, -size, -counts.attempts, row.destination)


def _count(counter: Counter[str], text: str | None, times: int, limit: int) -> None:
    if text and (text in counter or len(counter) < limit):
        counter[text] += times
