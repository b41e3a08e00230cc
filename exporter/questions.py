"""Which question an act on port 53 carried: it shows a moment after the act, on the same socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Generic, NamedTuple, TypeVar

from exporter.events import Acted, Asked

PORT = 53

_WAIT_NS = 1_000_000_000
"""A socket is connected before it asks, and on a busy machine its process may have to wait in between."""
_WAITING_MAX = 1024
_SOCKETS_MAX = 4096

T = TypeVar("T")


class _Waiting(NamedTuple, Generic[T]):
    event: Acted
    what: T


class Questions(Generic[T]):
    """What waits for the question of its act. It comes back once, when it is flushed at the latest."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._numbers = count()
        self._waiting: dict[int, _Waiting[T]] = {}  # by number, the oldest first
        self._of_socket: dict[int, list[int]] = {}
        self._last_asked: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, event: Acted, what: T) -> list[T]:
        """Keep `what` until the question of `event` comes, an act on port 53; returns what makes room."""
        number = next(self._numbers)
        self._waiting[number] = _Waiting(event, what)
        self._of_socket.setdefault(event.cookie, []).append(number)
        if len(self._waiting) <= _WAITING_MAX:
            return []
        return [self._take(next(iter(self._waiting)))]

    def asked(self, event: Asked, name: str | None) -> T | None:
        """`name` was asked for (None: it can't be read): returns what waits for that, if anything does."""
        if name is not None:
            self._last_asked[event.cookie] = name
            if len(self._last_asked) > _SOCKETS_MAX:
                del self._last_asked[next(iter(self._last_asked))]
        for number in self._of_socket.get(event.cookie, ()):
            act = self._waiting[number].event
            if act.peer == event.resolver and act.at_ns <= event.at_ns:
                return self._take(number)
        return None

    def due(self, at_ns: int) -> Iterator[T]:
        """What has waited for a second at `at_ns`: its question was lost, or there is none."""
        while self._waiting:
            number, oldest = next(iter(self._waiting.items()))
            if oldest.event.at_ns > at_ns - _WAIT_NS:
                return
            yield self._take(number)

    def flush(self, is_due: Callable[[T], bool] = lambda _: True) -> Iterator[T]:
        """All that waits, as far as `is_due` says so."""
        for number in [number for number, waiting in self._waiting.items() if is_due(waiting.what)]:
            yield self._take(number)

    def last_on(self, cookie: int) -> str | None:
        """The last name asked for on a socket: what was to be asked for when that was refused."""
        return self._last_asked.get(cookie)

    def _take(self, number: int) -> T:
        event, what = self._waiting.pop(number)
        others = self._of_socket[event.cookie]
        others.remove(number)
        if not others:
            del self._of_socket[event.cookie]
        return what
