"""What every way out has in common: bytes go in, a receipt or a SendError comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from exporter.otlp.settings import Endpoint


class SendError(Exception):
    """A payload was not taken."""

    def __init__(
        self, error_type: str, reason: str, *, fix: str, retryable: bool, retry_after_s: float | None = None
    ) -> None:
        super().__init__(reason)
        self.error_type = error_type
        """`error.type`: few distinct values, such as `timeout`, `503` or `ENOSPC`."""
        self.reason = reason
        self.fix = fix
        self.retryable = retryable
        """The same payload may be taken later."""
        self.retry_after_s = retry_after_s
        """How long the receiver asked to be left alone."""


class MisdirectedError(SendError):
    """No payload would be taken: who answers isn't the receiver that is meant, or doesn't know us."""


class SpoolError(Exception):
    """Something can't be kept on disk, or not be read any more."""

    def __init__(self, error_type: str, reason: str) -> None:
        super().__init__(reason)
        self.error_type = error_type
        """`error.type`: few distinct values, such as `spool_full`, `ENOSPC` or `corrupt`."""
        self.reason = reason


class Receipt(NamedTuple):
    """What the receiver took."""

    rejected: int = 0
    """Spans, data points or log records of the payload that it refused for good."""
    message: str = ""
    """Its own words about that."""


class Transport(Protocol):
    """Carries one encoded request."""

    def send(self, payload: bytes, timeout_s: float) -> Receipt:
        """Deliver `payload`, in about `timeout_s` at most. Raises SendError."""

    def close(self) -> None:
        """Let go of connections and descriptors; a send under way may fail."""


@dataclass(frozen=True)
class Sink:
    """A place one signal goes to."""

    where: str
    """For messages: a URL or a path."""
    transport: Transport
    encode: Callable[[Any], bytes]
    """From spans, metrics data or log records to the payload `transport` carries."""
    timeout_s: float
    largest_payload: int
    """Bytes the receiver takes in one request."""
    endpoint: Endpoint | None = None
    """Of a collector, which may be away for a while."""
