"""Compile rules for addresses to entries of a trie, which compile.py explains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network
from typing import NamedTuple

from exporter.common.documents.problems import Problems

from .entries import ALTERNATIVES_MAX, FINAL, RULES_MAX, AddressKey, Choice, EntryVerdict
from .model import Effect, Name, Network, PortClass, Protocol, Rule, addresses_of

_BITS = 128
_MAPPED = 0xFFFF << 32
_MAPPED_BITS = 96


class _Prefix(NamedTuple):
    """A network's prefix; prefixes sort by length."""

    bits: int
    """The length of the prefix, of 128 bits."""
    address: int
    """The address, zero behind the prefix; IPv4 as ::ffff:a.b.c.d."""


_Chain = tuple[Choice, ...]
_Table = dict[_Prefix, _Chain]
"""The choices at each prefix, of one port class and one version of IP."""


def compile_addresses(
    rules: Sequence[Rule], needed: Sequence[int], problems: Problems
) -> tuple[dict[AddressKey, Choice], _Chain]:
    """Return the trie's entries, and the alternatives that they lead to; too many of these are a problem."""
    tables: defaultdict[tuple[PortClass, int], _Table] = defaultdict(dict)
    for number, (rule, mask) in enumerate(zip(rules, needed, strict=True), 1):
        if not isinstance(rule.host, Name):
            network = addresses_of(rule.host)
            prefix = _prefix(network)
            choice = _choice(rule, number, mask, prefix)
            for port_class in rule.classes:
                table = tables[port_class, network.version]
                table[prefix] = (*table.get(prefix, ()), choice)
    alternatives = [Choice(0, EntryVerdict.NONE, 0, 0, 0)]
    entries: dict[AddressKey, Choice] = {}
    for (port_class, _), table in tables.items():
        for prefix, chain in _with_wider(table):
            if len(chain) > ALTERNATIVES_MAX:
                fix = f"an address can have {ALTERNATIVES_MAX} rules that differ by lineage: merge some"
                problems.add(rules[chain[0].rule - 1], f"{len(chain)} rules for one address", fix)
            entries[_key(port_class, prefix)] = _linked(chain, alternatives)
    for port_class in {port_class for port_class, _ in tables}:
        _keep_apart(tables[port_class, 6], _key(port_class, _Prefix(_MAPPED_BITS, _MAPPED)), entries)
    return entries, tuple(alternatives)


def _prefix(network: Network) -> _Prefix:
    if isinstance(network, IPv4Network):
        return _Prefix(network.prefixlen + _MAPPED_BITS, int(network.network_address) | _MAPPED)
    return _Prefix(network.prefixlen, int(network.network_address))


def _key(port_class: PortClass, prefix: _Prefix) -> AddressKey:
    return AddressKey(prefix.bits, *port_class, prefix.address.to_bytes(16, "big"))


def _choice(rule: Rule, number: int, needed: int, prefix: _Prefix) -> Choice:
    verdict = EntryVerdict.DENY if rule.effect is Effect.DENY else EntryVerdict.ALLOW
    return Choice(needed, verdict, number, _rank(rule, number, prefix), 0)


def _rank(rule: Rule, number: int, prefix: _Prefix) -> int:
    """Return a number that is larger for the rule that wins in decide.py; never 0, which means none."""
    is_first = rule.effect is Effect.DENY if rule.protocol is Protocol.UNIX else rule.ports is not None
    parts = prefix.bits << 2 | is_first << 1 | bool(rule.protocol)
    return (FINAL if rule.is_final else 0) | parts << 20 | (RULES_MAX - number)


def _with_wider(table: _Table) -> Iterable[tuple[_Prefix, _Chain]]:
    """Give each prefix all choices that can decide there: its own and those of the prefixes around it.

    Prefixes are visited from short to long, so that the nearest prefix around one already has the choices of
    the wider prefixes.
    """
    done: _Table = {}
    lengths: list[int] = []
    for prefix in sorted(table):
        around = next(
            (
                done[wider]
                for bits in reversed(lengths)
                if (wider := _Prefix(bits, _cut(prefix.address, bits))) in done and wider != prefix
            ),
            (),
        )
        done[prefix] = _reachable(table[prefix] + around)
        if not lengths or lengths[-1] != prefix.bits:
            lengths.append(prefix.bits)
    return done.items()


def _cut(address: int, bits: int) -> int:
    return address >> (_BITS - bits) << (_BITS - bits)


def _reachable(choices: _Chain) -> _Chain:
    """Sort choices by rank, without those that never decide: an earlier one holds whenever they do."""
    if len(choices) == 1:
        return choices
    kept: list[Choice] = []
    for choice in sorted(choices, key=lambda choice: -choice.rank):
        if not any(choice.needed & earlier.needed == earlier.needed for earlier in kept):
            kept.append(choice)
    return tuple(kept)


def _linked(chain: _Chain, alternatives: list[Choice]) -> Choice:
    """Return the first choice; its `following` leads to the others, which are added to `alternatives`."""
    following = 0
    for choice in reversed(chain[1:]):
        alternatives.append(choice._replace(following=following))
        following = len(alternatives) - 1
    return chain[0]._replace(following=following)


def _keep_apart(table: _Table, all_ipv4: AddressKey, entries: dict[AddressKey, Choice]) -> None:
    """Keep IPv6 rules for a network around ::ffff:0:0/96 from matching IPv4, which the trie holds there."""
    if any(prefix.bits <= _MAPPED_BITS and prefix.address == _cut(_MAPPED, prefix.bits) for prefix in table):
        entries.setdefault(all_ipv4, Choice(0, EntryVerdict.NONE, 0, 0, 0))
