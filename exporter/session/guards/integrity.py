"""Report losses on the kernel's side as tampering, while it runs: programs detached, pins removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from exporter.common.clock import Rhythm
from exporter.kernel.programs.attachment import UNPINNED
from exporter.pipeline import tampering
from exporter.pipeline.event_log import TAMPER, EventLog
from exporter.pipeline.metrics import Metrics

if TYPE_CHECKING:
    from exporter.kernel.tracer import Tracer

_EVERY_S = 1.0


class Integrity:
    """A check that looks once a second, and reports each loss once."""

    def __init__(
        self,
        tracer: Tracer,
        metrics: Metrics,
        say: Callable[[str], object],
        log: EventLog,
    ) -> None:
        """Check `tracer`; `say` gets a line about each loss, `log` an event; `metrics` count detachments."""
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
            self._metrics.detached()
        told = tampering.lost_sentence(what, names, str(self._tracer.directory))
        self._log.write(TAMPER, told, tampering.lost_attributes(what, names))
        self._say(told)
