"""The parcels that wait on disk for one collector: this process's, and those that dead processes left."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from exporter.common.text import counted

from .ledger import Ledger, LedgerEntry, ParcelAttempts
from .settings import Endpoint
from .sinks import SpoolError
from .spool_folder import OUTDATED_DAYS, SpoolFile, SpoolFolder

if TYPE_CHECKING:
    from .spool import Spool, Stored

CORRUPT = "corrupt"


class Books(NamedTuple):
    """The ledgers in which the attempts of one signal are accounted for."""

    own: Ledger
    earlier: Ledger
    """The ledger of the attempts that earlier processes left on disk."""
    counted: str = ""
    """The noun for the counted entries, for messages; empty where none are counted."""


class Waiting(NamedTuple):
    """A parcel on disk."""

    number: int
    payload: bytes
    weights: bytes
    claim: ParcelAttempts
    shelf: Shelf

    def heaviest(self, number: int) -> ParcelAttempts:
        """Return the attempts of the parcel's `number` entries with the most attempts."""
        from .spool import heaviest

        return heaviest(self.weights, number)


class Shelf:
    """A file of parcels, and the claims (numbers of attempts) of the parcels in it."""

    def __init__(self, file: SpoolFile, ledger: Ledger) -> None:
        """Open the file. Raises SpoolError."""
        from .spool import Spool  # not before it is needed: SQLite takes 10 ms to import

        self.file = file
        self.ledger = ledger
        self.spool: Spool = Spool(file.path)
        self.claims: dict[int, ParcelAttempts] = {}
        """Claims by parcel number, for the parcels that this process wrote."""
        self.found = ParcelAttempts()
        """Attempts of the parcels that another process wrote, as far as they are known and not settled."""
        self.damage: SpoolError | None = None
        """Why `found` couldn't be read at first; then each parcel is counted when it is read."""
        self._last_seen = 0
        self._is_closed = False
        self._count()

    def close(self) -> None:
        """Close the file, but keep its lock."""
        self._is_closed = True
        with contextlib.suppress(SpoolError):
            self.spool.close()

    def _count(self) -> None:
        try:
            self.found = self.spool.total()
        except SpoolError as error:
            self.damage = error
        self.ledger.adopt(self.found)

    def _see(self, stored: Stored) -> ParcelAttempts:
        if self.damage and stored.number > self._last_seen:
            self._last_seen = stored.number
            self.ledger.adopt(stored.claim)
            self.found.add(stored.claim.exported, is_aggregated=False)
            self.found.add(stored.claim.aggregated, is_aggregated=True)
        return self.claims.get(stored.number) or stored.claim

    @property
    def is_empty(self) -> bool:
        """Whether no parcel is left in the file; False when it can't be read."""
        try:
            return not self.claims and self.spool.is_empty
        except SpoolError:
            return False

    def oldest(self) -> Waiting | None:
        """Return the parcel to send next, if any. Raises SpoolError."""
        stored = self.spool.oldest()
        if stored is None and self.claims:
            raise SpoolError(CORRUPT, "parcels are missing")
        if stored is None:
            return None
        claim = self._see(stored)
        try:
            payload = zlib.decompress(stored.packed)
        except zlib.error as error:
            raise SpoolError(CORRUPT, str(error)) from error
        return Waiting(stored.number, payload, stored.weights, claim, self)

    def forget(self, waiting: Waiting) -> None:
        """Remove a settled parcel. Raises SpoolError when it can't be removed from the disk."""
        if self._is_closed:  # it was given up while the parcel was under way
            return
        if self.claims.pop(waiting.number, None) is None:
            self.found.add(-waiting.claim.exported, is_aggregated=False)
            self.found.add(-waiting.claim.aggregated, is_aggregated=True)
        self.spool.remove(waiting.number)

    def give_up(self, error_type: str) -> None:
        """Count everything left in the file as lost, for the reason `error_type`."""
        for claim in (*self.claims.values(), self.found):
            self.ledger.lost(claim, error_type)
        self.claims.clear()


class Depot:
    """The files of parcels for one endpoint. Not thread-safe: the courier's lock guards it."""

    def __init__(
        self,
        folder: SpoolFolder,
        endpoint: Endpoint,
        books: Books,
        on_problem: Callable[[SpoolError], None],
    ) -> None:
        """Don't touch the disk yet. `on_problem` is called with the disk errors that aren't raised."""
        self._folder = folder
        self._endpoint = endpoint
        self._books = books
        self._on_problem = on_problem
        self._own: Shelf | None = None
        self._left_over: list[Shelf] = []

    @property
    def has_own(self) -> bool:
        """Whether parcels of this process wait."""
        return self._own is not None and bool(self._own.claims)

    @property
    def own_attempts(self) -> int:
        """The number of attempts in the waiting parcels of this process."""
        return sum(claim.attempts for claim in self._own.claims.values()) if self._own else 0

    def adopt(self) -> None:
        """Take over the files that dead processes left; count outdated ones as lost and delete them."""
        for file in self._folder.adopt(self._endpoint):
            try:
                shelf = Shelf(file, self._books.earlier)
            except SpoolError as error:
                self._on_problem(error)
                self._set_aside(file, error)
            else:
                if shelf.damage:
                    self._on_problem(shelf.damage)
                self._left_over.append(shelf)
        for file in self._folder.outdated(self._endpoint):
            self._expire(file)

    def store(self, number: int, entries: Sequence[LedgerEntry], payload: bytes) -> Waiting:
        """Write a parcel to disk; from then on, its claim is settled, not its entries. Raises SpoolError."""
        try:
            return self._append(number, entries, payload)
        except SpoolError as error:
            if error.error_type != CORRUPT or self._own is None:
                raise
            self._give_up(self._own, error)
            self._discard(self._own)
            self._own = None
            return self._append(number, entries, payload)

    def oldest(self, *, own_only: bool) -> Waiting | None:
        """Return the parcel to send next: parcels of dead processes come first, unless `own_only`."""
        while self._left_over and not own_only:
            if waiting := self._look(self._left_over[0]):
                return waiting
            self._discard(self._left_over.pop(0))
        if self._own is None or not self._own.claims:
            return None
        waiting = self._look(self._own)
        if waiting is None:
            self._discard(self._own)
            self._own = None
        return waiting

    def forget(self, waiting: Waiting) -> None:
        """Remove a settled parcel from disk."""
        try:
            waiting.shelf.forget(waiting)
            if waiting.shelf is self._own and not self._own.claims:
                self._own.spool.give_back()
        except SpoolError as error:
            self._on_problem(error)

    def close(self) -> None:
        """Close all files. Empty ones are deleted; the others are unlocked, and stay for a later process."""
        for shelf in (*self._left_over, *([self._own] if self._own else [])):
            if shelf.is_empty:
                self._discard(shelf)
            else:
                self._let_go(shelf)
        self._left_over.clear()
        self._own = None

    def _append(self, number: int, entries: Sequence[LedgerEntry], payload: bytes) -> Waiting:
        if self._own is None:
            file = self._folder.create(self._endpoint)
            try:
                self._own = Shelf(file, self._books.own)
            except SpoolError:
                self._folder.delete(file)
                raise
        spool = self._own.spool
        packed = zlib.compress(payload, level=1)
        if self._folder.used_bytes() - spool.free_bytes + len(packed) > self._folder.limit_bytes:
            raise SpoolError("spool_full", f"it may hold {self._folder.limit_bytes >> 20} MiB")
        weights = spool.append(number, entries, packed)
        claim = self._own.claims[number] = self._books.own.spooled(entries)
        return Waiting(number, payload, weights, claim, self._own)

    def _look(self, shelf: Shelf) -> Waiting | None:
        """Return the oldest parcel of `shelf`. None: it has none, or none can be read any more."""
        try:
            return shelf.oldest()
        except SpoolError as error:
            self._give_up(shelf, error)
            return None

    def _give_up(self, shelf: Shelf, error: SpoolError) -> None:
        self._on_problem(error)
        shelf.give_up(error.error_type)

    def _discard(self, shelf: Shelf) -> None:
        shelf.close()
        self._folder.delete(shelf.file)

    def _let_go(self, shelf: Shelf) -> None:
        shelf.close()
        os.close(shelf.file.lock)

    def _expire(self, file: SpoolFile) -> None:
        try:
            shelf = Shelf(file, self._books.earlier)
        except SpoolError as error:
            self._set_aside(file, error)
        else:
            what = self._books.counted
            number = counted(shelf.found.attempts, what) if what else "telemetry"
            reason = f"{number} of an earlier run waited for another collector for {OUTDATED_DAYS} days"
            self._give_up(shelf, SpoolError("expired", reason))
            self._discard(shelf)

    def _set_aside(self, file: SpoolFile, error: SpoolError) -> None:
        """Delete a file that is damaged; leave one that another version wrote to that version."""
        if error.error_type == CORRUPT:
            self._folder.delete(file)
        else:
            os.close(file.lock)
