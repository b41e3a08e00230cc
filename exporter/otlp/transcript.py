"""A copy of this process's spans for the report at the end, in a file without a name. No account has it."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .encoders import json_line_encoder
from .ledger import Ledger, LedgerTotals
from .settings import DEFAULT_TIMEOUT_S, Signal
from .sinks import Receipt, SendError, Sink, SpoolError, error_type_of

LIMIT_BYTES = 256 << 20
_LARGEST_LINE = 1 << 20
_FOLDERS = ("/var/tmp", "/tmp")  # noqa: S108 - the file has no name there


class Transcript:
    """A bounded file of OTLP/JSON lines; its maker must close it."""

    def __init__(self, folder: str | None = None, *, limit_bytes: int = LIMIT_BYTES) -> None:
        """Make the file, if possible on the disk of `folder`. Raises SpoolError where it can't be made."""
        self._file = _File(_nameless([folder, *_FOLDERS] if folder else _FOLDERS), limit_bytes)
        self.ledger = Ledger()
        """The ledger of the attempts handed to it; it is part of no other account."""
        self.sink = Sink(
            "the report", self._file, json_line_encoder(Signal.TRACES), DEFAULT_TIMEOUT_S, _LARGEST_LINE
        )

    @property
    def path(self) -> Path:
        """The path at which this process alone can read it, until it is closed."""
        return self._file.path

    @property
    def account(self) -> LedgerTotals:
        """The outcomes of the attempts handed to it."""
        return self.ledger.account()

    def close(self) -> None:
        """Close the file, which deletes it: it has no name."""
        self._file.end()


class _File:
    """The transport with which a lane appends to the file."""

    def __init__(self, descriptor: int, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._descriptor = descriptor
        self._size = 0
        self._lock = threading.Lock()
        """Guards the descriptor: a lane that was given up may still write when the file is closed."""
        self._is_open = True

    @property
    def path(self) -> Path:
        return Path(f"/proc/self/fd/{self._descriptor}")

    def send(self, payload: bytes, timeout_s: float) -> Receipt:
        """Append a line whole or not at all. Raises SendError."""
        del timeout_s
        with self._lock:
            if not self._is_open or self._size + len(payload) > self._limit_bytes:
                raise _refusal("transcript_full", f"it holds {self._limit_bytes >> 20} MiB")
            try:
                self._append(payload)
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, self._size)
                raise _refusal(error_type_of(error), error.strerror or str(error)) from error
        return Receipt()

    def close(self) -> None:
        """Do nothing: the lane has finished, but the file is still to be read."""

    def end(self) -> None:
        with self._lock:
            if self._is_open:
                self._is_open = False
                os.close(self._descriptor)

    def _append(self, payload: bytes) -> None:
        written = 0
        while written < len(payload):
            written += os.pwrite(self._descriptor, payload[written:], self._size + written)
        self._size += len(payload)


def _refusal(error_type: str, reason: str) -> SendError:
    return SendError(error_type, reason, fix="make the report of --otlp-dir", retryable=False)


def _nameless(folders: Iterable[str]) -> int:
    """Create a file without a name, for this user alone, in the first folder possible. Raises SpoolError.

    On most systems /var/tmp is on disk, while /tmp is often in memory.
    """
    error: OSError | None = None
    for folder in folders:
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                return os.dup(file.fileno())
        except OSError as this:
            error = error or this
    reason = error.strerror if error else "there is no folder for it"
    raise SpoolError("transcript", reason or str(error))
