"""Make acts and programs of spans, and limit how many acts are listed one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from exporter.common.net.addresses import is_loopback
from exporter.events.destinations import SOCKET
from exporter.otlp.reading.json import Attributes, number_of, text_of
from exporter.otlp.reading.spans import WholeSpan
from exporter.pipeline.ruling import ALLOWED, DENIED, WOULD_DENY
from exporter.policy.endpoints import PORT_MAX

from .model import ReportedAct, ReportedProgram
from .texts import Texts

ATTRIBUTES = frozenset(
    {
        "dns.question.name",
        "egress.ancestors",
        "egress.attempts",
        "egress.bytes_received",
        "egress.bytes_sent",
        "egress.dns.names",
        "egress.job.step",
        "egress.lineage",
        "egress.novel",
        "egress.outcome",
        "egress.rule",
        "egress.verdict",
        "error.type",
        "network.peer.address",
        "network.transport",
        "process.command_line",
        "process.executable.name",
        "process.pid",
        "server.address",
        "server.port",
    }
)
"""All attributes that are read from the spans of acts and programs."""

_VERDICTS = (ALLOWED, WOULD_DENY, DENIED)
_NUMBER_MAX = 1 << 53
"""The largest number up to which JavaScript represents each integer exactly."""


class ActKind(NamedTuple):
    """The properties that acts must have in common to be counted as one."""

    job: int
    host: str
    port: int | None
    transport: str | None
    is_loopback: bool
    chain: tuple[str, ...]
    verdict: str
    rule: str | None
    novel: bool | None
    step: str | None
    outcome: str | None
    error: str | None


@dataclass(slots=True)
class _First:
    """The first act of a kind, and the sums of the acts that were added to it."""

    act: ReportedAct
    attempts: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    ended_ns: int = 0

    def fold(self, other: ReportedAct) -> None:
        self.attempts += other.attempts
        self.bytes_sent += other.bytes_sent or 0
        self.bytes_received += other.bytes_received or 0
        self.ended_ns = max(self.ended_ns, other.ended_ns)

    def whole(self) -> ReportedAct:
        act = self.act
        return replace(
            act,
            ended_ns=max(act.ended_ns, self.ended_ns),
            attempts=act.attempts + self.attempts,
            bytes_sent=_sum(act.bytes_sent, self.bytes_sent),
            bytes_received=_sum(act.bytes_received, self.bytes_received),
        )


class Acts:
    """At most `limit` acts: the first one of each kind, and others of these kinds while there is room.

    An act that finds no room is added to the first one of its kind, which counts several from then on.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._firsts: dict[ActKind, _First] = {}
        self._others: list[tuple[ActKind, ReportedAct]] = []
        self.folded = 0
        """The number of acts that were added to another one."""
        self.left_out = 0
        """The number of attempts of kinds that found no room."""

    def add(self, job: int, act: ReportedAct) -> None:
        """Add an act of the job with the number `job`."""
        kind = _kind(job, act)
        if kind in self._firsts:
            self._add_other(kind, act)
        elif len(self._firsts) >= self._limit:
            self.left_out += act.attempts
        else:
            self._firsts[kind] = _First(act)
            if len(self) > self._limit:
                self._fold(*self._others.pop())

    def __len__(self) -> int:
        """Return the number of acts."""
        return len(self._firsts) + len(self._others)

    def __iter__(self) -> Iterator[tuple[int, ReportedAct]]:
        """Yield the number of the job and the act, for each act."""
        for kind, first in self._firsts.items():
            yield kind.job, first.whole()
        for kind, act in self._others:
            yield kind.job, act

    def _add_other(self, kind: ActKind, act: ReportedAct) -> None:
        if len(self) < self._limit:
            self._others.append((kind, act))
        else:
            self._fold(kind, act)

    def _fold(self, kind: ActKind, act: ReportedAct) -> None:
        self._firsts[kind].fold(act)
        self.folded += 1


def act_of(span: WholeSpan, texts: Texts) -> ReportedAct:
    """Make an act of an egress span."""
    get = span.attributes.get
    transport = texts.name(get("network.transport"))
    host = texts.name(get("server.address")) or SOCKET
    address = texts.name(get("network.peer.address"))
    verdict = get("egress.verdict")
    novel = get("egress.novel")
    return ReportedAct(
        span_id=span.span_id,
        parent_id=span.parent_id or None,
        started_ns=span.started_ns,
        ended_ns=span.ended_ns,
        host=host,
        port=_port(get("server.port")),
        transport=transport,
        address=address,
        is_loopback=is_loopback(host) or is_loopback(address or ""),
        question=texts.name(get("dns.question.name")),
        attempts=attempts_of(span),
        outcome=texts.name(get("egress.outcome")),
        error=texts.name(get("error.type")),
        bytes_sent=_number(get("egress.bytes_sent")),
        bytes_received=_number(get("egress.bytes_received")),
        verdict=verdict if verdict in _VERDICTS else ALLOWED,
        rule=texts.name(get("egress.rule")),
        novel=novel if isinstance(novel, bool) else None,
        step=texts.name(get("egress.job.step")),
        pid=_number(get("process.pid")),
        chain=texts.names(get("egress.lineage")),
        command_line=_command_line(span.attributes, texts),
        ancestors=texts.lines(get("egress.ancestors")),
        names=texts.names(get("egress.dns.names")),
    )


def attempts_of(span: WholeSpan) -> int:
    """Return the number of attempts in an egress span."""
    attempts = _number(span.attributes.get("egress.attempts"))
    return 1 if attempts is None else attempts


def program_of(span: WholeSpan, texts: Texts) -> ReportedProgram:
    """Make a program of a process's span."""
    get = span.attributes.get
    name = texts.name(get("process.executable.name")) or texts.name(span.name) or "unknown"
    return ReportedProgram(
        span_id=span.span_id,
        parent_id=span.parent_id or None,
        name=name,
        command_line=_command_line(span.attributes, texts),
        pid=_number(get("process.pid")),
        started_ns=span.started_ns,
        ended_ns=span.ended_ns,
    )


def _command_line(attributes: Attributes, texts: Texts) -> str:
    told = attributes.get("process.command_line")
    return texts.line(told if text_of(told) else attributes.get("process.executable.name"))


def _kind(job: int, act: ReportedAct) -> ActKind:
    return ActKind(
        job,
        act.host,
        act.port,
        act.transport,
        act.is_loopback,
        act.chain,
        act.verdict,
        act.rule,
        act.novel,
        act.step,
        act.outcome,
        act.error,
    )


def _port(value: object) -> int | None:
    number = number_of(value)
    return number if number is not None and number <= PORT_MAX else None


def _number(value: object) -> int | None:
    number = number_of(value)
    return None if number is None else min(number, _NUMBER_MAX)


def _sum(number: int | None, more: int) -> int | None:
    return (number or 0) + more if number is not None or more else None
