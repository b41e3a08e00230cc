"""How changes from outside are told: on stderr, and as a log record where none of our commands made them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext

from exporter import tampering
from exporter.cli.messages import Messages
from exporter.clock import Clock, boot_ns
from exporter.events import Switched
from exporter.kernel.tracer import Tracer
from exporter.otlp import LogRecord, Severity, Telemetry
from exporter.steering import Steering


def steering(
    tracer: Tracer,
    handle: Callable[[Switched], object],
    telemetry: Telemetry,
    clock: Clock,
    of_job: tuple[Resource, SpanContext] | None = None,
) -> Steering:
    """Looks after what others do to `tracer`'s instance; its records are `of_job`, else of no job."""
    resource, context = of_job or (telemetry.resource, None)

    def tampered(kind: str, told: str) -> None:
        Messages.current().say(told, level=logging.ERROR)
        attributes = {"egress.tamper.kind": kind}
        at_ns = clock.wall_ns(boot_ns())
        telemetry.log(
            LogRecord(tampering.EVENT_NAME, Severity.ERROR, at_ns, attributes, resource, context, told)
        )

    return Steering(tracer, handle, Messages.current().say, tampered)
