"""Report losses as log records, so that an alert needs no arithmetic over counters."""

from __future__ import annotations

import time
from collections.abc import Callable

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext

from exporter.common.clock import Rhythm
from exporter.common.text import counted
from exporter.otlp import LogRecord, Severity
from exporter.pipeline.account import Account

EVENT = "cicd.egress.exporter.loss"
_EVERY_S = 1.0


class LossReporter:
    """A reporter of lost attempts: one log record for each kind of loss and second at most."""

    def __init__(
        self,
        account: Callable[[], Account],
        log: Callable[[LogRecord], None],
        resource: Resource,
        context: SpanContext | None = None,
    ) -> None:
        """`context` is that of the job's span, None where there are several jobs."""
        self._account = account
        self._log = log
        self._resource = resource
        self._context = context
        self._told: dict[tuple[str, str], int] = {}
        self._rhythm = Rhythm(_EVERY_S)

    def tick(self) -> None:
        """Report what got lost, unless the last report was just now; cheap enough for a loop."""
        if self._rhythm.is_time():
            self.tell()

    def tell(self) -> None:
        """Report what got lost since the last report."""
        for (stage, error_type), total in self._account().dropped.items():
            fresh = total - self._told.get((stage, error_type), 0)
            if fresh > 0:
                self._told[stage, error_type] = total
                self._log(self._record(stage, error_type, fresh))

    def _record(self, stage: str, error_type: str, attempts: int) -> LogRecord:
        told = f"{counted(attempts, 'attempt')} dropped ({stage}: {error_type})"
        attributes: dict[str, str | int] = {"egress.stage": stage, "error.type": error_type}
        attributes["egress.attempts"] = attempts
        return LogRecord(
            EVENT, Severity.WARN, time.time_ns(), attributes, self._resource, self._context, told
        )
