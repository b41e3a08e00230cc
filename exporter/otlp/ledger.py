"""The account of what was handed over: an attempt ends as exported, aggregated or dropped, exactly once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan

STAGE = "export"


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


class Entry:
    """A span on its way, to one destination or to several at once."""

    __slots__ = ("attempts", "is_aggregated", "outstanding", "span")

    def __init__(
        self, span: ReadableSpan, attempts: int, outstanding: int, *, is_aggregated: bool = False
    ) -> None:
        self.span = span
        self.attempts = attempts
        self.is_aggregated = is_aggregated
        self.outstanding = outstanding
        """Destinations that haven't refused it yet; 0 once the entry is settled."""


class Ledger:
    """Thread-safe. A span is exported when one destination takes it, dropped when all have failed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exported = 0
        self._aggregated = 0
        self._pending = 0
        self._dropped: Counter[tuple[str, str]] = Counter()

    def open(self, entry: Entry) -> None:
        """Count a span as pending."""
        with self._lock:
            self._pending += entry.attempts

    def exported(self, entry: Entry) -> None:
        """A destination took the span."""
        with self._lock:
            if entry.outstanding:
                entry.outstanding = 0
                self._pending -= entry.attempts
                if entry.is_aggregated:
                    self._aggregated += entry.attempts
                else:
                    self._exported += entry.attempts

    def failed(self, entry: Entry, error_type: str) -> None:
        """A destination will never take the span; the last one to fail names the reason."""
        with self._lock:
            if not entry.outstanding:
                return
            entry.outstanding -= 1
            if not entry.outstanding:
                self._pending -= entry.attempts
                self._dropped[STAGE, error_type] += entry.attempts

    def refused(self, attempts: int, error_type: str) -> None:
        """A span that no destination was ever asked to take."""
        with self._lock:
            self._dropped[STAGE, error_type] += attempts

    def account(self) -> Account:
        """The account at this moment; reasons that cost no attempt are left out."""
        with self._lock:
            return Account(self._exported, dict(+self._dropped), self._pending, self._aggregated)
