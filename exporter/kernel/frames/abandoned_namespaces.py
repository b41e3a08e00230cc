"""Search for network namespaces that no process is in any more, by the packet sockets that were made there.

A process may enter a namespace, make a packet socket there and leave, or pass the socket to another process
and end. A socket in a message that nobody has received yet can't be found. So the descriptors of a job's
processes are looked through every second, as long as the job's policy is enforced.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from exporter.events.facts import Tampered

from .packet_sockets import SocketPlace, packet_sockets

_WITHOUT_S = 10.0
"""The seconds for which a scope stays sought without a process: a step may be about to get its job's."""
_AGAIN_S = 1.0
_STEP_S = 0.004
"""The seconds that one turn may take, or little longer: events wait meanwhile, and a job may have any number
of descriptors."""


class AbandonedNamespaces:
    """The scopes whose processes are searched for packet sockets made in namespaces that nobody is in."""

    def __init__(
        self,
        processes: Callable[[], Iterator[tuple[int, int]]],
        found: Callable[[SocketPlace, Tampered], object],
    ) -> None:
        """`processes` yields the pid and the scope of each process to search.

        `found` is called with each packet socket of these processes, and the event that started the search.
        """
        self._processes, self._found = processes, found
        self._sought: dict[int, tuple[Tampered, float]] = {}
        """By scope: the event that started the search, and until when it goes on without a process."""
        self._under_way: Iterator[None] | None = None
        self._next_s = 0.0

    def seek(self, event: Tampered) -> None:
        """Start to search the scope of `event`, which reports that a process made a packet socket."""
        self._sought[event.scope] = event, time.monotonic() + _WITHOUT_S
        self._next_s = 0.0

    def turn(self) -> None:
        """Continue the search for a moment; cheap where no scope is sought."""
        began_s = time.monotonic()
        if self._under_way is None and self._sought and began_s >= self._next_s:
            self._under_way = self._looking(began_s)
        for _ in self._under_way or ():
            if time.monotonic() >= began_s + _STEP_S:
                return
        self._under_way = None

    def _looking(self, began_s: float) -> Iterator[None]:
        """Look through all processes once; each `yield` is a place where the search may be interrupted."""
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
        """Return the event to report with a socket found at a process of `scope`; None: no scope is sought.

        The scope stays sought; so does one that wasn't, if `made` reports a socket that the process made.
        """
        known, _ = self._sought.get(scope, (made, 0.0))
        if known is not None:
            self._sought[scope] = known._replace(scope=scope), time.monotonic() + _WITHOUT_S
        return known or next((event for event, _ in self._sought.values()), None)
