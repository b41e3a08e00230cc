"""The names that a job resolved to addresses, learned from its DNS questions and the answers to them.

Also the names of the Unix sockets that it connected to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from exporter.common.net.dns_messages import MessageError, Question, is_host_name, parse_question, parse_reply
from exporter.common.net.hosts import HostName
from exporter.common.net.unix_sockets import named_by
from exporter.events.facts import Acted, Aggregated, Answered, Asked, ProcessKey

_QUESTIONS_MAX = 4096
_ADDRESSES_MAX = 8192
_SOCKETS_MAX = 1024
_NAMES_MAX = 16
"""The most names kept for one address."""


_KeyT = TypeVar("_KeyT")
_ValueT = TypeVar("_ValueT")


class _Asking(NamedTuple):
    cookie: int
    resolver: bytes
    question: Question


class Resolver(NamedTuple):
    """The address, port and protocol of the sender of an answer."""

    address: bytes
    """16 bytes, network order; IPv4 as ::ffff:a.b.c.d."""
    port: int
    protocol: int
    """IANA number."""


MayAnswer = Callable[[Resolver], bool]
"""Type of functions that say whether the answers of a resolver may grant addresses."""


class _Named(NamedTuple):
    at_ns: int
    name: str
    process: ProcessKey
    counts: bool
    """Whether the name comes from an answer that may grant."""
    is_doubtful: bool
    """Whether the job may have made the answer itself, or had somebody make it."""
    resolver: Resolver
    last_ns: int
    """When the same answer came last, in nanoseconds since boot."""

    def is_like(self, other: _Named) -> bool:
        """Whether the two differ in time alone."""
        return self[1:6] == other[1:6]

    def grants(self, may_answer: MayAnswer) -> bool:
        """Whether the answer may grant, also under the policy by which `may_answer` judges its resolver."""
        return self.counts and may_answer(self.resolver)


class Names:
    """A bounded store of the names that one job resolved; the oldest entries make room.

    A name is kept beyond its time to live, since clients go on using the addresses that they have. It stays
    true that the job resolved the name to that address.
    """

    def __init__(self, host_name: HostName = lambda _peer, _at_ns: None) -> None:
        """`host_name` supplies the host's own name for an address; by default the host has none."""
        self._host_name = host_name
        self._questions: dict[_Asking, None] = {}
        self._sockets: dict[bytes, str] = {}
        self._named: dict[bytes, tuple[_Named, ...]] = {}

    def asked(self, event: Asked) -> str | None:
        """Note a question, and return the name that it asks for; None when it can't be parsed."""
        try:
            question = parse_question(event.message)
        except MessageError:
            return None
        asking = _Asking(event.cookie, event.resolver, question)
        self._questions.pop(asking, None)
        self._questions[asking] = None
        _bound(self._questions, _QUESTIONS_MAX)
        return question.name

    def answered(self, event: Answered) -> None:
        """Note the names in an answer. It counts once, and only if its sender was asked its question."""
        try:
            reply = parse_reply(event.message, is_cut=event.is_cut)
        except MessageError:
            return
        asking = _Asking(event.cookie, event.resolver, reply.question)
        if asking not in self._questions:
            return
        del self._questions[asking]
        if is_host_name(reply.question.name):
            name = reply.question.name
            resolver = Resolver(event.resolver, event.resolver_port, event.protocol)
            kind = (event.counts, event.is_doubtful, resolver)
            named = _Named(event.at_ns, name, event.process, *kind, last_ns=event.at_ns)
            for peer in reply.addresses:
                self._name(peer, named)

    def socket_of(self, event: Acted | Aggregated) -> str | None:
        """Return the name of the Unix socket that `event` has for a peer; None when it isn't known.

        The event of an act has it; acts that were only counted come later, and have the digest alone. A
        socket that goes by several names has one here: the digest's, or else the first that was met.
        """
        known = self._sockets.get(event.peer)
        if known is None and isinstance(event, Acted) and event.socket:
            known = self._sockets[event.peer] = named_by(event.peer, event.socket)
            _bound(self._sockets, _SOCKETS_MAX)
        return known

    def name_of(self, peer: bytes, at_ns: int, process: ProcessKey | None = None) -> str | None:
        """Return the name of `peer` (16 bytes) by this job's lookups up to `at_ns`, else the host's own.

        Hosts share addresses, so one may have several names. Then the latest name that `process` itself asked
        for is returned, else the latest of all. Returns None when there is no name.
        """
        known = [named for named in self._named.get(peer, ()) if named.at_ns <= at_ns]
        own = [named for named in known if named.process == process]
        if known:
            return (own or known)[-1].name
        return self._host_name(peer, at_ns)

    def doubts(self, name: str, peer: bytes, at_ns: int) -> bool:
        """Whether all answers up to `at_ns` that call `peer` by `name` may have been made by the job."""
        told = [one for one in self._named.get(peer, ()) if one.name == name and one.at_ns <= at_ns]
        return bool(told) and all(one.is_doubtful for one in told)

    def names_of(self, peer: bytes, at_ns: int) -> set[str]:
        """Return all names of `peer` by this job's lookups up to `at_ns`, and the host's own name for it."""
        names = {named.name for named in self._named.get(peer, ()) if named.at_ns <= at_ns}
        host_name = self._host_name(peer, at_ns)
        return names | ({host_name} if host_name else set())

    def names_by(self, peer: bytes, may_answer: MayAnswer, at_ns: int) -> set[str]:
        """Return the names of `peer` from answers that may grant, and the host's own name at `at_ns`."""
        host_name = self._host_name(peer, at_ns)
        return self.granting_to(peer, may_answer) | ({host_name} if host_name else set())

    def granting(self, may_answer: MayAnswer) -> dict[bytes, tuple[set[str], int]]:
        """Return each address's names from answers that may grant, and when the last such answer came.

        The resolver of each such answer is trusted by `may_answer`, and by the policy in force when it
        answered. Times are in nanoseconds since boot.
        """
        found = {}
        for peer, all_named in self._named.items():
            counting = [named for named in all_named if named.grants(may_answer)]
            if counting:
                found[peer] = {named.name for named in counting}, max(named.last_ns for named in counting)
        return found

    def granting_to(self, peer: bytes, may_answer: MayAnswer) -> set[str]:
        """Return the names of `peer` (16 bytes) from answers that may grant, as in `granting`."""
        return {named.name for named in self._named.get(peer, ()) if named.grants(may_answer)}

    def _name(self, peer: bytes, named: _Named) -> None:
        before = self._named.pop(peer, ())
        if before and before[-1].is_like(named):
            self._named[peer] = (*before[:-1], before[-1]._replace(last_ns=named.at_ns))
        else:
            self._named[peer] = (*before, named)[-_NAMES_MAX:]
        _bound(self._named, _ADDRESSES_MAX)


def _bound(table: dict[_KeyT, _ValueT], limit: int) -> None:
    if len(table) > limit:
        del table[next(iter(table))]
