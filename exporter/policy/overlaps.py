"""Find rules without effect: duplicates, and rules never reached because another one always wins.

General rules are compared with each other, rules of a section also with the general ones. Rules of two
sections aren't compared: they meet only in a job that matches both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, ip_network

from exporter.common.documents.problems import Problems, shown

from .model import ANY_PORT, Effect, Host, Name, Network, Policy, PortClass, Protocol, Rule, SocketName

_COMPARED_MAX = 64
"""The most rules for one host and port class that are compared; more of them don't compile anyway."""
_EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def check(policy: Policy, problems: Problems) -> None:
    """Report the rules of `policy` that have no effect."""
    general = _Rules(policy.rules)
    for rule in policy.rules:
        _check_rule(rule, (general,), problems)
    for section in policy.sections:
        own = _Rules(section.rules)
        for rule in section.rules:
            _check_rule(rule, (general, own), problems)


class _Rules:
    """Rules, to be found by host and port class."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._about: defaultdict[tuple[Host, PortClass], list[Rule]] = defaultdict(list)
        lengths = set()
        for rule in rules:
            for port_class in rule.classes:
                known = self._about[rule.host, port_class]
                if len(known) < _COMPARED_MAX:
                    known.append(rule)
            if rule.is_final and not isinstance(rule.host, (Name, SocketName)):
                lengths.add((rule.host.version, rule.host.prefixlen))
        self._denied_lengths = sorted(lengths)

    def about(self, host: Host, wanted: PortClass) -> Iterator[Rule]:
        """Yield the rules for exactly `host` that are about all of `wanted`."""
        for at in wanted.with_wider():
            yield from self._about.get((host, at), ())

    def denying(self, network: Network, wanted: PortClass) -> Iterator[Rule]:
        """Yield the rules that deny all of `wanted` to `network`, or to a network around it."""
        for version, length in self._denied_lengths:
            if version == network.version and length <= network.prefixlen:
                around = network.supernet(new_prefix=length)
                yield from (rule for rule in self.about(around, wanted) if rule.is_final)


def _check_rule(rule: Rule, groups: tuple[_Rules, ...], problems: Problems) -> None:
    """Report one problem at most, for the first port for which another rule makes `rule` useless."""
    for wanted in rule.classes:
        for group in groups:
            found = _in_the_way(rule, wanted, group)
            if found is not None:
                problems.add(rule, *found)
                return


def _in_the_way(rule: Rule, wanted: PortClass, group: _Rules) -> tuple[str, str] | None:
    """Return what is wrong with `rule` and how to fix it. None: an attempt to `wanted` can reach it."""
    for other in group.about(rule.host, wanted):
        if other is not rule and _is_looser(other, rule) and (told := _same_host(rule, other, wanted)):
            return told
    if rule.effect is Effect.ALLOW:
        denying = _denying(rule, wanted, group)
        if denying is not None:
            what = f"unreachable: {_about(rule, wanted)} is denied in line {denying.line}"
            return what, "remove one of them; a deny of addresses is final"
    return None


def _same_host(rule: Rule, other: Rule, wanted: PortClass) -> tuple[str, str] | None:
    """Return what is wrong with `rule` beside `other`, a rule for the same host, and how to fix it.

    `other` is about all of `wanted`, and holds wherever `rule` does.
    """
    if rule.effect is other.effect:
        return _repeated(rule, other, wanted) if wanted in other.classes else None
    has_ties = isinstance(rule.host, (Name, SocketName))
    if rule.effect is Effect.DENY or not has_ties or not _is_tie(other, wanted):
        return None
    what = f"unreachable: {_about(rule, wanted)} is denied in line {other.line}"
    return what, "remove one of them; of two that name the same, deny wins"


def _repeated(rule: Rule, other: Rule, wanted: PortClass) -> tuple[str, str] | None:
    if set(other.lineage) == set(rule.lineage):
        if (rule.line or 0, rule.column or 0) < (other.line or 0, other.column or 0):
            return None
        return f"duplicate: {_about(rule, wanted)} stands in line {other.line}", "remove one of them"
    what = f"unreachable: {_about(rule, wanted)} stands in line {other.line} with a wider lineage"
    return what, f"remove this one, or narrow line {other.line}"


def _denying(rule: Rule, wanted: PortClass, group: _Rules) -> Rule | None:
    """Find a deny of addresses that covers all that `rule` allows; for a name, these are all addresses."""
    if isinstance(rule.host, SocketName):
        return None
    found = None
    for network in _EVERYWHERE if isinstance(rule.host, Name) else (rule.host,):
        covering = (other for other in group.denying(network, wanted) if _is_looser(other, rule))
        found = next(covering, None)
        if found is None:
            return None
    return found


def _is_tie(other: Rule, wanted: PortClass) -> bool:
    """Return whether both rules state a port, or neither does: a stated port wins over any port."""
    return (other.ports is None) == (wanted.port == ANY_PORT)


def _is_looser(other: Rule, rule: Rule) -> bool:
    """Return whether `other` holds wherever `rule` does, by their lineages."""
    return set(other.lineage) <= set(rule.lineage)


def _about(rule: Rule, wanted: PortClass) -> str:
    """Write the part of `rule` for `wanted`, as `github.com:443`; all of it where it has no other port."""
    if rule.ports is None or len(rule.ports) == 1:
        return shown(rule.text)
    host = f"[{rule.host}]" if not isinstance(rule.host, (Name, IPv4Network)) else str(rule.host)
    scheme = "" if wanted.protocol == Protocol.TCP else f"{Protocol(wanted.protocol).name.lower()}://"
    return shown(f"{scheme}{host}:{wanted.port}")
