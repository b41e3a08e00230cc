"""A queue and a thread for each destination, so that a slow one delays neither the job nor another one."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from exporter.common.text import counted

from .complaints import Complaints
from .courier import Courier
from .ledger import Ledger, LedgerEntry
from .pauses import LAST_PAUSE_S, LAST_TRIES, pauses_s
from .sinks import SendError, Sink

BATCH = 512


@dataclass(frozen=True)
class Cargo:
    """A kind of telemetry that a lane carries, with the length of its queue."""

    what: str
    """Its name in messages."""
    capacity: int
    """The most entries that may wait in the queue."""
    gather_s: float
    """Seconds for which an entry waits for others to be sent with it."""


SPANS = Cargo("spans", 8192, 0.5)
LOG_RECORDS = Cargo("log records", 8192, 0.1)
"""The queue has room for all records that one job may log at once: TOLD_MAX (exporter/pipeline/alerts.py)
denials and as many novelties."""


class Lane:
    """A queue and a thread that deliver entries to one sink, in order, in batches and with retries.

    An entry that finds the queue full is dropped and counted (`queue_full`), so that the first entries of a
    flood survive. Once closing has begun, the second failure ends the retries.
    """

    def __init__(
        self,
        cargo: Cargo,
        sink: Sink,
        ledger: Ledger,
        complaints: Complaints,
        courier: Courier | None = None,
    ) -> None:
        """Start the thread. A `courier` takes over encoded requests, so that an outage loses none of them."""
        self._cargo = cargo
        self._sink = sink
        self._ledger = ledger
        self._complaints = complaints
        self._courier = courier
        self._queue: deque[LedgerEntry] = deque()
        self._under_way: list[LedgerEntry] = []
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._deadline_s = float("inf")
        self._abandoned = False
        self._last_tries = LAST_TRIES
        self._thread = threading.Thread(target=self._run, name=f"otlp {sink.where}", daemon=True)
        self._thread.start()

    def prepare(self) -> None:
        """Import now the modules that encoding needs."""
        self._sink.encode(())

    @property
    def room(self) -> int:
        """The number of entries that the queue has room for at this moment; never waits."""
        return max(self._cargo.capacity - len(self._queue), 0)

    def put(self, entry: LedgerEntry) -> None:
        """Queue an entry, or count it as dropped when there is no room. Never waits for the sink."""
        with self._changed:
            if len(self._queue) < self._cargo.capacity and not self._closing.is_set():
                self._queue.append(entry)
                if len(self._queue) in (1, BATCH):
                    self._changed.notify()
                return
        self._ledger.failed(entry, "closed" if self._closing.is_set() else "queue_full")

    def finish(self, deadline_s: float) -> None:
        """Ask for everything to be delivered by `deadline_s` (monotonic). Returns at once."""
        self._deadline_s = deadline_s
        if self._courier:
            self._courier.hurry(deadline_s)
        with self._changed:
            self._closing.set()
            self._changed.notify()

    def wait(self) -> None:
        """Wait for the deliveries that `finish` asked for; drop entries left at the deadline as `timeout`."""
        self._thread.join(max(self._deadline_s - time.monotonic(), 0))
        with self._changed:
            self._abandoned = True
            left = [*self._under_way, *self._queue]
            self._queue.clear()
        for entry in left:
            self._ledger.failed(entry, "timeout")

    def _run(self) -> None:
        while entries := self._next_batch():
            try:
                self._carry(entries)
            except Exception as error:  # noqa: BLE001 - later entries are carried all the same
                self._drop(error)
        if self._courier:
            self._courier.finish(self._deadline_s)
        else:
            self._sink.transport.close()

    def _carry(self, entries: Sequence[LedgerEntry]) -> None:
        for part, payload in self._payloads(entries):
            if self._courier:
                self._hand_over(self._courier, part, payload)
            else:
                self._deliver(part, payload)

    def _drop(self, error: Exception) -> None:
        """Count the entries that are still under way as lost, after an unexpected error."""
        with self._changed:
            left, self._under_way = self._under_way, []
        for entry in left:
            self._ledger.failed(entry, "internal")
        told = f"{counted(len(left), 'entry', 'entries')} for {self._sink.where} got lost: {error!r}"
        self._complaints.add((self._cargo.what, "internal"), told)

    def _next_batch(self) -> Sequence[LedgerEntry]:
        """Wait for up to BATCH entries, gathered for a moment. Empty: the lane closes, and none is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing.is_set())
            self._changed.wait_for(
                lambda: len(self._queue) >= BATCH or self._closing.is_set(), self._cargo.gather_s
            )
            self._under_way = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            return tuple(self._under_way)

    def _payloads(self, entries: Sequence[LedgerEntry]) -> Iterator[tuple[Sequence[LedgerEntry], bytes]]:
        """Encode `entries`, halving them until each payload is small enough for the receiver.

        An entry that can't be encoded is singled out in the same way, and counted as lost.
        """
        payload = self._encode(entries)
        if payload is not None and (len(payload) <= self._sink.largest_payload or len(entries) == 1):
            yield entries, payload
        elif len(entries) == 1:
            self._settle(entries, rejected=1, error_type="encoding")
        else:
            middle = len(entries) // 2
            yield from self._payloads(entries[:middle])
            yield from self._payloads(entries[middle:])

    def _encode(self, entries: Sequence[LedgerEntry]) -> bytes | None:
        try:
            return self._sink.encode([entry.item for entry in entries])
        except (TypeError, ValueError) as error:
            self._complaints.add(
                (self._cargo.what, "encoding"), f"one of the {self._cargo.what} can't be encoded: {error}"
            )
            return None

    def _deliver(self, entries: Sequence[LedgerEntry], payload: bytes) -> None:
        for pause_s in pauses_s():
            try:
                receipt = self._sink.transport.send(payload, self._sink.timeout_until(self._deadline_s))
            except SendError as error:
                self._complaints.add_failure(self._cargo.what, self._sink.where, error)
                if self._abandoned or not error.retryable or self._gives_up():
                    self._settle(entries, rejected=len(entries), error_type=error.error_type)
                    return
                self._pause(error.retry_after_s or pause_s)
            else:
                self._complaints.add_receipt(self._cargo.what, self._sink.where, receipt)
                self._settle(entries, rejected=receipt.rejected, error_type="rejected")
                return

    def _settle(self, entries: Sequence[LedgerEntry], *, rejected: int, error_type: str) -> None:
        with self._changed:
            if not self._abandoned:
                del self._under_way[: len(entries)]
                self._ledger.settle(entries, rejected=rejected, error_type=error_type)

    def _hand_over(self, courier: Courier, entries: Sequence[LedgerEntry], payload: bytes) -> None:
        with self._changed:
            if self._abandoned:
                return
            del self._under_way[: len(entries)]
        courier.put(entries, payload)

    def _gives_up(self) -> bool:
        if not self._closing.is_set():
            return False
        self._last_tries -= 1
        return self._last_tries <= 0

    def _pause(self, pause_s: float) -> None:
        """Wait for the next try: `pause_s`, or until closing begins; once it has begun, a short while."""
        if self._closing.is_set():
            time.sleep(LAST_PAUSE_S)
        else:
            self._closing.wait(pause_s)
