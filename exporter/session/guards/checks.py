"""Checks for losses and for tampering with the instance, made once a second apart from the events."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext

from exporter.common.bounded import readers
from exporter.common.clock import Rhythm, boot_ns
from exporter.common.text import counted
from exporter.events.facts import ProcessKey, Switched
from exporter.kernel.frames.interface_egress import AttachMethod
from exporter.kernel.programs.attachment import UNPINNED
from exporter.kernel.tracer import Tracer
from exporter.pipeline import tampering
from exporter.pipeline.account import Account, Bookkeeping
from exporter.pipeline.event_log import LOSS, TAMPER, EventLog
from exporter.pipeline.job import Outlets
from exporter.pipeline.metrics import Metrics
from exporter.pipeline.procfs import has_ended
from exporter.policy.model import Policy
from exporter.session.messages import Messages, warn

from .steering import Steering

_EVERY_S = 1.0


@dataclass(frozen=True)
class Owner:
    """The job that an instance is for; a watch leaves `resource` and `context` out."""

    resource: Resource | None = None
    """The resource of the only job; None: the exporter's own is used."""
    context: SpanContext | None = None
    """The context of the only job's span; None in a watch."""
    warned: Callable[[str], object] = lambda _: None
    """Called with a line about each act of tampering."""
    ends_by_token: bool = False
    """Whether only a token ends the watch: the machine is the job's, and nobody on it is outside of the job.

    Then acts of ci-egress's own commands on the instance are tampering, too.
    """
    agent: ProcessKey | None = None
    """The agent of the job's CI system, which keeps the token; None when none is known."""


def enforcement_warnings(tracer: Tracer, policy: Policy | None, *, is_enforced: bool) -> list[str]:
    """Return a warning for each part of an enforced `policy` that this kernel can't hold anybody to."""
    if not is_enforced or policy is None:
        return []
    limits = []
    if tracer.frames.way is AttachMethod.NONE:
        limits.append("frames of packet sockets aren't stopped on this kernel")
    if policy.names_sockets and not tracer.sees_sockets:
        limits.append(
            "rules for Unix sockets hold for the names that clients give, and a link is a way around"
        )
    return [f"{limit}: `ci-egress doctor` says what it needs" for limit in limits]


class Guards:
    """The checks of one instance; their findings are shown on stderr, and sent as log records."""

    def __init__(
        self,
        tracer: Tracer,
        outlets: Outlets,
        books: Bookkeeping,
        handle: Callable[[Switched], object],
        owner: Owner,
    ) -> None:
        """Set up the checks; `handle` gets an event when enforcement is turned on or off for a scope."""
        self._outlets = outlets
        self._clock, telemetry = outlets.clock, outlets.telemetry
        self._log = EventLog(telemetry.log, owner.resource or telemetry.resource, owner.context)
        self._loss = LossReporter(books.account, self._log)
        self._warned = owner.warned
        self._moved = set[Path]()
        self._is_end_forged = self._is_held_up = False
        self._agent = owner.agent
        self._tracer, self._looking = tracer, Rhythm(_EVERY_S)
        self.is_left_alone = False
        """Whether the agent is gone, and with it the only process that may end the watch."""
        self._integrity = IntegrityCheck(tracer, outlets.metrics, self._lost, self._log)
        say = Messages.current().say
        self.steering = Steering(tracer, handle, say, self._tampered, ends_by_token=owner.ends_by_token)

    def look_for_agent(self) -> None:
        """Report once when the agent is gone. Raises OSError when /proc doesn't show whether it is."""
        if self._agent is not None and not self.is_left_alone and has_ended(self._agent):
            self.is_left_alone = True
            gone = f"the job's agent (process {self._agent.pid}) is gone"
            self._tampered(tampering.END, f"{gone}, and nobody is left who may end the tracing: it ends now")

    def tick(self) -> None:
        """Make the checks that are due; cheap enough for a loop."""
        self.steering.look()
        self._integrity.tick()
        self._loss.tick()
        if self._looking.is_time():
            with suppress(OSError):  # it is tried again
                self._tracer.scopes.look_for_sockets()
        self._tell_moved()
        self._tell_held_up()

    def look(self) -> None:
        """Make the checks once more, before the programs are detached."""
        self.steering.look()
        self._integrity.look()

    def tell_losses(self) -> None:
        """Report the losses and the moved files of telemetry that aren't reported yet."""
        self._loss.tell()
        self._tell_moved()

    def end_was_forged(self) -> None:
        """Report that somebody asked for the end without the token: once, however often this is called."""
        if not self._is_end_forged:
            self._is_end_forged = True
            told = "the end was asked for without the token: --end-folder has a name that isn't it"
            self._tampered(tampering.END, told)

    def went_wrong(self, told: str, where: str) -> None:
        """Report a fault of ci-egress as tampering, since a job may have brought it about.

        `told` is a line about the fault; `where` is the traceback.
        """
        self._tampered(tampering.FAULT, told, detail=where)

    def _tell_moved(self) -> None:
        """Report the folders from which telemetry's files were moved away, each once."""
        for folder in self._outlets.telemetry.moved():
            if folder not in self._moved:
                self._moved.add(folder)
                self._tampered(tampering.MOVED, tampering.moved_sentence(str(folder)))

    def _tell_held_up(self) -> None:
        """Report once that nothing is read in /proc any more, since processes make all readers wait."""
        if not self._is_held_up and (found := readers().held_up_by):
            self._is_held_up = True
            who = counted(len(set(found)), "process", "processes")
            pids = ", ".join(map(str, sorted(set(found))))
            told = f"{who} held up whoever read about them in /proc, so nothing is read about others: {pids}"
            self._tampered(tampering.HELD_UP, told)

    def _lost(self, told: str) -> None:
        warn(f"tampering: {told}")
        self._warned(told)

    def _tampered(self, kind: str, told: str, *, detail: str = "") -> None:
        self._warned(told)
        Messages.current().say(told, level=logging.ERROR, detail=detail)
        self._log.write(TAMPER, told, {"egress.tamper.kind": kind}, self._clock.wall_ns(boot_ns()))


class LossReporter:
    """A reporter of lost attempts: it sends at most one log record a second for each kind of loss."""

    def __init__(self, account: Callable[[], Account], log: EventLog) -> None:
        """Report to `log` the attempts that `account` counts as dropped."""
        self._account = account
        self._log = log
        self._told: dict[tuple[str, str], int] = {}
        self._rhythm = Rhythm(_EVERY_S)

    def tick(self) -> None:
        """Report losses, unless the last report was just now; cheap enough for a loop."""
        if self._rhythm.is_time():
            self.tell()

    def tell(self) -> None:
        """Report the attempts that got lost since the last report."""
        for (stage, error_type), total in self._account().dropped.items():
            fresh = total - self._told.get((stage, error_type), 0)
            if fresh > 0:
                self._told[stage, error_type] = total
                self._tell(stage, error_type, fresh)

    def _tell(self, stage: str, error_type: str, attempts: int) -> None:
        told = f"{counted(attempts, 'attempt')} dropped ({stage}: {error_type})"
        known: dict[str, str | int] = {
            "egress.stage": stage,
            "error.type": error_type,
            "egress.attempts": attempts,
        }
        self._log.write(LOSS, told, known)


class IntegrityCheck:
    """A check whether programs or pins got lost, made once a second; it reports each loss once."""

    def __init__(
        self,
        tracer: Tracer,
        metrics: Metrics,
        say: Callable[[str], object],
        log: EventLog,
    ) -> None:
        """Check `tracer`; `say` gets a line about each loss, `log` an event; `metrics` note detachment."""
        self._tracer = tracer
        self._metrics = metrics
        self._say = say
        self._log = log
        self._told: dict[str, frozenset[str]] = {}
        self._rhythm = Rhythm(_EVERY_S)

    def tick(self) -> None:
        """Look, unless the last look was less than a second ago; cheap enough for a loop."""
        if self._rhythm.is_time():
            self.look()

    def look(self) -> None:
        """Report programs and pins that got lost since the last look, unless `ci-egress stop` was called."""
        if self._tracer.stopped_by() is not None:
            return
        for what, names in self._tracer.lost().items():
            fresh = sorted(names - self._told.get(what, frozenset()))
            self._told[what] = names
            if fresh:
                self._tell(what, fresh)

    def _tell(self, what: str, names: list[str]) -> None:
        if what != UNPINNED:
            self._metrics.detached()
        told = tampering.lost_sentence(what, names, str(self._tracer.directory))
        self._log.write(TAMPER, told, tampering.lost_attributes(what, names))
        self._say(told)
