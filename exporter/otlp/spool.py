"""An SQLite file of parcels that a collector hasn't accepted yet; it survives whatever ends the process."""

from __future__ import annotations

import contextlib
import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .ledger import LedgerEntry, ParcelAttempts
from .sinks import SpoolError

EDITION = 1
_SCHEMA = """
CREATE TABLE parcels (
    number INTEGER PRIMARY KEY, exported INTEGER, aggregated INTEGER, weights BLOB, packed BLOB
)
"""
_ERROR_TYPES = {
    "SQLITE_FULL": "ENOSPC",
    "SQLITE_CORRUPT": "corrupt",
    "SQLITE_NOTADB": "corrupt",
    "SQLITE_READONLY": "EROFS",
    "SQLITE_IOERR": "EIO",
    "SQLITE_CANTOPEN": "unusable",
}
_LONGEST_WAL = 4 << 20
_CACHE_KIB = 256


class Stored(NamedTuple):
    """A parcel as it stands on disk."""

    number: int
    claim: ParcelAttempts
    weights: bytes
    """A 64-bit integer for each entry: twice its attempts, plus one for an aggregate span."""
    packed: bytes
    """The payload, compressed by zlib: outages are long, disks are small."""


def heaviest(weights: bytes, number: int) -> ParcelAttempts:
    """Return the attempts of a parcel's `number` heaviest entries: which ones were rejected isn't known."""
    claim = ParcelAttempts()
    for weight in sorted(array("q", weights), reverse=True)[:number]:
        claim.add(weight >> 1, is_aggregated=bool(weight & 1))
    return claim


def _weights(entries: Sequence[LedgerEntry]) -> bytes:
    return array("q", [entry.attempts << 1 | entry.is_aggregated for entry in entries]).tobytes()


class Spool:
    """A file of parcels by number, the oldest first. All methods raise SpoolError; not thread-safe."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`, which may be empty."""
        self.path = path
        self._done_up_to = -1
        with _errors():
            # One owner: no shared memory file, whose pages a full disk couldn't back.
            self._db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                self._set_up()
            except BaseException:
                self._db.close()
                raise

    def append(self, number: int, entries: Sequence[LedgerEntry], packed: bytes) -> bytes:
        """Store a parcel, whole or not at all. Returns the weights of its entries."""
        unsettled = [entry for entry in entries if not entry.is_settled]
        claim = ParcelAttempts()
        for entry in unsettled:
            claim.add(entry.attempts, is_aggregated=entry.is_aggregated)
        weights = _weights(unsettled)
        row = (number, claim.exported, claim.aggregated, weights, packed)
        with _errors():
            self._db.execute("INSERT INTO parcels VALUES (?, ?, ?, ?, ?)", row)
        return weights

    def oldest(self) -> Stored | None:
        """Return the parcel with the lowest number that isn't removed, if any."""
        with _errors():
            row = self._db.execute(
                "SELECT * FROM parcels WHERE number > ? ORDER BY number LIMIT 1", (self._done_up_to,)
            ).fetchone()
        if row is None:
            return None
        number, exported, aggregated, weights, packed = row
        return Stored(number, ParcelAttempts(exported, aggregated), weights, packed)

    def remove(self, number: int) -> None:
        """Drop the parcels up to `number`. When the disk refuses, this process forgets them all the same."""
        self._done_up_to = number
        with _errors():
            self._db.execute("DELETE FROM parcels WHERE number <= ?", (number,))

    def give_back(self) -> None:
        """Return free space to the disk."""
        with _errors():
            self._db.execute("PRAGMA incremental_vacuum").fetchall()
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @property
    def free_bytes(self) -> int:
        """Bytes that the file holds unused, for later parcels."""
        with _errors():
            (pages,) = self._db.execute("PRAGMA freelist_count").fetchone()
            (size,) = self._db.execute("PRAGMA page_size").fetchone()
            return int(pages) * int(size)

    def total(self) -> ParcelAttempts:
        """Return the attempts in all parcels together."""
        with _errors():
            row = self._db.execute("SELECT total(exported), total(aggregated) FROM parcels").fetchone()
        return ParcelAttempts(int(row[0]), int(row[1]))

    @property
    def is_empty(self) -> bool:
        """Whether every parcel is removed."""
        with _errors():
            query = "SELECT 1 FROM parcels WHERE number > ? LIMIT 1"
            return self._db.execute(query, (self._done_up_to,)).fetchone() is None

    def close(self) -> None:
        """Close the file."""
        with _errors():
            self._db.close()

    def _set_up(self) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._db.execute("PRAGMA journal_mode = WAL").fetchone()
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(f"PRAGMA journal_size_limit = {_LONGEST_WAL}").fetchone()
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        (edition,) = self._db.execute("PRAGMA user_version").fetchone()
        if edition == 0:
            self._db.execute(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {EDITION}")
        elif edition != EDITION:
            raise SpoolError("edition", f"it was written by another version (edition {edition})")


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        known = next((kind for prefix, kind in _ERROR_TYPES.items() if name.startswith(prefix)), name)
        raise SpoolError(known, str(error)) from error
