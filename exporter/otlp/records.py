"""Log records, for events that must be reported at once, before any span ends."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext
from opentelemetry.util.types import AttributeValue


class Severity(enum.IntEnum):
    """OTLP's severity numbers, as far as they are used here."""

    WARN = 13
    ERROR = 17


@dataclass(frozen=True)
class LogRecord:
    """An event, in the trace of the job that it is about."""

    event_name: str
    """The event's name, such as `cicd.egress.denied`."""
    severity: Severity
    at_ns: int
    """Unix time in nanoseconds."""
    attributes: Mapping[str, AttributeValue]
    resource: Resource
    """The job's resource, the same as on its spans."""
    context: SpanContext | None = None
    """The span it belongs to; None when it is about no job."""
    body: str | None = None
    """What happened, in one line for people."""
