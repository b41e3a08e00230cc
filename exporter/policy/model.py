"""A policy as data: rules, sections for jobs, and what of both holds for one job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from exporter.policy.keys import Key

ANY_PORT = 0
"""Stands for every port: a rule can't name port 0."""
DEFAULT = "default"
"""Told as the rule where none matched."""
ANSWER = "answer"
"""Told as the rule where a listener of the job's own answers who asked it."""
NOTHING_SENT = "nothing sent"
"""Told as the rule where a datagram socket connects, which sends nothing, and only TCP may go there."""
LOOKUPS = "dns: deny"
"""Told as the rule where a resolver was to be asked for a name that no rule allows."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Effect(Enum):
    """What a rule, or the policy as a whole, says to an act."""

    ALLOW = "allow"
    DENY = "deny"


class Mode(Enum):
    """Whether what isn't allowed is only told, or denied."""

    AUDIT = "audit"
    ENFORCE = "enforce"


class Protocol(IntEnum):
    """What a rule can name; each with its number in IP headers."""

    ANY = 0
    ICMP = 1
    """Also ICMP over IPv6."""
    TCP = 6
    UDP = 17


class Name(NamedTuple):
    """A host's name, or all names below one."""

    text: str
    """In lower case, without `*.` and the final dot."""
    is_wildcard: bool = False

    def covers(self, name: str) -> bool:
        """Whether `name` (in lower case) is meant; a wildcard doesn't mean its own apex."""
        return name.endswith(f".{self.text}") if self.is_wildcard else name == self.text

    @property
    def specificity(self) -> tuple[bool, int]:
        """The larger, the more specific, among names that cover the same one."""
        return not self.is_wildcard, self.text.count(".")

    def __str__(self) -> str:
        """As a file has it."""
        return f"*.{self.text}" if self.is_wildcard else self.text


Host = Name | IPv4Network | IPv6Network


class PortClass(NamedTuple):
    """What one entry of a map is about: a port of a protocol, all of a protocol, or everything."""

    protocol: int
    """Number of the protocol; 0 for every protocol."""
    port: int
    """ANY_PORT for every port."""

    @property
    def wider(self) -> PortClass | None:
        """The next one that includes it: (p, port) → (p, any) → (any, any)."""
        if self.port != ANY_PORT:
            return PortClass(self.protocol, ANY_PORT)
        return PortClass(Protocol.ANY, ANY_PORT) if self.protocol else None


@dataclass(frozen=True)
class Rule:
    """One rule, and where it stands."""

    text: str
    """As the file has it, on one line."""
    effect: Effect
    host: Host
    protocol: Protocol
    ports: tuple[int, ...] | None
    """Without repetitions; None for every port, and for protocols without ports."""
    lineage: tuple[str, ...] = ()
    """Executables, by name or absolute path, that must all be in the chain of processes."""
    source: str = ""
    """The file, or the option."""
    line: int | None = None
    column: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing overrides it: a deny that names addresses."""
        return self.effect is Effect.DENY and not isinstance(self.host, Name)

    @property
    def classes(self) -> tuple[PortClass, ...]:
        """The map entries that it takes: one for each port, or one for all of them."""
        return tuple(PortClass(self.protocol, port) for port in self.ports or (ANY_PORT,))

    def covers(self, wanted: PortClass) -> bool:
        """Whether it is about that protocol and port, of its host."""
        is_its_protocol = self.protocol in (Protocol.ANY, wanted.protocol)
        return is_its_protocol and (self.ports is None or wanted.port in self.ports)

    @property
    def meaning(self) -> tuple[object, ...]:
        """What it says, wherever it stands."""
        return self.effect, self.host, self.protocol, self.ports, self.lineage

    @property
    def place(self) -> str:
        """`file:line`; empty for what no file has."""
        return f"{self.source}:{self.line}" if self.line is not None else ""


class Lookups(NamedTuple):
    """What resolvers may be asked for."""

    are_refused: bool = False
    """Whether a name must be one that a rule allows."""
    search: tuple[str, ...] = ()
    """What programs put behind such a name to look for it; in lower case, without the final dot."""


ANY_LOOKUP = Lookups()


@dataclass(frozen=True)
class Section:
    """Rules, and perhaps a mode, for the jobs that its key is for."""

    key: Key
    mode: Mode | None = None
    rules: tuple[Rule, ...] = ()
    trusts_names: bool | None = None
    """Whether names count that a job's author chooses; None: as for the file as a whole."""
    refuses_lookups: bool = False
    """Whether resolvers may be asked for what rules allow alone, whatever the file says as a whole."""
    source: str = ""
    """The file."""
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True)
class Policy:
    """A valid policy file, or the rules of `--allowed-endpoints`, or both."""

    mode: Mode = Mode.AUDIT
    rules: tuple[Rule, ...] = ()
    sections: tuple[Section, ...] = ()
    resolvers: Rule | None = None
    """Where `resolvers: system` stands: a rule without addresses of its own; None where it doesn't."""
    trusts_names: bool = False
    """Whether sections go by names that a job's author chooses, where they don't say."""
    lookups: Lookups = ANY_LOOKUP

    def held_to(self, sections: Iterable[Section], rules: Iterable[Rule]) -> JobPolicy:
        """What holds for a job that `sections` are for: `rules`, each once, and the strictest of the rest."""
        sections = tuple(sections)
        modes = {self.mode, *(section.mode for section in sections)}
        refuses = self.lookups.are_refused or any(section.refuses_lookups for section in sections)
        distinct: dict[tuple[object, ...], Rule] = {}
        for rule in (*self.rules, *rules):
            distinct.setdefault(rule.meaning, rule)
        return JobPolicy(
            Mode.ENFORCE if Mode.ENFORCE in modes else Mode.AUDIT,
            tuple(distinct.values()),
            self.resolvers,
            self.lookups._replace(are_refused=refuses),
        )


@dataclass(frozen=True)
class JobPolicy:
    """What holds for one job."""

    mode: Mode = Mode.AUDIT
    rules: tuple[Rule, ...] = ()
    """In the order of the file, sections last."""
    resolvers: Rule | None = None
    lookups: Lookups = ANY_LOOKUP

    def all_rules(self, resolvers: Iterable[Address] = ()) -> tuple[Rule, ...]:
        """Its rules and those implied: loopback, and port 53 of `resolvers` where they are allowed."""
        return (*self.rules, *self._resolver_rules(resolvers), *LOOPBACK)

    def _resolver_rules(self, resolvers: Iterable[Address]) -> Iterator[Rule]:
        if self.resolvers is None:
            return
        for address in dict.fromkeys(map(plain_address, resolvers)):
            for protocol in (Protocol.UDP, Protocol.TCP):
                yield replace(self.resolvers, host=ip_network(address), protocol=protocol)


def plain_address(address: Address) -> Address:
    """IPv4 for an IPv4-mapped IPv6 address: to the policy they are one."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def resolvers_rule(source: str, line: int | None, column: int | None) -> Rule:
    """What `resolvers: system` stands for; the addresses are the machine's, and come later."""
    nowhere = IPv4Network((0, 32))
    return Rule(
        "resolvers: system",
        Effect.ALLOW,
        nowhere,
        Protocol.UDP,
        (53,),
        source=source,
        line=line,
        column=column,
    )


def job_names(pipeline: str | None, task: str | None) -> tuple[str, ...]:
    """What patterns of sections are held against: `pipeline`, and `pipeline/task` where there is a task."""
    of_all = pipeline or ""
    return (of_all,) if task is None else (of_all, f"{of_all}/{task}")


def strictest(policy: Policy) -> JobPolicy:
    """What no job's part of `policy` is stricter than: what all may, less what any section denies."""
    denied = (rule for section in policy.sections for rule in section.rules if rule.effect is Effect.DENY)
    return policy.held_to(policy.sections, denied)


def with_endpoints(policy: Policy | None, endpoints: Policy) -> Policy:
    """`policy`, with what `--allowed-endpoints` adds to it."""
    if policy is None:
        return endpoints
    known = {rule.meaning for rule in policy.rules}
    added = tuple(rule for rule in endpoints.rules if rule.meaning not in known)
    return replace(policy, rules=policy.rules + added, resolvers=policy.resolvers or endpoints.resolvers)


def _loopback(network: str) -> Rule:
    return Rule("loopback", Effect.ALLOW, ip_network(network), Protocol.ANY, None)


LOOPBACK = tuple(map(_loopback, ("127.0.0.0/8", "0.0.0.0/32", "::1/128", "::/128")))
"""Allowed without being named: the machine itself, which connecting to 0.0.0.0 or :: means, too."""
