"""Match an act on port 53 with the DNS question that follows it a moment later on the same socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Generic, NamedTuple, TypeVar

from exporter.events.facts import Acted, Asked

_WAIT_NS = 1_000_000_000
"""How long an act waits for its question: on a busy machine its process may pause after the connect."""
_WAITING_MAX = 1024
_SOCKETS_MAX = 4096

T = TypeVar("T")


class _Waiting(NamedTuple, Generic[T]):
    event: Acted
    what: T


class Questions(Generic[T]):
    """A queue of items that wait for the DNS question of their act; each is returned once."""

    def __init__(self) -> None:
        """Create an empty queue."""
        self._numbers = count()
        self._waiting: dict[int, _Waiting[T]] = {}  # by number, the oldest first
        self._of_socket: dict[int, list[int]] = {}
        self._last_asked: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, event: Acted, what: T) -> list[T]:
        """Keep `what` until the question of `event`, an act on port 53, comes; return displaced items."""
        number = next(self._numbers)
        self._waiting[number] = _Waiting(event, what)
        self._of_socket.setdefault(event.cookie, []).append(number)
        if len(self._waiting) <= _WAITING_MAX:
            return []
        return [self._take(next(iter(self._waiting)))]

    def asked(self, event: Asked, name: str | None) -> T | None:
        """Note a question for `name` (None if it can't be read), and return the item that waited for it."""
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
        """Remove and yield items that have waited for a second at `at_ns`.

        Their question was lost, or there was none.
        """
        while self._waiting:
            number, oldest = next(iter(self._waiting.items()))
            if oldest.event.at_ns > at_ns - _WAIT_NS:
                return
            yield self._take(number)

    def flush(self, is_due: Callable[[T], bool] = lambda _: True) -> Iterator[T]:
        """Remove and yield all items for which `is_due` is true."""
        for number in [number for number, waiting in self._waiting.items() if is_due(waiting.what)]:
            yield self._take(number)

    def last_on(self, cookie: int) -> str | None:
        """Return the name asked for last on a socket; after a refusal, this is the refused name."""
        return self._last_asked.get(cookie)

    def _take(self, number: int) -> T:
        event, what = self._waiting.pop(number)
        others = self._of_socket[event.cookie]
        others.remove(number)
        if not others:
            del self._of_socket[event.cookie]
        return what
