"""Which question an act on port 53 carried: it shows a moment after the act, on the same socket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from exporter.events import Acted, Asked

PORT = 53

_WAIT_NS = 50_000_000
_WAITING_MAX = 1024
_SOCKETS_MAX = 4096

Settled = tuple[Acted, str | None]
"""An act, and the name that was asked for with it; None when no question came."""


class Questions:
    """Acts that wait for their question. Each comes back exactly once, at the latest when it is flushed."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._waiting: dict[int, list[Acted]] = {}
        self._number = 0
        self._first_asked: dict[int, str] = {}

    def wait(self, event: Acted) -> Iterable[Settled]:
        """Keep an act on port 53 until its question comes; returns those that have to make room."""
        self._waiting.setdefault(event.cookie, []).append(event)
        self._number += 1
        return self.flush() if self._number > _WAITING_MAX else ()

    def asked(self, event: Asked, name: str | None) -> Iterable[Settled]:
        """`name` was asked for: returns the act that did it, if one waits."""
        if name is not None and event.cookie not in self._first_asked:
            self._first_asked[event.cookie] = name
            if len(self._first_asked) > _SOCKETS_MAX:
                del self._first_asked[next(iter(self._first_asked))]
        waiting = self._waiting.get(event.cookie, [])
        for index, act in enumerate(waiting):
            if act.peer == event.resolver and act.at_ns <= event.at_ns:
                self._remove(event.cookie, index)
                return [(act, name)]
        return ()

    def due(self, at_ns: int) -> Iterable[Settled]:
        """Those that have waited longer than 50 ms at `at_ns`: their question was lost, or there is none."""
        return list(self._take(at_ns - _WAIT_NS)) if self._waiting else ()

    def flush(self) -> Iterable[Settled]:
        """All that wait."""
        return list(self._take(None))

    def first_on(self, cookie: int) -> str | None:
        """The first name asked for on a socket: a connection's, whose act is over when it asks."""
        return self._first_asked.get(cookie)

    def _take(self, until_ns: int | None) -> Iterator[Settled]:
        for cookie in list(self._waiting):
            while cookie in self._waiting:
                act = self._waiting[cookie][0]
                if until_ns is not None and act.at_ns > until_ns:
                    break
                self._remove(cookie, 0)
                yield act, None

    def _remove(self, cookie: int, index: int) -> None:
        waiting = self._waiting[cookie]
        del waiting[index]
        self._number -= 1
        if not waiting:
            del self._waiting[cookie]
