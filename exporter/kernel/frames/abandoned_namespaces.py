"""Looking for network namespaces in which no process is any more, by the packet sockets that were made there.

A process may enter a namespace, make a socket and leave, or hand the socket to another one and end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from exporter.events.facts import Tampered

from .network_namespaces import number_at
from .packet_sockets import SocketPlace, packet_sockets

SOUGHT_S = 10.0
"""The seconds for which a namespace is looked for: its socket may be on its way to another process."""
_AGAIN_S = 1.0
_STEP_S = 0.004
"""The seconds that one turn may take, or little longer: events wait meanwhile, and a job may have any number
of descriptors."""


class AbandonedNamespaces:
    """The network namespaces that are looked for, by their inode numbers."""

    def __init__(
        self, processes: Callable[[], Iterator[int]], found: Callable[[SocketPlace, Tampered], object]
    ) -> None:
        """`processes` returns the pids of those that may have the sockets.

        `found` is called with a socket of a namespace, and with the event for which it was looked for.
        """
        self._processes, self._found = processes, found
        self._sought: dict[int, tuple[Tampered, float]] = {}
        self._under_way: Iterator[None] | None = None
        self._next_s = 0.0

    def seek(self, number: int, event: Tampered) -> None:
        """Look for the namespace `number`, in which the process of `event` made a packet socket."""
        self._sought[number] = event, time.monotonic() + SOUGHT_S
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
        for number in [number for number, (_, until_s) in self._sought.items() if until_s < began_s]:
            del self._sought[number]
        for pid in self._processes():
            for each in packet_sockets(pid):
                if each is not None:
                    self._look_at(each)
                if not self._sought:
                    return
                yield

    def _look_at(self, packet_socket: SocketPlace) -> None:
        with suppress(OSError):
            number = number_at(packet_socket)
            if number in self._sought:
                event, _ = self._sought[number]
                self._found(packet_socket, event)
                del self._sought[number]  # not before: the socket may have been moved meanwhile
