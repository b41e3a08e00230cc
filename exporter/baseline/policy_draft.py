"""Draft a first policy from recorded jobs: each destination once, with its attempts and programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from exporter.common.net.addresses import is_loopback
from exporter.common.net.dns_messages import DNS_PORT
from exporter.common.net.unix_sockets import is_socket_name
from exporter.common.text import form_of, printable
from exporter.events.destinations import OTHER
from exporter.otlp.reading.json import number_of, text_of
from exporter.policy.endpoints import PORT_MAX
from exporter.policy.hosts import recorded_host
from exporter.policy.rule_texts import ANY, TEXT_MAX, chains_text, has_ports, rule_text, scheme_of

_LINEAGES_MAX = 1000
_DESTINATIONS_MAX = 20_000
_TRANSPORTS_MAX = 8
_HEAD = """\
# A draft: what {jobs} did on the network, {attempts:,} {noun} in all. Read each line, remove what
# shouldn't be, then try it with `mode: audit`, which denies nothing and tells what it would deny.
version: 1
mode: audit
"""


class _Place(NamedTuple):
    """A destination as a rule names it; sorted by host, then port."""

    host: str
    port: int
    """0 where there is none."""
    scheme: str
    """`tcp`, `udp`, `icmp`, or `any` for a protocol that no rule can name."""


@dataclass
class _Seen:
    attempts: int = 0
    lineages: Counter[str] = field(default_factory=Counter)
    transports: set[str] = field(default_factory=set)


class Draft:
    """A policy in the making: counts the destinations of spans, then gives a rule for each."""

    def __init__(self) -> None:
        """Begin without destinations."""
        self._seen: dict[_Place, _Seen] = {}
        self._jobs: set[str] = set()
        self._attempts = 0
        self.left_out: Counter[str] = Counter()
        """Attempts that are in no rule, by reason."""

    def add(self, span: Mapping[str, Any]) -> None:
        """Count the attempts of an egress span, given by its attributes."""
        attempts = number_of(span.get("egress.attempts"))
        attempts = 1 if attempts is None else attempts
        self._attempts += attempts
        self._jobs.add(text_of(span.get("cicd.pipeline.name")) or "a job")
        place = _place(span)
        if isinstance(place, str):
            self.left_out[place] += attempts
            return
        if place not in self._seen and len(self._seen) >= _DESTINATIONS_MAX:
            self.left_out[f"beyond {_DESTINATIONS_MAX:,} destinations"] += attempts
            return
        seen = self._seen.setdefault(place, _Seen())
        seen.attempts += attempts
        if len(seen.transports) < _TRANSPORTS_MAX:
            seen.transports.add(printable(text_of(span.get("network.transport")) or "unknown", limit=20))
        chain = " > ".join(str(name) for name in _listed(span, "egress.lineage"))
        if chain in seen.lineages or len(seen.lineages) < _LINEAGES_MAX:
            seen.lineages[chain] += attempts

    @property
    def is_empty(self) -> bool:
        """Whether there was no span at all."""
        return not (self._seen or self.left_out)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the policy file."""
        noun = form_of(self._attempts, "attempt")
        yield from _HEAD.format(jobs=self._whose(), attempts=self._attempts, noun=noun).splitlines()
        for reason, attempts in sorted(self.left_out.items()):
            yield f"# In no rule: {attempts:,} × {reason}"
        yield "allow:" if self._seen else "allow: []"
        for rule, described in self.rules():
            yield f"  # {described}"
            yield f'  - "{rule}"'

    def rules(self) -> Iterator[tuple[str, str]]:
        """Yield each rule in its short form, with the text of a comment that describes it."""
        for place, seen in sorted(self._seen.items()):
            yield rule_text(place.host, place.port or None, place.scheme), _described(place, seen)

    def _whose(self) -> str:
        if len(self._jobs) == 1:
            return printable(*self._jobs, limit=TEXT_MAX)
        return f"{len(self._jobs):,} pipelines" if self._jobs else "no job"


def draft(spans: Iterable[Mapping[str, Any]]) -> Draft:
    """Make a draft from the attributes of egress spans."""
    made = Draft()
    for span in spans:
        made.add(span)
    return made


def _place(span: Mapping[str, Any]) -> _Place | str:
    """Return where a span went; or, as a text, why no rule is made of it."""
    host, peer = (text_of(span.get(name)) or "" for name in ("server.address", "network.peer.address"))
    if host == OTHER:
        return "destinations that were counted together (_other)"
    if is_socket_name(peer or host):
        return "Unix sockets, which are allowed unless a rule denies them"
    if is_loopback(peer or host):
        return "loopback, which is always allowed"
    scheme = scheme_of(text_of(span.get("network.transport")) or "")
    if scheme == "udp" and number_of(span.get("egress.bytes_sent")) == 0:
        return "UDP sockets that sent nothing, as libraries connect them to put addresses in order"
    has_port = has_ports(scheme)
    port = (number_of(span.get("server.port")) or 0) if has_port else 0
    if 0 < port <= PORT_MAX or not has_port:
        for written in (host, peer):
            if named := recorded_host(written):
                return _Place(named, port, scheme)
    return "destinations that no rule can name"


def _described(place: _Place, seen: _Seen) -> str:
    """Describe counts and lineages, the most frequent first."""
    kinds = f" ({', '.join(sorted(seen.transports))})" if place.scheme == ANY else ""
    hint = "; DNS: `resolvers: system` allows the machine's own" if place.port == DNS_PORT else ""
    ordered = sorted(seen.lineages.items(), key=lambda item: (-item[1], item[0]))
    return f"{seen.attempts:,} ×{kinds}: {chains_text([chain for chain, _ in ordered])}{hint}"


def _listed(span: Mapping[str, Any], name: str) -> list[Any]:
    value = span.get(name)
    return value if isinstance(value, list) else []
