"""What signals ask of a daemon: kept until it has time for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Requests:
    """What was asked for and not done yet."""

    end = False
    reread = False


@contextmanager
def requests() -> Iterator[Requests]:
    """Take in SIGTERM, SIGINT (end) and SIGHUP (reread) meanwhile: none ends the process by itself."""
    asked = Requests()

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
