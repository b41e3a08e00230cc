"""What signals, and an end folder, ask of a daemon: kept until it has time for it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.cli.end_folder import EndFolder

_LOOK_S = 0.1


class Requests:
    """What was asked for and not done yet."""

    end = False
    is_over = False
    """Whoever asked for the end said that the job is over, too."""
    reread = False
    is_forged = False
    """The end was asked for without the token."""

    def __init__(self, folder: EndFolder | None) -> None:
        """`folder` is looked into for the end; None: there is none."""
        self._folder = folder
        self._looked_s = 0.0

    def look(self) -> None:
        """See whether the folder has something new. Cheap, for a loop."""
        now_s = time.monotonic()
        if self._folder is None or now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        found = self._folder.look()
        self.end = self.end or found.is_end
        self.is_over = self.is_over or found.is_over
        self.is_forged = self.is_forged or found.is_forged


@contextmanager
def requests(folder: EndFolder | None = None) -> Iterator[Requests]:
    """Take in SIGTERM, SIGINT (end) and SIGHUP (reread) meanwhile: none ends the process by itself."""
    asked = Requests(folder)

    def end(*_: object) -> None:
        asked.end = True

    def reread(*_: object) -> None:
        asked.reread = True

    handlers = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: reread}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
