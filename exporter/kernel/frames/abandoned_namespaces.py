"""Looking for network namespaces in which no process is any more, by the packet sockets that were made there.

A process may enter a namespace, make a socket and leave, or hand the socket to another one and end. The
socket may be out of sight for long, as in a message, and come back: a job is looked through while it is held.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from exporter.events.facts import Tampered

from .packet_sockets import SocketPlace, packet_sockets

_WITHOUT_S = 10.0
"""The seconds for which a scope without processes is kept in mind: a step may be on its way to its job."""
_AGAIN_S = 1.0
_STEP_S = 0.004
"""The seconds that one turn may take, or little longer: events wait meanwhile, and a job may have any number
of descriptors."""


class AbandonedNamespaces:
    """The scopes of jobs that may have sockets in such namespaces."""

    def __init__(
        self,
        processes: Callable[[], Iterator[tuple[int, int]]],
        found: Callable[[SocketPlace, Tampered], object],
    ) -> None:
        """`processes` yields the pid and the scope of each process that may have such a socket.

        `found` is called with each packet socket of these processes, and the event that began the search.
        """
        self._processes, self._found = processes, found
        self._sought: dict[int, tuple[Tampered, float]] = {}
        """By scope: the event, and until when the scope is kept in mind without a process."""
        self._under_way: Iterator[None] | None = None
        self._next_s = 0.0

    def seek(self, event: Tampered) -> None:
        """Look for packet sockets of the scope of `event`, whose process made one, from now on."""
        self._sought[event.scope] = event, time.monotonic() + _WITHOUT_S
        self._next_s = 0.0

    def turn(self) -> None:
        """Go on looking; cheap where nothing is looked for."""
        began_s = time.monotonic()
        if self._under_way is None and self._sought and began_s >= self._next_s:
            self._under_way = self._looking(began_s)
        for _ in self._under_way or ():
            if time.monotonic() >= began_s + _STEP_S:
                return
        self._under_way = None

    def _looking(self, began_s: float) -> Iterator[None]:
        """Look through all processes once; it can be interrupted at each descriptor."""
        self._next_s = began_s + _AGAIN_S
        for scope in [scope for scope, (_, until_s) in self._sought.items() if until_s < began_s]:
            del self._sought[scope]
        makers = {event.process.pid: event for event, _ in self._sought.values()}
        for pid, scope in self._processes():
            event = self._event(scope, makers.get(pid))
            for each in packet_sockets(pid):
                if each is not None and event is not None:
                    with suppress(OSError):
                        self._found(each, event)
                yield

    def _event(self, scope: int, made: Tampered | None) -> Tampered | None:
        """Keep `scope` in mind, if it is sought or its process `made` a socket; return the event for it."""
        known, _ = self._sought.get(scope, (made, 0.0))
        if known is not None:
            self._sought[scope] = known._replace(scope=scope), time.monotonic() + _WITHOUT_S
        return known or next((event for event, _ in self._sought.values()), None)
