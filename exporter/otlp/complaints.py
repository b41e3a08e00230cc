"""Problems worth a line to the user, each said once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable
from urllib.parse import urlsplit

from exporter.otlp.sinks import Receipt, SendError

_LONGEST = 500
_OF_THE_SERVER = frozenset({"unreachable", "timeout", "tls"})


class Complaints:
    """Thread-safe; what was said once isn't said again, even after it went away and came back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[Hashable] = set()
        self._untold: list[str] = []

    def add(self, key: Hashable, line: str) -> None:
        """Keep `line` unless something was said under `key` before. Text from outside may be hostile."""
        with self._lock:
            if key not in self._known:
                self._known.add(key)
                self._untold.append(_printable(line[:_LONGEST]))

    def add_failure(self, what: str, where: str, error: SendError) -> None:
        """`what` (spans, metrics) can't be sent to `where`: one line for each kind of failure there.

        A server that is away is away for spans and metrics alike, whatever their paths.
        """
        place = urlsplit(where).netloc if error.error_type in _OF_THE_SERVER else where
        self.add(
            (place or where, error.error_type),
            f"{what} can't be sent to {where}: {error.reason}; {error.fix}",
        )

    def add_rejection(self, what: str, where: str, receipt: Receipt) -> None:
        """`where` answered that it took only a part, if it did."""
        if receipt.rejected:
            reason = receipt.message or "it gave no reason"
            self.add(
                (where, "rejected"), f"{where} rejected {what}: {reason}; check the collector's configuration"
            )

    def take(self) -> list[str]:
        """The lines nobody has taken yet."""
        with self._lock:
            lines, self._untold = self._untold, []
            return lines


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


class ComplaintHandler(logging.Handler):
    """Turns what the OpenTelemetry SDK logs into complaints, where it would otherwise go to stderr."""

    def __init__(self, complaints: Complaints) -> None:
        super().__init__(logging.WARNING)
        self._complaints = complaints
        self._logger = logging.getLogger("opentelemetry")
        self._propagated = self._logger.propagate

    def emit(self, record: logging.LogRecord) -> None:
        """One complaint for each place in the SDK that has something to say."""
        self._complaints.add((record.name, record.lineno), f"{record.name}: {record.getMessage()}")

    def install(self) -> None:
        """Take over the SDK's loggers."""
        self._propagated = self._logger.propagate
        self._logger.addHandler(self)
        self._logger.propagate = False

    def remove(self) -> None:
        """Give them back."""
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated
