"""Report losses as log records, so that an alert needs no arithmetic over counters."""

from __future__ import annotations

from collections.abc import Callable

from exporter.common.clock import Rhythm
from exporter.common.text import counted
from exporter.pipeline.account import Account
from exporter.pipeline.event_log import LOSS, EventLog

_EVERY_S = 1.0


class LossReporter:
    """A reporter of lost attempts: one log record for each kind of loss and second at most."""

    def __init__(
        self,
        account: Callable[[], Account],
        log: EventLog,
    ) -> None:
        """Report what `account` has dropped to `log`."""
        self._account = account
        self._log = log
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
                self._tell(stage, error_type, fresh)

    def _tell(self, stage: str, error_type: str, attempts: int) -> None:
        told = f"{counted(attempts, 'attempt')} dropped ({stage}: {error_type})"
        known: dict[str, str | int] = {
            "egress.stage": stage,
            "error.type": error_type,
            "egress.attempts": attempts,
        }
        self._log.write(LOSS, told, known)
