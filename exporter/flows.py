"""Acts under way: held until their end is known, so that one span tells all of them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

from opentelemetry.trace import SpanContext

from exporter.destinations import Destination
from exporter.events import Act, Acted, Asked, Flowed, Outcome, Stage
from exporter.programs import Program
from exporter.questions import PORT, Questions
from exporter.terms import Ruling

HELD_MAX = 8192
"""Connections held at once; beyond that the oldest is told as still open."""

_TCP, _UDP = (6, 262), 17


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
    parent: SpanContext
    """Of the span above it, when it began."""
    question: str | None = None
    """The name that a DNS lookup asks for; None for other acts, and when it isn't known."""
    ruling: Ruling = Ruling()  # noqa: RUF009 - immutable
    is_watched: bool = False
    """Whether the kernel tells what becomes of it."""
    has_no_route: bool = False
    """Whether it never left, by what its socket did next."""
    failure: int = 0
    """errno that connect(2) returned at once; 0 where it didn't, and when it isn't known."""
    established: Flowed | None = None
    end: Flowed | None = None

    @property
    def peer(self) -> tuple[bytes, int]:
        """Address and port."""
        return self.event.peer, self.event.peer_port

    @property
    def error(self) -> int:
        """errno; 0 without one, and when it isn't known."""
        if self.has_no_route or (self.end is not None and self.end.stage is Stage.NEVER_SENT):
            return self.failure
        return self.end.error if self.end is not None else 0

    @property
    def outcome(self) -> Outcome | None:
        """None when nothing can be known of it."""
        if self.ruling.is_denied:
            return Outcome.DENIED
        if self.event.act is Act.SEND:
            return Outcome.SENT
        if self.has_no_route:
            return Outcome.UNREACHABLE
        if self.end is not None:
            return self.end.outcome
        return Outcome.OPEN if self.is_watched else None


class Flows:
    """The acts that are held: connections until they end, lookups until they show what they ask for.

    `len` may be asked from any thread.
    """

    def __init__(self) -> None:
        """None is."""
        self._held: dict[int, Flow] = {}
        self._lookups = Questions[Flow]()

    def __len__(self) -> int:
        return len(self._held) + len(self._lookups)

    def hold(self, flow: Flow) -> Iterator[Flow]:
        """Hold `flow` while there is something to wait for; gives what is held no longer, in the end itself.

        A socket that is connecting may be connected again, just to see how it is doing: that is an attempt
        of its own, and the outcome is the first one's. When it connects to another peer, the kernel had
        no way to the first one.
        """
        event = flow.event
        if flow.ruling.is_denied:  # of its socket nothing more comes, but for what it did before
            yield flow
            return
        before = self._held.get(event.cookie)
        if before is not None and before.peer != flow.peer and event.act is Act.CONNECT:
            before.has_no_route = True
            yield self._held.pop(event.cookie)
        is_connecting = event.act is Act.CONNECT and event.protocol in _TCP and event.cookie != 0
        if is_connecting and event.cookie not in self._held:
            flow.is_watched = True
            self._held[event.cookie] = flow
            if len(self._held) > HELD_MAX:
                yield self._let_go(next(iter(self._held)))
        elif event.protocol == _UDP and event.peer_port == PORT:
            yield from _answered(self._lookups.wait(event, flow))
        else:
            yield flow

    def advance(self, event: Flowed) -> Flow | None:
        """The flow that came further by `event`, no longer held when that is its end; else None."""
        flow = self._held.get(event.cookie)
        if flow is None:
            return None
        if event.stage is Stage.FAILED:  # of several tries to the same peer, the first one is held
            flow.failure = flow.failure or event.error
            return None
        if event.stage is Stage.ESTABLISHED:
            flow.established = event
        else:
            flow.end = event
            self._let_go(event.cookie)
        return flow

    def asked(self, event: Asked, name: str | None) -> Iterator[Flow]:
        """The lookup that asks for `name`, if it is held; it isn't any more."""
        return _answered(self._lookups.asked(event, name))

    def overdue(self, at_ns: int) -> Iterator[Flow]:
        """The lookups whose question should have come long before `at_ns`; they are held no longer."""
        return _answered(self._lookups.due(at_ns))

    def rest(self, scopes: Container[int]) -> Iterator[Flow]:
        """Let go of all that are of programs of `scopes`: lookups, then connections, the oldest first."""
        yield from _answered(self._lookups.flush(lambda flow: flow.program.scope in scopes))
        for cookie in [cookie for cookie, flow in self._held.items() if flow.program.scope in scopes]:
            yield self._let_go(cookie)

    def _let_go(self, cookie: int) -> Flow:
        flow = self._held.pop(cookie)
        if flow.event.peer_port == PORT:
            flow.question = self._lookups.first_on(cookie)
        return flow


def _answered(found: Iterable[tuple[Flow, str | None]]) -> Iterator[Flow]:
    for flow, question in found:
        flow.question = question
        yield flow
