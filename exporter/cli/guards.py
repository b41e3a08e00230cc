"""What is looked after beside the events: losses, what others do to the instance, and to its programs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext

from exporter import tampering
from exporter.account import Bookkeeping
from exporter.cli.messages import Messages
from exporter.cli.notices import warn
from exporter.clock import boot_ns
from exporter.events import Switched
from exporter.integrity import Integrity
from exporter.kernel.exits import Way
from exporter.kernel.tracer import Tracer
from exporter.loss import LossReporter
from exporter.otlp import LogRecord, Severity
from exporter.steering import Steering
from exporter.traced import Outlets


@dataclass(frozen=True)
class Owner:
    """Whose the instance is."""

    resource: Resource | None = None
    """That of its only job; None: there are several."""
    context: SpanContext | None = None
    """Of that job's span."""
    warned: Callable[[str], object] = lambda _: None
    """Gets tampering in words."""
    ends_by_token: bool = False
    """Nobody is outside of the job, whose machine it is: what ci-egress's own commands do is tampering."""


def frames_told(tracer: Tracer, *, is_enforced: bool) -> list[str]:
    """What this kernel can't keep a job from, where its policy is enforced."""
    if not is_enforced or tracer.frames.way is not Way.NONE:
        return []
    return ["frames of packet sockets aren't stopped on this kernel: `ci-egress doctor` says what it needs"]


class Guards:
    """Those of one instance; what they tell is on stderr, and as log records."""

    def __init__(
        self,
        tracer: Tracer,
        outlets: Outlets,
        books: Bookkeeping,
        handle: Callable[[Switched], object],
        owner: Owner,
    ) -> None:
        """`handle` gets changes of what is in force."""
        self._outlets = outlets
        self._resource, self._context = whose = owner.resource or outlets.telemetry.resource, owner.context
        self._loss = LossReporter(books.account, outlets.telemetry.log, *whose)
        self._warned = owner.warned
        self._moved = set[Path]()
        self._is_end_forged = False
        self._integrity = Integrity(tracer, outlets, self._lost, *whose)
        say = Messages.current().say
        self.steering = Steering(tracer, handle, say, self._tampered, ends_by_token=owner.ends_by_token)

    def tick(self) -> None:
        """Look at what is due; cheap, for a loop."""
        self.steering.look()
        self._integrity.tick()
        self._loss.tick()
        self._tell_moved()

    def look(self) -> None:
        """Look once more, before the programs are detached."""
        self.steering.look()
        self._integrity.look()

    def tell_losses(self) -> None:
        """Tell the last ones, and what the last telemetry found in the place of its files."""
        self._loss.tell()
        self._tell_moved()

    def end_was_forged(self) -> None:
        """Somebody asked for the end who may not; told once, however often that is done."""
        if not self._is_end_forged:
            self._is_end_forged = True
            told = "the end was asked for without the token: --end-folder has a name that isn't it"
            self._tampered(tampering.END, told)

    def went_wrong(self, told: str, where: str) -> None:
        """Something did in here, and may have been brought about."""
        self._tampered(tampering.FAULT, told, detail=where)

    def _tell_moved(self) -> None:
        """Once for each folder."""
        for folder in self._outlets.telemetry.moved():
            if folder not in self._moved:
                self._moved.add(folder)
                self._tampered(tampering.MOVED, tampering.moved_sentence(str(folder)))

    def _lost(self, told: str) -> None:
        warn(f"tampering: {told}")
        self._warned(told)

    def _tampered(self, kind: str, told: str, *, detail: str = "") -> None:
        self._warned(told)
        Messages.current().say(told, level=logging.ERROR, detail=detail)
        attributes = {"egress.tamper.kind": kind}
        event, at_ns = tampering.EVENT_NAME, self._outlets.clock.wall_ns(boot_ns())
        self._outlets.telemetry.log(
            LogRecord(event, Severity.ERROR, at_ns, attributes, self._resource, self._context, told)
        )
