"""The account: every attempt the kernel saw is exported, aggregated, dropped, or still on its way."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class KernelCounts(NamedTuple):
    """Numbers of attempts that the kernel counted."""

    attempts: int
    lost: int
    """Number of attempts for which the kernel had no room, neither for a record nor in a counter."""


class Delivered(Protocol):
    """Counts of the attempts that were handed to `exporter/otlp`, by their state."""

    @property
    def exported(self) -> int:
        """Attempts with a span of their own that a collector accepted, or that were written to a file."""

    @property
    def aggregated(self) -> int:
        """Attempts of aggregate spans that a collector accepted, or that were written to a file."""

    @property
    def dropped(self) -> Mapping[tuple[str, str], int]:
        """Attempts that were given up, by (`egress.stage`, `error.type`)."""

    @property
    def pending(self) -> int:
        """Attempts that are in a queue or being sent."""

    @property
    def spooled(self) -> int:
        """Attempts that wait on disk until the collector answers again."""


@dataclass(frozen=True)
class Account:
    """The balance: attempts = exported + aggregated + sum(dropped) + sum(pending), at every moment."""

    attempts: int
    exported: int
    aggregated: int
    dropped: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Number of attempts by (`egress.stage`, `error.type`)."""
    pending: Mapping[str, int] = field(default_factory=dict)
    """Number of attempts by `egress.stage`: ring, queue, spool."""

    def __str__(self) -> str:
        """Return the last line of the summary."""
        return (
            f"attempts {self.attempts} = exported {self.exported} + aggregated {self.aggregated}"
            f" + dropped {sum(self.dropped.values())} + pending {sum(self.pending.values())}"
        )

    def fields(self) -> dict[str, object]:
        """Return the account as a value for JSON."""
        return {
            "attempts": self.attempts,
            "exported": self.exported,
            "aggregated": self.aggregated,
            "dropped": {f"{stage}/{error}": number for (stage, error), number in self.dropped.items()},
            "pending": dict(self.pending),
        }


class Bookkeeping:
    """A bookkeeper that draws up the account from the counts that each stage keeps for itself."""

    def __init__(
        self,
        kernel: Callable[[], KernelCounts],
        delivered: Callable[[], Delivered],
        waiting: Callable[[], int],
        earlier: Callable[[], Delivered],
    ) -> None:
        """All callables are called anew for each account, from any thread.

        `waiting` returns the number of attempts in open flows. `earlier` returns the counts of attempts that
        an earlier process left on disk: they are in the `attempts` of that process's account, not of ours.
        """
        self._kernel = kernel
        self._delivered = delivered
        self._waiting = waiting
        self._earlier = earlier
        self._lock = threading.Lock()
        self._dropped: Counter[tuple[str, str]] = Counter()

    def drop(self, stage: str, error_type: str, attempts: int = 1) -> None:
        """Count attempts that are given up."""
        with self._lock:
            self._dropped[stage, error_type] += attempts

    @property
    def settled(self) -> int:
        """Number of attempts that are exported, on disk, or given up: this stays true if the process dies."""
        delivered = self._delivered()
        with self._lock:
            own = sum(self._dropped.values())
        told = delivered.exported + delivered.aggregated + delivered.spooled
        return told + own + sum(delivered.dropped.values())

    def account(self) -> Account:
        """Return the account as of now.

        An attempt that the kernel counted and that no stage has is pending in the ring. An attempt that got
        lost uncounted would stay there for ever, and be noticed. The stages are asked from the last to the
        first. So an attempt that moves on meanwhile is missed, and counts as pending in the ring; it is never
        counted twice.
        """
        delivered = self._delivered()
        with self._lock:
            own = dict(self._dropped)
        queued = delivered.pending + self._waiting()
        kernel = self._kernel()
        settled = delivered.exported + delivered.aggregated + sum(delivered.dropped.values())
        settled += sum(own.values())
        in_ring = kernel.attempts - kernel.lost - settled - queued - delivered.spooled
        dropped = {**own, **delivered.dropped}
        if kernel.lost:
            dropped["kernel", "ring_full"] = kernel.lost
        pending = {"ring": in_ring, "queue": queued, "spool": delivered.spooled}
        return Account(kernel.attempts, delivered.exported, delivered.aggregated, dropped, pending)

    def published(self) -> Account:
        """Return the account for metrics, with `earlier` in all numbers but `attempts`.

        In metrics, the process that settles an attempt counts it.
        """
        own, earlier = self.account(), self._earlier()
        dropped = Counter(own.dropped)
        dropped.update(earlier.dropped)
        return Account(
            own.attempts,
            own.exported + earlier.exported,
            own.aggregated + earlier.aggregated,
            dropped,
            {**own.pending, "spool": own.pending["spool"] + earlier.spooled},
        )
