"""Accounting of the attempts handed over: each ends as exported, aggregated or dropped, exactly once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan

from .records import LogRecord

EXPORT = "export"
SPOOL = "spool"


@dataclass(frozen=True)
class LedgerTotals:
    """The outcomes of the attempts (kernel events) so far.

    submitted = exported + aggregated + sum(dropped.values()) + pending + spooled
    """

    exported: int = 0
    """Attempts that a collector accepted or that were written to a file."""
    dropped: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Attempts lost, by (`egress.stage`, `error.type`)."""
    pending: int = 0
    """Attempts that wait in a queue or are under way."""
    aggregated: int = 0
    """Attempts that were accepted or written, too, but not one by one: in aggregate spans."""
    spooled: int = 0
    """Attempts that wait on disk for the collector."""


class ParcelAttempts:
    """A claim: the number of attempts in one parcel on disk, or in several."""

    __slots__ = ("aggregated", "exported", "is_settled")

    def __init__(self, exported: int = 0, aggregated: int = 0) -> None:
        self.exported = exported
        self.aggregated = aggregated
        self.is_settled = False

    @property
    def attempts(self) -> int:
        """Exported and aggregated attempts together."""
        return self.exported + self.aggregated

    def add(self, attempts: int, *, is_aggregated: bool) -> None:
        """Add `attempts` to the claim; a negative number takes some away."""
        if is_aggregated:
            self.aggregated += attempts
        else:
            self.exported += attempts


class LedgerEntry:
    """A span or a log record on its way to one destination, or to several at once."""

    __slots__ = ("attempts", "claim", "is_aggregated", "is_settled", "item", "outstanding")

    def __init__(
        self, item: ReadableSpan | LogRecord, attempts: int, outstanding: int, *, is_aggregated: bool = False
    ) -> None:
        self.item = item
        self.attempts = attempts
        self.is_aggregated = is_aggregated
        self.outstanding = outstanding
        """The number of destinations that may still accept it."""
        self.claim: ParcelAttempts | None = None
        """The claim of the parcel on disk that holds it, if any."""
        self.is_settled = False


class Ledger:
    """A thread-safe count of outcomes.

    An entry is exported when one destination accepts it, and dropped when all have failed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exported = 0
        self._aggregated = 0
        self._pending = 0
        self._spooled = 0
        self._dropped: Counter[tuple[str, str]] = Counter()
        self.has_losses = False
        """Whether anything got lost, including a span without an attempt, such as a job's."""

    def open(self, entry: LedgerEntry) -> None:
        """Count an entry as pending."""
        with self._lock:
            self._pending += entry.attempts

    def settle(self, entries: Sequence[LedgerEntry], *, rejected: int, error_type: str) -> None:
        """Account for `entries`, of which a destination accepted all but `rejected`.

        It doesn't say which ones it rejected. To be safe, those with the most attempts count as rejected.
        """
        if rejected:
            self.note_loss()
        by_weight = sorted(entries, key=lambda entry: entry.attempts, reverse=True)
        for entry in by_weight[:rejected]:
            self.failed(entry, error_type)
        for entry in by_weight[rejected:]:
            self._delivered(entry)

    def failed(self, entry: LedgerEntry, error_type: str, *, stage: str = EXPORT) -> None:
        """Note that a destination will never accept the entry; the last one to fail gives the reason."""
        with self._lock:
            entry.outstanding -= 1
            if entry.outstanding <= 0 and not entry.is_settled and entry.claim is None:
                entry.is_settled = True
                self._pending -= entry.attempts
                self._drop(stage, error_type, entry.attempts)

    def refused(self, attempts: int, error_type: str) -> None:
        """Count the attempts of an entry that was offered to no destination as dropped."""
        with self._lock:
            self._drop(EXPORT, error_type, attempts)

    def spooled(self, entries: Sequence[LedgerEntry]) -> ParcelAttempts:
        """Note that `entries` are in a parcel on disk. The returned claim is settled instead of them."""
        claim = ParcelAttempts()
        with self._lock:
            for entry in entries:
                entry.outstanding -= 1
                if not entry.is_settled:
                    entry.claim = claim
                    claim.add(entry.attempts, is_aggregated=entry.is_aggregated)
            self._pending -= claim.attempts
            self._spooled += claim.attempts
        return claim

    def adopt(self, claim: ParcelAttempts) -> None:
        """Count the attempts of parcels that another process left on disk."""
        with self._lock:
            self._spooled += claim.attempts

    def replayed(self, claim: ParcelAttempts, rejected: ParcelAttempts) -> None:
        """Account for a parcel from disk that a destination accepted, except the attempts in `rejected`."""
        with self._lock:
            if claim.is_settled:
                return
            exported = max(claim.exported - rejected.exported, 0)
            aggregated = max(claim.aggregated - rejected.aggregated, 0)
            self._close(claim)
            self._exported += exported
            self._aggregated += aggregated
            if rejected.attempts:
                self._drop(EXPORT, "rejected", claim.attempts - exported - aggregated)

    def lost(self, claim: ParcelAttempts, error_type: str, *, stage: str = SPOOL) -> None:
        """Count a claim's attempts as lost: its parcels can't be read, expired or were refused for good."""
        with self._lock:
            if claim.is_settled:
                return
            self._close(claim)
            self._drop(stage, error_type, claim.attempts)

    def note_loss(self) -> None:
        """Note a loss of no attempt, or of an unknown number of them."""
        self.has_losses = True

    def account(self) -> LedgerTotals:
        """Return the account at this moment, without the reasons that lost no attempt."""
        with self._lock:
            dropped = dict(+self._dropped)
            return LedgerTotals(self._exported, dropped, self._pending, self._aggregated, self._spooled)

    def _delivered(self, entry: LedgerEntry) -> None:
        with self._lock:
            if entry.is_settled or (entry.claim and entry.claim.is_settled):
                return
            entry.is_settled = True
            if entry.claim:
                entry.claim.add(-entry.attempts, is_aggregated=entry.is_aggregated)
                self._spooled -= entry.attempts
            else:
                self._pending -= entry.attempts
            if entry.is_aggregated:
                self._aggregated += entry.attempts
            else:
                self._exported += entry.attempts

    def _drop(self, stage: str, error_type: str, attempts: int) -> None:
        self._dropped[stage, error_type] += attempts
        self.has_losses = True

    def _close(self, claim: ParcelAttempts) -> None:
        claim.is_settled = True
        self._spooled -= claim.attempts
