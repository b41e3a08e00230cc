"""Decide by a policy about one act: slowly, and meant to be obviously right.

request = EgressRequest(ip_address("192.0.2.1"), protocol=6, port=443)
decision = decide(policy, request, names={"api.github.com"})
decision.verdict(policy.mode), decision.rule

The kernel decides by maps (compile.py); the tests compare its decisions with these. `ci-egress policy
explain` shows them.

1. A deny of addresses that matches is final, whatever name led there.
2. Otherwise, for each name granted to the address, the best of the rules that match by that name counts:
   exact name over wildcard, more labels over fewer; then a stated port over any port; then deny over allow.
   Where several names have one, deny wins.
3. Otherwise the best of the rules that match by address: longest prefix, then a stated port.
4. Otherwise the act is denied: the rule is `default`. A connect to a Unix socket, whose name counts as its
   address, is allowed instead.

Of rules that are alike in all of that, one is reported: a stated protocol before `any`, then file order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exporter.common.net.addresses import plain_protocol

from .model import (
    Address,
    Effect,
    JobPolicy,
    Mode,
    Name,
    PortClass,
    Protocol,
    Rule,
    SocketName,
    addresses_of,
    plain_address,
)


class EgressRequest(NamedTuple):
    """A connect or a send."""

    address: Address | None
    """None while it isn't known: then no rule for addresses matches. Of a Unix socket, its name's digest."""
    protocol: int
    """The kernel's number."""
    port: int = 0
    """0 for protocols without ports."""

    @property
    def plain(self) -> EgressRequest:
        """The request with IPv4 for IPv4-mapped addresses, icmp for ipv6-icmp, tcp for MPTCP."""
        address = None if self.address is None else plain_address(self.address)
        return EgressRequest(address, plain_protocol(self.protocol), self.port)


class LosingRule(NamedTuple):
    """A rule for the destination that didn't decide."""

    rule: Rule
    why_not: str


@dataclass(frozen=True)
class Decision:
    """A decision, and the rule that made it."""

    effect: Effect
    rule: Rule | None
    """None where no rule matched."""
    others: tuple[LosingRule, ...] = ()
    """The other rules that name the destination, in the order of the file."""

    def verdict(self, mode: Mode) -> str:
        """`egress.verdict`: allow, audit (would deny) or deny."""
        if self.effect is Effect.DENY and mode is Mode.AUDIT:
            return "audit"
        return self.effect.value


def decide(
    policy: JobPolicy,
    act: EgressRequest,
    *,
    names: Collection[str] = (),
    chain: Sequence[str] = (),
    resolvers: Iterable[Address] = (),
) -> Decision:
    """Return the decision of `policy` on `act`, with the rule that made it.

    `names` were asked for and led to the address (lower case, no final dot). `chain` holds the executables
    from the job's root to the process, names or paths. `resolvers` are the system's.
    """
    act = act.plain
    near = [rule for rule in policy.all_rules(resolvers) if is_for(rule, act, names)]
    unmet = [_unmet(rule, act, chain) for rule in near]
    winner = _winner([rule for rule, reason in zip(near, unmet, strict=True) if reason is None], names)
    others = tuple(
        LosingRule(rule, reason or _why_lost(rule, winner, names))
        for rule, reason in zip(near, unmet, strict=True)
        if rule is not winner
    )
    default = Effect.ALLOW if act.protocol == Protocol.UNIX else Effect.DENY
    return Decision(winner.effect if winner else default, winner, others)


def may_ask(policy: JobPolicy, name: str) -> bool:
    """Whether a resolver may be asked for `name` (in lower case, without the final dot).

    It may if a rule allows the name, or the name without one of the search domains at its end, and no deny of
    higher precedence takes that back for all processes that the rule is for.
    """
    if not policy.lookups.are_refused:
        return True
    meant = [name, *(name.removesuffix(f".{domain}") for domain in policy.lookups.search)]
    return any(_is_allowed_to_somebody(policy, each) for each in meant)


def _is_allowed_to_somebody(policy: JobPolicy, name: str) -> bool:
    matched = [rule for rule in policy.rules if _names(rule, name)]
    denying = [rule for rule in matched if rule.effect is Effect.DENY]
    return any(
        not any(_takes_back(each, rule, wanted) for each in denying)
        for rule in matched
        if rule.effect is Effect.ALLOW
        for wanted in rule.classes
    )


def _takes_back(denying: Rule, allowing: Rule, wanted: PortClass) -> bool:
    """Return whether `denying` goes before `allowing`, for each chain of processes that the latter is for."""
    is_first = denying.covers(wanted) and precedence(denying) > precedence(allowing)
    return is_first and set(denying.lineage) <= set(allowing.lineage)


def missing_executables(rule: Rule, chain: Collection[str]) -> list[str]:
    """Return the executables that `rule` needs and `chain` lacks; a name also matches a path's end."""
    present = {*chain, *(path.rpartition("/")[2] for path in chain)}
    return [executable for executable in rule.lineage if executable not in present]


def _winner(matched: list[Rule], names: Collection[str]) -> Rule | None:
    """Return the rule that decides, of those that match in all respects. Of equal ones it is the first."""
    final = [rule for rule in matched if rule.is_final]
    if final:
        return max(final, key=precedence)
    best = [
        max(by_name, key=precedence) for name in names if (by_name := [r for r in matched if _names(r, name)])
    ]
    if best:
        denying = [rule for rule in best if rule.effect is Effect.DENY]
        first_in_file = [rule for rule in matched if rule in (denying or best)]
        return max(first_in_file, key=precedence)
    return max(matched, key=precedence, default=None)


def precedence(rule: Rule) -> tuple[tuple[int, ...], bool, bool, bool]:
    """Return a key of which the largest wins, among rules for names and among rules for addresses."""
    host = rule.host
    specificity = host.specificity if isinstance(host, Name) else (addresses_of(host).prefixlen,)
    return specificity, rule.ports is not None, rule.effect is Effect.DENY, rule.protocol is not Protocol.ANY


def is_for(rule: Rule, act: EgressRequest, names: Collection[str]) -> bool:
    """Whether `rule` names the destination of `act`, whatever else the rule requires."""
    if isinstance(rule.host, Name):
        return any(_names(rule, name) for name in names)
    if isinstance(rule.host, SocketName) != (act.protocol == Protocol.UNIX):
        return False
    return act.address is not None and act.address in addresses_of(rule.host)


def _names(rule: Rule, name: str) -> bool:
    return isinstance(rule.host, Name) and rule.host.covers(name)


def _unmet(rule: Rule, act: EgressRequest, chain: Collection[str]) -> str | None:
    """Return why a rule for the destination doesn't match; None when it does."""
    if not rule.protocol.includes(act.protocol):
        return f"it is for {rule.protocol.name.lower()}"
    if rule.ports is not None and act.port not in rule.ports:
        return f"it is for port {', '.join(map(str, rule.ports))}"
    if missing := missing_executables(rule, chain):
        return f"the chain of processes lacks {' and '.join(missing)}"
    return None


def _why_lost(rule: Rule, winner: Rule | None, names: Collection[str]) -> str:
    """Return why `rule`, which matches, isn't the one that decides."""
    if winner is None:
        raise AssertionError("of rules that match, one decides")
    if winner.is_final and not rule.is_final:
        return "a deny of addresses is final"
    if isinstance(winner.host, Name) and not isinstance(rule.host, Name):
        return "a name is more specific than an address"
    specific, stated, denies, _ = precedence(rule)
    by_specific, by_stated, by_denies, _ = precedence(winner)
    is_for_another = isinstance(rule.host, Name) and not any(
        _names(rule, name) and _names(winner, name) for name in names
    )
    if by_denies and not denies and is_for_another:
        return "another name of this address is denied"
    if by_specific != specific:
        return "a more specific destination wins"
    if by_stated != stated:
        return "a stated port wins over any port"
    return "deny wins over allow" if by_denies != denies else "it says the same"
