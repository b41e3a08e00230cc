"""Requests to a daemon, by signals and by its end folder, kept until it has time for them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.common.clock import Rhythm

from .end_folder import EndFolder

_LOOK_S = 0.1


class Requests:
    """The requests that came so far and aren't fulfilled yet."""

    end = False
    goes_on = False
    """Whether the end was asked for with the secret that lets the job go on (see end_folder.py)."""
    reread = False
    is_forged = False
    """Whether somebody asked for the end without the token."""

    def __init__(self, folder: EndFolder | None) -> None:
        """The end may be asked for in `folder`, too; None when only signals can ask for it."""
        self._folder = folder
        self._rhythm = Rhythm(_LOOK_S)

    def look(self) -> None:
        """Take in new requests from the folder; cheap enough for a loop."""
        if self._folder is None or not self._rhythm.is_time():
            return
        found = self._folder.look()
        self.end = self.end or found.is_end
        self.goes_on = self.goes_on or found.goes_on
        self.is_forged = self.is_forged or found.is_forged


@contextmanager
def requests(folder: EndFolder | None = None) -> Iterator[Requests]:
    """Turn SIGTERM and SIGINT (end) and SIGHUP (reread) into requests in the block; none ends the process."""
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
