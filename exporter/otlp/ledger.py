"""The account of what was handed over: an attempt ends as exported, aggregated or dropped, exactly once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan

from exporter.otlp.records import LogRecord

EXPORT = "export"
SPOOL = "spool"


@dataclass(frozen=True)
class Account:
    """Attempts (kernel events) so far.

    submitted = exported + aggregated + sum(dropped.values()) + pending + spooled
    """

    exported: int = 0
    """Accepted by a collector or written to a file."""
    dropped: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By (`egress.stage`, `error.type`)."""
    pending: int = 0
    """Waiting in a queue or under way."""
    aggregated: int = 0
    """Accepted or written like the exported ones, but not one by one: an aggregate span stands for them."""
    spooled: int = 0
    """Waiting on disk for the collector."""


class Claim:
    """The attempts that one parcel on disk stands for."""

    __slots__ = ("aggregated", "exported", "is_settled")

    def __init__(self, exported: int = 0, aggregated: int = 0) -> None:
        self.exported = exported
        self.aggregated = aggregated
        self.is_settled = False

    @property
    def attempts(self) -> int:
        """Both together."""
        return self.exported + self.aggregated

    def add(self, attempts: int, *, is_aggregated: bool) -> None:
        """Let it stand for more; for fewer, if `attempts` is negative."""
        if is_aggregated:
            self.aggregated += attempts
        else:
            self.exported += attempts


class Entry:
    """A span or a log record on its way, to one destination or to several at once."""

    __slots__ = ("attempts", "claim", "is_aggregated", "is_settled", "item", "outstanding")

    def __init__(
        self, item: ReadableSpan | LogRecord, attempts: int, outstanding: int, *, is_aggregated: bool = False
    ) -> None:
        self.item = item
        self.attempts = attempts
        self.is_aggregated = is_aggregated
        self.outstanding = outstanding
        """Destinations that may take it yet."""
        self.claim: Claim | None = None
        """It stands on disk, too."""
        self.is_settled = False


class Ledger:
    """Thread-safe. An entry is exported when one destination takes it, dropped when all have failed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exported = 0
        self._aggregated = 0
        self._pending = 0
        self._spooled = 0
        self._dropped: Counter[tuple[str, str]] = Counter()
        self.has_losses = False
        """Whether anything got lost, also what stands for no attempt, such as a job's span."""

    def open(self, entry: Entry) -> None:
        """Count an entry as pending."""
        with self._lock:
            self._pending += entry.attempts

    def settle(self, entries: Sequence[Entry], *, rejected: int, error_type: str) -> None:
        """A destination took all but `rejected` of `entries`.

        Nobody says which ones were rejected: those that stand for most attempts are taken for it, to be safe.
        """
        if rejected:
            self.note_loss()
        by_weight = sorted(entries, key=lambda entry: entry.attempts, reverse=True)
        for entry in by_weight[:rejected]:
            self.failed(entry, error_type)
        for entry in by_weight[rejected:]:
            self._delivered(entry)

    def failed(self, entry: Entry, error_type: str, *, stage: str = EXPORT) -> None:
        """A destination will never take the entry; the last one to fail names the reason."""
        with self._lock:
            entry.outstanding -= 1
            if entry.outstanding <= 0 and not entry.is_settled and entry.claim is None:
                entry.is_settled = True
                self._pending -= entry.attempts
                self._drop(stage, error_type, entry.attempts)

    def refused(self, attempts: int, error_type: str) -> None:
        """An entry that no destination was ever asked to take."""
        with self._lock:
            self._drop(EXPORT, error_type, attempts)

    def spooled(self, entries: Sequence[Entry]) -> Claim:
        """They stand in a parcel on disk, and may be forgotten here: the claim is settled instead of them."""
        claim = Claim()
        with self._lock:
            for entry in entries:
                entry.outstanding -= 1
                if not entry.is_settled:
                    entry.claim = claim
                    claim.add(entry.attempts, is_aggregated=entry.is_aggregated)
            self._pending -= claim.attempts
            self._spooled += claim.attempts
        return claim

    def adopt(self, claim: Claim) -> None:
        """A parcel that another process left on disk."""
        with self._lock:
            self._spooled += claim.attempts

    def replayed(self, claim: Claim, rejected: Claim) -> None:
        """A destination took a parcel from disk, all but what `rejected` stands for."""
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

    def lost(self, claim: Claim, error_type: str, *, stage: str = SPOOL) -> None:
        """A parcel from disk is lost: it can't be read any more, or was refused for good."""
        with self._lock:
            if claim.is_settled:
                return
            self._close(claim)
            self._drop(stage, error_type, claim.attempts)

    def note_loss(self) -> None:
        """Something got lost that stands for no attempt, or nobody knows for how many."""
        self.has_losses = True

    def account(self) -> Account:
        """The account at this moment; reasons that cost no attempt are left out."""
        with self._lock:
            dropped = dict(+self._dropped)
            return Account(self._exported, dropped, self._pending, self._aggregated, self._spooled)

    def _delivered(self, entry: Entry) -> None:
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

    def _close(self, claim: Claim) -> None:
        claim.is_settled = True
        self._spooled -= claim.attempts
