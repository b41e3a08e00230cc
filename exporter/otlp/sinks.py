"""The interface of all transports: bytes go in, a Receipt or a SendError comes back."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from .settings import Endpoint

_SHORTEST_TIMEOUT_S = 0.05


class SendError(Exception):
    """The receiver didn't accept a payload."""

    def __init__(
        self, error_type: str, reason: str, *, fix: str, retryable: bool, retry_after_s: float | None = None
    ) -> None:
        super().__init__(reason)
        self.error_type = error_type
        """`error.type`: few distinct values, such as `timeout`, `503` or `ENOSPC`."""
        self.reason = reason
        self.fix = fix
        self.retryable = retryable
        """Whether the receiver may accept the same payload later."""
        self.retry_after_s = retry_after_s
        """Seconds for which the receiver asked to be left alone."""


class MisdirectedError(SendError):
    """No payload would be accepted: the server isn't the right receiver, or refuses our credentials."""


class SpoolError(Exception):
    """A parcel can't be stored on disk, or can't be read back."""

    def __init__(self, error_type: str, reason: str) -> None:
        super().__init__(reason)
        self.error_type = error_type
        """`error.type`: few distinct values, such as `spool_full`, `ENOSPC` or `corrupt`."""
        self.reason = reason


class Receipt(NamedTuple):
    """A receiver's answer to a payload that it accepted, at least in part."""

    rejected: int = 0
    """The number of spans, data points or log records of the payload that it refused for good."""
    message: str = ""
    """The receiver's own words about the rejection."""


class Transport(Protocol):
    """A way to deliver encoded requests to one receiver."""

    def send(self, payload: bytes, timeout_s: float) -> Receipt:
        """Deliver `payload`, in about `timeout_s` at most. Raises SendError."""

    def close(self) -> None:
        """Close connections and descriptors; a send under way may fail."""


@dataclass(frozen=True)
class Sink:
    """A place that one signal is sent to."""

    where: str
    """The URL or the path, for messages."""
    transport: Transport
    encode: Callable[[Any], bytes]
    """A function that encodes spans, metrics data or log records as a payload for `transport`."""
    timeout_s: float
    largest_payload: int
    """The most bytes that the receiver accepts in one request."""
    endpoint: Endpoint | None = None
    """The endpoint of a collector, which may be away for a while. None: the sink is a file."""

    def timeout_until(self, deadline_s: float) -> float:
        """Return the seconds that a sending may take if all must be over by `deadline_s` (monotonic)."""
        return max(min(self.timeout_s, deadline_s - time.monotonic()), _SHORTEST_TIMEOUT_S)


def error_type_of(error: OSError) -> str:
    """Return the `error.type` of an error of a disk, such as `ENOSPC`."""
    return errno.errorcode.get(error.errno or 0, "OSError")
