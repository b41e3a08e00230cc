"""Report losses on the kernel's side as tampering, while it runs: programs detached, pins removed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext

from exporter.common.clock import Rhythm
from exporter.kernel.programs.attachment import UNPINNED
from exporter.otlp import LogRecord, Severity
from exporter.pipeline import tampering
from exporter.pipeline.job import Outlets

if TYPE_CHECKING:
    from exporter.kernel.tracer import Tracer

_EVERY_S = 1.0


class Integrity:
    """A check that looks once a second, and reports each loss once."""

    def __init__(
        self,
        tracer: Tracer,
        outlets: Outlets,
        say: Callable[[str], object],
        resource: Resource,
        context: SpanContext | None = None,
    ) -> None:
        """Check `tracer`; `say` gets a line about each loss.

        `context` is that of the job's span, None where there are several jobs.
        """
        self._tracer = tracer
        self._outlets = outlets
        self._say = say
        self._resource = resource
        self._context = context
        self._told: dict[str, frozenset[str]] = {}
        self._rhythm = Rhythm(_EVERY_S)

    def tick(self) -> None:
        """Look, unless the last look was less than a second ago; cheap enough for a loop."""
        if self._rhythm.is_time():
            self.look()

    def look(self) -> None:
        """Report what got lost since the last look, unless `ci-egress stop` took it."""
        if self._tracer.stopped_by() is not None:
            return
        for what, names in self._tracer.lost().items():
            fresh = sorted(names - self._told.get(what, frozenset()))
            self._told[what] = names
            if fresh:
                self._tell(what, fresh)

    def _tell(self, what: str, names: list[str]) -> None:
        if what != UNPINNED:
            self._outlets.metrics.detached()
        told = tampering.lost_sentence(what, names, str(self._tracer.directory))
        attributes = tampering.lost_attributes(what, names)
        event, at_ns = tampering.EVENT_NAME, time.time_ns()
        self._outlets.telemetry.log(
            LogRecord(event, Severity.ERROR, at_ns, attributes, self._resource, self._context, told)
        )
        self._say(told)
