"""Problems that are reported to the user, in one line each, and once for as long as the problem lasts."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from urllib.parse import urlsplit

from .sinks import Receipt, SendError

AGAIN_S = 60.0
"""Seconds in which a problem isn't reported again even if it went away: a collector may come and go."""

_LONGEST = 500
_OF_THE_SERVER = frozenset({"unreachable", "timeout", "tls"})


class Complaints:
    """A thread-safe list of problems; each is reported again only if it has gone away and come back."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._known: dict[Hashable, float] = {}
        self._untold: list[str] = []

    def add(self, key: Hashable, line: str) -> None:
        """Keep `line`, unless one is known under `key` already.

        The line is cut, and unprintable characters become spaces: text from outside may be hostile.
        """
        with self._lock:
            if key not in self._known:
                self._known[key] = self._now_s()
                self._untold.append(_printable(line[:_LONGEST]))

    def add_failure(self, what: str, where: str, error: SendError) -> None:
        """Report that `what` (spans, metrics) can't be sent to `where`, once for each kind of failure there.

        A server that can't be reached is reported once for all signals, whatever their paths.
        """
        place = urlsplit(where).netloc if error.error_type in _OF_THE_SERVER else where
        self.add(
            (place or where, error.error_type),
            f"{what} can't be sent to {where}: {error.reason}; {error.fix}",
        )

    def add_receipt(self, what: str, where: str, receipt: Receipt) -> None:
        """Report a rejection by `where`; if it took everything, forget the problems reported about it."""
        if not receipt.rejected:
            self._forget({where, urlsplit(where).netloc or where})
        else:
            reason = receipt.message or "it gave no reason"
            self.add(
                (where, "rejected"), f"{where} rejected {what}: {reason}; check the collector's configuration"
            )

    def _forget(self, places: set[str]) -> None:
        with self._lock:
            before_s = self._now_s() - AGAIN_S
            self._known = {
                key: said_s
                for key, said_s in self._known.items()
                if said_s > before_s or not (isinstance(key, tuple) and places.intersection(key))
            }

    def take(self) -> list[str]:
        """Return the lines that were added since the last call."""
        with self._lock:
            lines, self._untold = self._untold, []
            return lines


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


class ComplaintHandler(logging.Handler):
    """A handler that turns the OpenTelemetry SDK's warnings into complaints: else they would go to stderr."""

    def __init__(self, complaints: Complaints) -> None:
        super().__init__(logging.WARNING)
        self._complaints = complaints
        self._logger = logging.getLogger("opentelemetry")
        self._propagated = self._logger.propagate

    def emit(self, record: logging.LogRecord) -> None:
        """Add the record as a complaint, once for each line of the SDK's code that logs."""
        self._complaints.add((record.name, record.lineno), f"{record.name}: {record.getMessage()}")

    def install(self) -> None:
        """Take over the SDK's loggers."""
        self._propagated = self._logger.propagate
        self._logger.addHandler(self)
        self._logger.propagate = False

    def remove(self) -> None:
        """Undo `install`."""
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated
