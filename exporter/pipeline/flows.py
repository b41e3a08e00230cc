"""Acts under way. Each is held until its end is known, so that a single span can report all of it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from weakref import WeakValueDictionary

from exporter.common.net.addresses import UNIX
from exporter.common.net.dns_messages import DNS_PORT
from exporter.events.facts import Act, Acted, Asked, Flowed, Metered, Outcome, Stage

from .attempt import AttemptOf
from .held_flows import HeldFlows
from .questions import Questions

HELD_MAX = 8192
"""The most connections that are held at once, and the most acts with datagrams. Beyond that, the oldest one
of the scope that has the most is reported without its end."""

NAMES_MAX = 32
"""The most names that one DNS lookup keeps, of those in its questions."""
NAMES_CHARS = 1024
"""The most characters of one lookup's names together: a job can have thousands of lookups at once."""

_TCP, _UDP = (6, 262), 17


@dataclass(slots=True, weakref_slot=True)
class Flow:
    """An attempt, and its progress so far."""

    attempt: AttemptOf[Acted]
    question: str | None = None
    """The name that a DNS lookup asks for first; None for other acts, and when it isn't known."""
    is_watched: bool = False
    """Whether the kernel reports its outcome."""
    has_no_route: bool = False
    """Whether none of its packets left, for lack of a route, as the socket's next connect shows."""
    failure: int = 0
    """The errno that connect(2) returned at once; 0 when it returned none, and when that isn't known."""
    established: Flowed | None = None
    end: Flowed | None = None
    metered: Metered | None = None
    """The payload of its datagrams; None when it has none, and until the payload is known."""
    questions: int = 0
    """Number of questions that a DNS lookup carried, including those that can't be read."""
    names: tuple[str, ...] = ()
    """The first names that the lookup's questions ask for, each once."""

    @property
    def peer(self) -> tuple[bytes, int]:
        """The peer's address and port."""
        event = self.attempt.event
        return event.peer, event.peer_port

    def asked(self, name: str | None) -> None:
        """Count one more question that the act carried; `name` is None when it can't be read."""
        self.questions += 1
        if name is None or name in self.names:
            return
        self.question = self.question or name
        has_room = sum(map(len, self.names)) + len(name) <= NAMES_CHARS or not self.names
        if has_room and len(self.names) < NAMES_MAX:
            self.names = (*self.names, name)

    def ended_ns(self, now_ns: int) -> int:
        """Return when the act ended, as far as that is known at `now_ns`. A datagram ends when it is sent."""
        event = self.attempt.event
        if event.act is Act.SEND:
            return event.at_ns
        return self.metered.at_ns if self.metered is not None else now_ns

    @property
    def error(self) -> int:
        """The errno that the act ended with; 0 without an error, and when it isn't known."""
        if self.has_no_route or (self.end is not None and self.end.stage is Stage.NEVER_SENT):
            return self.failure
        return self.end.error if self.end is not None else 0

    @property
    def outcome(self) -> Outcome | None:
        """The outcome so far; None when it can't be known."""
        if self.attempt.ruling.is_denied:
            return Outcome.DENIED
        if self.attempt.event.protocol == UNIX:  # it is judged before the kernel says what comes of it
            return None
        if self.attempt.event.act is Act.SEND:  # without a route, or memory, no packet was sent
            has_left = self.metered is None or self.metered.bytes_sent > 0
            return Outcome.SENT if has_left else None
        if self.has_no_route:
            return Outcome.UNREACHABLE
        if self.end is not None:
            return self.end.outcome
        return Outcome.OPEN if self.is_watched else None


class Flows:
    """A store of acts, each held until the rest of its facts is known.

    Connections are held until they end, DNS lookups until their question is known, and acts with datagrams
    until their bytes are known.

    `len` may be called from any thread.
    """

    def __init__(self) -> None:
        """Create an empty store."""
        self._held = HeldFlows[int](HELD_MAX)
        self._lookups = Questions[Flow]()
        self._metered = HeldFlows[tuple[int, int]](HELD_MAX)
        self._asking: dict[tuple[int, int], Flow] = {}
        """DNS lookups whose bytes aren't known yet, by the socket's cookie and the time of the act."""
        self._carriers: WeakValueDictionary[tuple[int, bytes], Flow] = WeakValueDictionary()
        """The latest act on port 53 of each socket with each peer, as long as it is held."""

    def __len__(self) -> int:
        return len(self._held) + len(self._lookups) + len(self._metered)

    def hold(self, flow: Flow) -> Iterator[Flow]:
        """Hold `flow` while there is something to wait for; yield the flows that are no longer held.

        `flow` itself may be among these, as the last one.

        A program may call connect(2) again on a socket that is connecting, to learn its state. The second
        call is an attempt of its own, but the outcome belongs to the first. When the socket connects to
        another peer, the kernel had no route to the first peer.
        """
        event, ruling = flow.attempt.event, flow.attempt.ruling
        # A socket that was denied causes no more events, except about its earlier acts.
        if ruling.is_denied or ruling.refused is not None:
            yield flow
            return
        before = self._held.get(event.cookie)
        if event.peer_port == DNS_PORT:
            is_same = before is not None and before.peer == flow.peer and event.protocol in _TCP
            self._carriers[event.cookie, event.peer] = before if before and is_same else flow
        if before is not None and before.peer != flow.peer and event.act is Act.CONNECT:
            before.has_no_route = True
            self._held.pop(event.cookie)
            yield before
        is_connecting = event.act is Act.CONNECT and event.protocol in _TCP and event.cookie != 0
        if is_connecting and event.cookie not in self._held:
            flow.is_watched = True
            yield from self._held.put(event.cookie, flow)
        elif event.protocol == _UDP and event.peer_port == DNS_PORT:
            if event.is_metered:
                self._asking[_key(event)] = flow
            yield from self._go_on(self._lookups.wait(event, flow))
        else:
            yield from self._meter(flow)

    def advance(self, event: Flowed) -> Flow | None:
        """Apply `event` to its socket's connection, and return the connection; once ended, it isn't held.

        Returns None when no connection is held, or when `event` only says that connect(2) failed at once.
        """
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
            self._held.pop(event.cookie)
        return flow

    def measure(self, event: Metered) -> Flow | None:
        """Store the payload that `event` reports in the act that `event` is about.

        Returns the act if it was held for its payload alone, and so is held no longer; else None.
        """
        key = event.cookie, event.acted_ns
        known = self._metered.pop(key)
        flow = known or self._asking.pop(key, None)
        if flow is not None:
            flow.metered = event
        return known

    def asked(self, event: Asked, name: str | None) -> Iterator[Flow]:
        """Add a question for `name` to the lookup that carried it; yield the lookup if it is held no longer.

        The carrier is the lookup that waits for its question; without one (over TCP, and on a socket that
        asks again) it is the socket's latest act.
        """
        waited = self._lookups.asked(event, name)
        flow = waited or self._carriers.get((event.cookie, event.resolver))
        if flow is not None:
            flow.asked(name)
        return self._go_on([waited] if waited is not None else [])

    def last_asked(self, cookie: int) -> str | None:
        """Return the name that was asked for last on the socket `cookie`; None when it isn't known."""
        return self._lookups.last_on(cookie)

    def overdue(self, at_ns: int) -> Iterator[Flow]:
        """Stop waiting for questions that are overdue at `at_ns`; yield the lookups held no longer."""
        return self._go_on(self._lookups.due(at_ns))

    def rest(self, scopes: Container[int]) -> Iterator[Flow]:
        """Release all acts of programs of `scopes`: lookups, datagrams, then connections, oldest first."""
        yield from self._go_on(self._lookups.flush(lambda flow: flow.attempt.scope in scopes))
        yield from self._metered.take(scopes)
        yield from self._held.take(scopes)

    def _go_on(self, lookups: Iterable[Flow]) -> Iterator[Flow]:
        for flow in lookups:
            self._asking.pop(_key(flow.attempt.event), None)
            yield from self._meter(flow)

    def _meter(self, flow: Flow) -> Iterator[Flow]:
        """Hold `flow` until its bytes are known; yield the flows that are no longer held, itself last."""
        if flow.metered is not None or not flow.attempt.event.is_metered:
            yield flow
            return
        key = _key(flow.attempt.event)
        if (known := self._metered.pop(key)) is not None:  # in a recording that somebody made up
            yield known
        yield from self._metered.put(key, flow)


def _key(event: Acted) -> tuple[int, int]:
    return event.cookie, event.at_ns
