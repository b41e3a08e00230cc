"""The log records of ci-egress: their names, and the one place where they are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext
from opentelemetry.util.types import AttributeValue

from exporter.otlp.records import LogRecord, Severity

NOVEL, WOULD_DENY, DENIED = "cicd.egress.novel", "cicd.egress.would_deny", "cicd.egress.denied"
TAMPER = "cicd.egress.tamper"
LOSS, ADOPTED = "cicd.egress.exporter.loss", "cicd.egress.exporter.adopted"
SEVERITIES = {
    NOVEL: Severity.WARN,
    WOULD_DENY: Severity.WARN,
    DENIED: Severity.ERROR,
    TAMPER: Severity.ERROR,
    LOSS: Severity.WARN,
    ADOPTED: Severity.WARN,
}


class EventLog(NamedTuple):
    """A log of events about one job, or about the exporter itself."""

    send: Callable[[LogRecord], object]
    resource: Resource
    """The resource of the job's spans; the exporter's own where there are several jobs."""
    context: SpanContext | None = None
    """The context of the span that the events belong to; None where they belong to no single job."""

    def write(
        self, name: str, told: str, attributes: Mapping[str, AttributeValue], at_ns: int | None = None
    ) -> None:
        """Send an event, with `told` as its text for people; `at_ns` is Unix time, None means now."""
        at_ns = time.time_ns() if at_ns is None else at_ns
        self.send(LogRecord(name, SEVERITIES[name], at_ns, attributes, self.resource, self.context, told))
