"""Delivery of parcels (encoded requests) to a collector; while it is away, they wait on disk, in order.

A collector that refuses every request (for a wrong header, path or certificate) counts as away, too: a typo
must not lose parcels. Only a parcel that the collector refuses for its content is lost.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from exporter.common.limits import limit_hint
from exporter.common.text import counted

from .complaints import Complaints
from .depot import CORRUPT, Books, Depot, Waiting
from .ledger import EXPORT, SPOOL, LedgerEntry
from .pauses import LAST_PAUSE_S, LAST_TRIES, pauses_s
from .sinks import MisdirectedError, Receipt, SendError, Sink, SpoolError
from .spool_folder import SpoolFolder

WINDOW = 2
PATIENCE_S = 1.0
_MARGIN_S = 0.25
_MEANS = {CORRUPT: "what can't be read of it is lost", "edition": "it stays there", "expired": "given up"}
_OTHERWISE = "what the collector doesn't take meanwhile is lost"


class Timer:
    """A clock for the pauses between tries; tests replace it by a faster one."""

    def now_s(self) -> float:
        """Return the monotonic time in seconds."""
        return time.monotonic()

    def wait(self, changed: threading.Condition, timeout_s: float) -> None:
        """Wait until `changed` is notified, `timeout_s` at most."""
        changed.wait(timeout_s)


@dataclass(frozen=True)
class Spooling:
    """The folder in which telemetry waits for a collector that is away, and the timer for the tries."""

    folder: SpoolFolder
    timer: Timer = field(default_factory=Timer)


class Parcel:
    """An encoded request: in the window, so in memory alone, or on disk as well (then `waiting` is set)."""

    __slots__ = ("entries", "number", "payload", "waiting")

    def __init__(
        self, number: int, payload: bytes, entries: Sequence[LedgerEntry] = (), waiting: Waiting | None = None
    ) -> None:
        self.number = number
        self.payload = payload
        self.entries = entries
        self.waiting = waiting


class Courier:
    """A thread that sends one parcel at a time, in order; two are in memory at most.

    As soon as the collector is away, or keeps the next parcel waiting for longer than PATIENCE_S, all parcels
    go to disk, the one under way included, so that the lane's queue never fills. It stays like that until
    no parcel of this process is left on disk. A parcel that the disk doesn't take is dropped and counted
    (stage `spool`).
    """

    def __init__(
        self, what: str, sink: Sink, spooling: Spooling, books: Books, complaints: Complaints
    ) -> None:
        """Start the thread. `what` names the signal in messages; `sink` must have an endpoint."""
        assert sink.endpoint  # noqa: S101 - for mypy: files have no courier
        self._what = what
        self._sink = sink
        self._folder = spooling.folder
        self._timer = spooling.timer
        self._books = books
        self._complaints = complaints
        self._depot = Depot(spooling.folder, sink.endpoint, books, self._complain)
        self._changed = threading.Condition()
        self._number = 0
        self._window: deque[Parcel] = deque()
        self._is_away = False
        self._pauses_s = pauses_s()
        self._closing = False
        self._abandoned = False
        self._is_asking = False
        self._last_failures = 0
        self._last_error_type = "timeout"
        self._deadline_s = float("inf")
        self.left = ""
        """The telemetry that `finish` left on disk, in words for messages; empty for none."""
        self._thread = threading.Thread(target=self._run, name=f"otlp courier {sink.where}", daemon=True)
        self._thread.start()

    def put(self, entries: Sequence[LedgerEntry], payload: bytes) -> None:
        """Take over a request and the account of its entries. Waits for PATIENCE_S and the disk at most."""
        with self._changed:
            self._number += 1
            parcel = Parcel(self._number, payload, entries)
            if not self._is_away and not self._changed.wait_for(self._has_room, self._patience_s()):
                self._is_away = True
                self._spill()
            if self._is_away or self._abandoned:
                self._store_or_drop(parcel)
            else:
                self._window.append(parcel)
            self._changed.notify_all()

    def hurry(self, deadline_s: float) -> None:
        """Set the deadline (monotonic) by which every parcel must be settled. Returns at once."""
        self._deadline_s = deadline_s

    def finish(self, deadline_s: float) -> None:
        """Send parcels until `deadline_s` (monotonic); those left over wait on disk for the next start."""
        with self._changed:
            self._deadline_s = deadline_s
            self._closing = True
            self._changed.notify_all()
        self._thread.join(max(deadline_s - _MARGIN_S - time.monotonic(), 0))
        with self._changed:
            self._abandoned = True
            if self._is_asking:  # an answer that comes later is reported to nobody
                none = SendError("timeout", "no answer by the end", fix="check the collector", retryable=True)
                self._complaints.add_failure(self._what, self._sink.where, none)
            self._spill()
            for parcel in self._window:
                self._books.own.settle(
                    parcel.entries, rejected=len(parcel.entries), error_type=self._last_error_type
                )
            self._window.clear()
            self.left = self._left()
            self._depot.close()
        self._sink.transport.close()

    def _run(self) -> None:
        with self._changed:
            if not self._abandoned:  # else nobody would close the files again
                self._depot.adopt()
        while parcel := self._next():
            self._bring(parcel)

    def _next(self) -> Parcel | None:
        """Wait for the parcel that is due. None: there is nothing more to send."""
        with self._changed:
            while not self._is_over():
                if parcel := self._first():
                    self._is_asking = True
                    return parcel
                if self._closing:
                    return None
                self._changed.wait()
            return None

    def _first(self) -> Parcel | None:
        if self._window:
            return self._window[0]
        waiting = self._depot.oldest(own_only=self._closing)
        return Parcel(waiting.number, waiting.payload, waiting=waiting) if waiting else None

    def _bring(self, parcel: Parcel) -> None:
        answer = self._answer_to(parcel.payload)
        self._hear(answer)
        if isinstance(answer, Receipt):
            self._settle(parcel, answer)
        elif answer.retryable or isinstance(answer, MisdirectedError):
            self._went_away(answer)
        else:
            self._settle(parcel, answer.error_type)

    def _hear(self, answer: Receipt | SendError) -> None:
        """Report a failure or rejection in the answer, unless `finish` has reported that none came."""
        with self._changed:
            self._is_asking = False
            if self._abandoned:
                return
            if isinstance(answer, Receipt):
                self._complaints.add_receipt(self._what, self._sink.where, answer)
            else:
                self._complaints.add_failure(self._what, self._sink.where, answer)

    def _answer_to(self, payload: bytes) -> Receipt | SendError:
        try:
            return self._sink.transport.send(payload, self._sink.timeout_until(self._deadline_s))
        except SendError as error:
            return error
        except (OSError, RuntimeError, LookupError, ImportError, MemoryError) as error:
            fix = limit_hint(str(error)) or "free what it lacks"
            return SendError(type(error).__name__, repr(error), fix=fix, retryable=True)

    def _settle(self, parcel: Parcel, outcome: Receipt | str) -> None:
        """Account for a parcel that the collector took, or refused for good (with an `error.type`); go on."""
        with self._changed:
            if self._abandoned:
                return
            if parcel.waiting:
                _enter(parcel.waiting, outcome)
                self._depot.forget(parcel.waiting)
            else:
                rejected = max(len(parcel.entries), 1) if isinstance(outcome, str) else outcome.rejected
                error_type = outcome if isinstance(outcome, str) else "rejected"
                self._books.own.settle(parcel.entries, rejected=rejected, error_type=error_type)
                self._window.popleft()
            if not self._depot.has_own:
                self._is_away = False
            self._pauses_s = pauses_s()
            self._changed.notify_all()

    def _went_away(self, error: SendError) -> None:
        with self._changed:
            self._is_away = True
            self._last_error_type = error.error_type
            self._last_failures += self._closing
            self._spill()
            self._changed.notify_all()
            self._pause(error.retry_after_s or next(self._pauses_s))

    def _pause(self, pause_s: float) -> None:
        """Wait for the next try: `pause_s`, or until closing begins; once it has begun, a short while."""
        was_closing = self._closing
        end_s = self._timer.now_s() + (LAST_PAUSE_S if was_closing else pause_s)
        while self._closing == was_closing and not self._is_over() and self._timer.now_s() < end_s:
            self._timer.wait(self._changed, end_s - self._timer.now_s())

    def _is_over(self) -> bool:
        """Whether sending is over: `finish` has given up, or LAST_TRIES failed since closing began."""
        return self._abandoned or self._last_failures >= LAST_TRIES

    def _spill(self) -> None:
        """Write the parcels in memory to disk, as far as the disk takes them."""
        while self._window:
            parcel = self._window[0]
            try:
                parcel.waiting = self._depot.store(parcel.number, parcel.entries, parcel.payload)
            except SpoolError as error:
                self._complain(error)
                return
            parcel.entries = ()
            self._window.popleft()

    def _store_or_drop(self, parcel: Parcel) -> None:
        try:
            self._depot.store(parcel.number, parcel.entries, parcel.payload)
        except SpoolError as error:
            self._complain(error)
            for entry in parcel.entries:
                self._books.own.failed(entry, error.error_type, stage=SPOOL)

    def _has_room(self) -> bool:
        return len(self._window) < WINDOW or self._is_away

    def _patience_s(self) -> float:
        return min(PATIENCE_S, max(self._deadline_s - _MARGIN_S - time.monotonic(), 0))

    def _complain(self, error: SpoolError) -> None:
        trouble = f"{self._what} for {self._sink.where} can't wait in {self._folder.path}: {error.reason}"
        if error.error_type == CORRUPT:
            trouble = f"a file in {self._folder.path} is damaged: {error.reason}"
        elif error.error_type == "expired":
            trouble = f"{error.reason} in {self._folder.path}"
        means = _MEANS.get(error.error_type, _OTHERWISE)
        self._complaints.add((SPOOL, error.error_type, self._sink.where), f"{trouble}; {means}")

    def _left(self) -> str:
        if not self._depot.has_own:
            return ""
        if not self._books.counted:
            return self._what
        return f"{self._what} ({counted(self._depot.own_attempts, self._books.counted)})"


def _enter(waiting: Waiting, outcome: Receipt | str) -> None:
    """Account for a parcel from disk."""
    if isinstance(outcome, str):
        waiting.shelf.ledger.lost(waiting.claim, outcome, stage=EXPORT)
    else:
        waiting.shelf.ledger.replayed(waiting.claim, waiting.heaviest(outcome.rejected))
