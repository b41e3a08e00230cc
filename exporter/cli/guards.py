"""What is looked after beside the events: losses, what others do to the instance, and to its programs."""

from __future__ import annotations

import logging
from collections.abc import Callable

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext

from exporter import tampering
from exporter.account import Bookkeeping
from exporter.cli.messages import Messages
from exporter.cli.notices import warn
from exporter.clock import boot_ns
from exporter.events import Switched
from exporter.integrity import Integrity
from exporter.kernel.tracer import Tracer
from exporter.loss import LossReporter
from exporter.otlp import LogRecord, Severity
from exporter.steering import Steering
from exporter.traced import Outlets


class Guards:
    """Those of one instance; what they tell is on stderr, and as log records."""

    def __init__(
        self,
        tracer: Tracer,
        outlets: Outlets,
        books: Bookkeeping,
        handle: Callable[[Switched], object],
        of_job: tuple[Resource, SpanContext] | None = None,
    ) -> None:
        """Records are `of_job`, where there is only one; `handle` gets changes of what is in force."""
        self._outlets = outlets
        self._context: SpanContext | None
        self._resource, self._context = whose = of_job or (outlets.telemetry.resource, None)
        self._loss = LossReporter(books.account, outlets.telemetry.log, *whose)
        self._integrity = Integrity(tracer, outlets, warn, *whose)
        self.steering = Steering(tracer, handle, Messages.current().say, self._tampered)

    def tick(self) -> None:
        """Look at what is due; cheap, for a loop."""
        self.steering.look()
        self._integrity.tick()
        self._loss.tick()

    def look(self) -> None:
        """Look once more, before the programs are detached."""
        self.steering.look()
        self._integrity.look()

    def tell_losses(self) -> None:
        """Tell the last ones."""
        self._loss.tell()

    def _tampered(self, kind: str, told: str) -> None:
        Messages.current().say(told, level=logging.ERROR)
        attributes = {"egress.tamper.kind": kind}
        event, at_ns = tampering.EVENT_NAME, self._outlets.clock.wall_ns(boot_ns())
        self._outlets.telemetry.log(
            LogRecord(event, Severity.ERROR, at_ns, attributes, self._resource, self._context, told)
        )
