"""Acts under way: a connect is held until its connection has ended, so that one span tells all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from opentelemetry.trace import SpanContext

from exporter.destinations import Destination
from exporter.events import Act, Acted, Flowed, Outcome, Stage
from exporter.programs import Program

HELD_MAX = 8192
"""Connections held at once; beyond that the oldest is told as still open."""

_TCP = (6, 262)


@dataclass(slots=True)
class Flow:
    """An act, and what became of it so far."""

    event: Acted
    destination: Destination
    program: Program
    owner: str
    """Name of the user who did it."""
    context: SpanContext
    """Of its span to be."""
    is_watched: bool = False
    """Whether the kernel tells what becomes of it."""
    established: Flowed | None = None
    end: Flowed | None = None

    @property
    def outcome(self) -> Outcome | None:
        """None when nothing can be known of it."""
        if self.event.act is Act.SEND:
            return Outcome.SENT
        if self.end is not None:
            return self.end.outcome
        return Outcome.OPEN if self.is_watched else None


class Flows:
    """The connections that are held, by their sockets' cookies. `len` may be asked from any thread."""

    def __init__(self) -> None:
        """None is."""
        self._held: dict[int, Flow] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, flow: Flow) -> bool:
        """Hold `flow`; False when there is nothing to wait for.

        A socket that is connecting may be connected again, just to see how it is doing: that is an attempt
        of its own, and the outcome is the first one's.
        """
        event = flow.event
        is_connecting = event.act is Act.CONNECT and event.protocol in _TCP and event.cookie != 0
        if not is_connecting or event.cookie in self._held:
            return False
        flow.is_watched = True
        self._held[event.cookie] = flow
        return True

    def advance(self, event: Flowed) -> Flow | None:
        """The flow that came further by `event`, no longer held when that is its end; None when unknown."""
        flow = self._held.get(event.cookie)
        if flow is None:
            return None
        if event.stage is Stage.ESTABLISHED:
            flow.established = event
        else:
            flow.end = event
            del self._held[event.cookie]
        return flow

    def surplus(self) -> Iterator[Flow]:
        """Let go of the oldest ones while there are too many."""
        while len(self._held) > HELD_MAX:
            yield self._held.pop(next(iter(self._held)))

    def rest(self, scope: int) -> Iterator[Flow]:
        """Let go of all that are of programs of `scope`, the oldest first."""
        for cookie in [cookie for cookie, flow in self._held.items() if flow.program.scope == scope]:
            yield self._held.pop(cookie)
