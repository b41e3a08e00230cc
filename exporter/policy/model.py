"""A policy as data: rules, sections for jobs, and the part of both that is for one job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, NamedTuple

from exporter.common.net.addresses import POLICY_UNIX
from exporter.common.net.dns_messages import DNS_PORT
from exporter.common.net.unix_sockets import digest, name_of, plain_name

if TYPE_CHECKING:
    from .keys import Key

ANY_PORT = 0
"""The number that means every port: a rule can't name port 0."""
DEFAULT = "default"
"""The rule that is reported where none matched."""
ANSWER = "answer"
"""The rule that is reported where the job's own listener answers whoever asked it."""
NOTHING_SENT = "nothing sent"
"""The rule that is reported where a datagram socket connects without sending, and only TCP may go there."""
LOOKUPS = "dns: deny"
"""The rule that is reported where a resolver was to be asked for a name that no rule allows."""

ANY_SOCKET = "*"
"""In place of a Unix socket's name: every one whose listener isn't of the job."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Effect(Enum):
    """The effect of a rule, or of the policy as a whole, on an attempt."""

    ALLOW = "allow"
    DENY = "deny"


class Mode(Enum):
    """Whether an attempt that isn't allowed is only reported, or denied."""

    AUDIT = "audit"
    ENFORCE = "enforce"


class Protocol(IntEnum):
    """The protocols that a rule can name, with their numbers in IP headers."""

    ANY = 0
    ICMP = 1
    """Also ICMP over IPv6."""
    TCP = 6
    UDP = 17
    UNIX = POLICY_UNIX
    """Connects to Unix sockets, which `any` doesn't include."""

    def includes(self, protocol: int) -> bool:
        """Whether a rule for this protocol is for `protocol`, a number in policies."""
        return self == protocol or (self is Protocol.ANY and protocol != Protocol.UNIX)


class Name(NamedTuple):
    """A host's name, or all names below one."""

    text: str
    """The name in lower case, without `*.` and the final dot."""
    is_wildcard: bool = False

    def covers(self, name: str) -> bool:
        """Return whether it includes `name` (in lower case); a wildcard doesn't include its own apex."""
        return name.endswith(f".{self.text}") if self.is_wildcard else name == self.text

    @property
    def specificity(self) -> tuple[bool, int]:
        """A key that is larger for the more specific one of two that cover the same name."""
        return not self.is_wildcard, self.text.count(".")

    def __str__(self) -> str:
        """Return it as a policy file has it."""
        return f"*.{self.text}" if self.is_wildcard else self.text


class SocketName(NamedTuple):
    """The name of a Unix socket, or all names."""

    text: str
    """A path, `@` and an abstract name, or `*`."""

    @property
    def digests(self) -> IPv6Network:
        """The digests that stand for it in the kernel's maps, as addresses."""
        if self.text == ANY_SOCKET:
            return IPv6Network((0, 0))
        return IPv6Network(digest(name_of(plain_name(self.text))))

    def __str__(self) -> str:
        """Return it as a policy file has it, without the scheme."""
        return self.text


NetworkHost = Name | IPv4Network | IPv6Network
Host = NetworkHost | SocketName


def addresses_of(host: Network | SocketName) -> Network:
    """Return the addresses that `host` means; for a Unix socket, its digests."""
    return host.digests if isinstance(host, SocketName) else host


def zones(name: str) -> Iterator[str]:
    """Yield the zones that `name` is in, nearest first."""
    while "." in name:
        name = name.partition(".")[2]
        yield name


class PortClass(NamedTuple):
    """The ports that one entry of a map is about: one of a protocol, all of it, or all of all protocols."""

    protocol: int
    """Number of the protocol; 0 for every protocol."""
    port: int
    """ANY_PORT for every port."""

    def with_wider(self) -> Iterator[PortClass]:
        """Yield it and the classes that include it, nearest first: (p, port) → (p, any) → (any, any)."""
        yield self
        if self.port != ANY_PORT:
            yield PortClass(self.protocol, ANY_PORT)
        if self.protocol:
            yield PortClass(Protocol.ANY, ANY_PORT)


@dataclass(frozen=True)
class Rule:
    """A rule, and its place in the file."""

    text: str
    """The rule as the file has it, on one line."""
    effect: Effect
    host: Host
    protocol: Protocol
    ports: tuple[int, ...] | None
    """Without repetitions; None for every port, and for protocols without ports."""
    lineage: tuple[str, ...] = ()
    """Executables, by name or absolute path, that must all be in the chain of processes."""
    source: str = ""
    """The file or the option that has the rule."""
    line: int | None = None
    column: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing overrides it: a deny that names addresses."""
        return self.effect is Effect.DENY and not isinstance(self.host, (Name, SocketName))

    @property
    def classes(self) -> tuple[PortClass, ...]:
        """The port classes for which it has map entries: one for each port, or one for all of them."""
        return tuple(PortClass(self.protocol, port) for port in self.ports or (ANY_PORT,))

    def covers(self, wanted: PortClass) -> bool:
        """Return whether the rule is about the protocol and port `wanted` of its host."""
        return self.protocol.includes(wanted.protocol) and (self.ports is None or wanted.port in self.ports)

    @property
    def meaning(self) -> tuple[object, ...]:
        """The rule without its text and place: equal for rules of the same effect on the same attempts."""
        return self.effect, self.host, self.protocol, self.ports, self.lineage

    @property
    def place(self) -> str:
        """`file:line`; empty for a rule that is in no file."""
        return f"{self.source}:{self.line}" if self.line is not None else ""


class Lookups(NamedTuple):
    """The names that resolvers may be asked for."""

    are_refused: bool = False
    """Whether only names that a rule allows may be asked for."""
    search: tuple[str, ...] = ()
    """Domains that programs put behind a name to find it; in lower case, without the final dot."""


ANY_LOOKUP = Lookups()


@dataclass(frozen=True)
class Section:
    """Rules, and perhaps a mode, for the jobs that match its key."""

    key: Key
    mode: Mode | None = None
    rules: tuple[Rule, ...] = ()
    trusts_names: bool | None = None
    """Whether names that a job's author chooses count; None: the file's own `trust_names` applies."""
    refuses_lookups: bool = False
    """Whether its jobs may look up only names that rules allow, even if the file lets others look up all."""
    source: str = ""
    """The file that has the section."""
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True)
class Policy:
    """A valid policy file, or the rules of `--allowed-endpoints`, or both."""

    mode: Mode = Mode.AUDIT
    rules: tuple[Rule, ...] = ()
    sections: tuple[Section, ...] = ()
    resolvers: Rule | None = None
    """`resolvers: system` as a rule with its place, but without addresses; None where the file lacks it."""
    trusts_names: bool = False
    """Whether names that a job's author chooses count, for sections that don't say."""
    lookups: Lookups = ANY_LOOKUP

    @property
    def names_sockets(self) -> bool:
        """Whether some rule is for a Unix socket."""
        rules = (self.rules, *(section.rules for section in self.sections))
        return any(isinstance(rule.host, SocketName) for each in rules for rule in each)

    def held_to(self, sections: Iterable[Section], rules: Iterable[Rule]) -> JobPolicy:
        """Return the policy of a job of `sections`.

        It has the general rules and `rules`, each once, and the strictest mode and lookups of file and
        sections.
        """
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
    """The policy of one job."""

    mode: Mode = Mode.AUDIT
    rules: tuple[Rule, ...] = ()
    """The rules in the order of the file, those of sections last."""
    resolvers: Rule | None = None
    lookups: Lookups = ANY_LOOKUP

    def all_rules(self, resolvers: Iterable[Address] = ()) -> tuple[Rule, ...]:
        """Return its rules and the implied ones: loopback, and port 53 of `resolvers` if allowed."""
        return (*self.rules, *self._resolver_rules(resolvers), *LOOPBACK)

    def _resolver_rules(self, resolvers: Iterable[Address]) -> Iterator[Rule]:
        if self.resolvers is None:
            return
        for address in dict.fromkeys(map(plain_address, resolvers)):
            for protocol in (Protocol.UDP, Protocol.TCP):
                yield replace(self.resolvers, host=ip_network(address), protocol=protocol)


def plain_address(address: Address) -> Address:
    """Return IPv4 for an IPv4-mapped IPv6 address: to a policy, both are the same."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def resolvers_rule(source: str, line: int | None, column: int | None) -> Rule:
    """Make the rule for `resolvers: system`; `JobPolicy.all_rules` puts the machine's addresses in."""
    nowhere = IPv4Network((0, 32))
    return Rule(
        "resolvers: system",
        Effect.ALLOW,
        nowhere,
        Protocol.UDP,
        (DNS_PORT,),
        source=source,
        line=line,
        column=column,
    )


def job_names(pipeline: str | None, task: str | None) -> tuple[str, ...]:
    """Return the names that section patterns are matched with: `pipeline`, and `pipeline/task` if any."""
    of_all = pipeline or ""
    return (of_all,) if task is None else (of_all, f"{of_all}/{task}")


def strictest(policy: Policy) -> JobPolicy:
    """Return a policy at least as strict as any job's: the general rules, and the denies of all sections."""
    denied = (rule for section in policy.sections for rule in section.rules if rule.effect is Effect.DENY)
    return policy.held_to(policy.sections, denied)


def with_endpoints(policy: Policy | None, endpoints: Policy) -> Policy:
    """Return `policy` with the rules that `--allowed-endpoints` adds to it."""
    if policy is None:
        return endpoints
    known = {rule.meaning for rule in policy.rules}
    added = tuple(rule for rule in endpoints.rules if rule.meaning not in known)
    return replace(policy, rules=policy.rules + added, resolvers=policy.resolvers or endpoints.resolvers)


def _loopback(network: str) -> Rule:
    return Rule("loopback", Effect.ALLOW, ip_network(network), Protocol.ANY, None)


LOOPBACK = tuple(map(_loopback, ("127.0.0.0/8", "0.0.0.0/32", "::1/128", "::/128")))
"""The implied rules that allow the machine itself, which connecting to 0.0.0.0 or :: means, too."""
