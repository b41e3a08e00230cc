"""Losses, told as log records while the job runs: who relies on the evidence must know at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext

from exporter.account import Account
from exporter.otlp import LogRecord, Severity, Telemetry

EVENT_NAME = "cicd.egress.exporter.loss"
_INTERVAL_S = 1.0


class LossLog:
    """Compares the account with what was told before."""

    def __init__(
        self,
        telemetry: Telemetry,
        account: Callable[[], Account],
        *,
        resource: Resource | None = None,
        context: SpanContext | None = None,
    ) -> None:
        """Nothing was told yet. `resource` and `context` are those of the job's span, if there is one job."""
        self._telemetry = telemetry
        self._account = account
        self._resource = resource or telemetry.resource
        self._context = context
        self._told: Counter[tuple[str, str]] = Counter()
        self._looked_s = time.monotonic()

    def look(self) -> None:
        """Tell what was dropped since it was last told; at most once a second, however often it is called."""
        if time.monotonic() - self._looked_s >= _INTERVAL_S:
            self._looked_s = time.monotonic()
            self.tell()

    def tell(self) -> None:
        """Tell it now."""
        dropped = Counter(self._account().dropped)
        for (stage, error_type), attempts in (dropped - self._told).items():
            self._telemetry.log(
                LogRecord(
                    EVENT_NAME,
                    Severity.WARN,
                    time.time_ns(),
                    {"egress.stage": stage, "error.type": error_type, "egress.attempts": attempts},
                    self._resource,
                    self._context,
                )
            )
        self._told = dropped
