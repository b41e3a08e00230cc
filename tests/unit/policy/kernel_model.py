"""The lookup in compile.py's docstring, line by line, on plain data: what the kernel has to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import NamedTuple

from exporter.common.net.addresses import UNIX
from exporter.policy.compile import Compiled
from exporter.policy.decide import EgressRequest
from exporter.policy.entries import FINAL, AddressKey, Choice, EntryVerdict, NameKey, PortKey
from exporter.policy.model import Address, Effect, PortClass, Protocol, Rule, plain_address

_NOTHING = Choice(0, EntryVerdict.NONE, 0, 0, 0)
_ICMPV6, _ICMP, _MPTCP, _TCP = 58, 1, 262, 6


class Told(NamedTuple):
    """What an event of the kernel would carry."""

    verdict: EntryVerdict
    rule: int
    """0 for `default`, and where names decided."""
    is_by_name: bool


class Asked(NamedTuple):
    """How often the maps were asked: the promise is 3, 1, 3."""

    addresses: int
    granted: int
    ports: int


@dataclass
class Kernel:
    """The maps of one job."""

    compiled: Compiled
    granted: dict[bytes, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, name: str, address: Address) -> None:
        """A resolver's answer to a question for `name` arrives."""
        self.asked.append("names")
        rule_set = longest_name(self.compiled.names, name)
        if rule_set is not None:
            at = packed(address)
            self.granted[at] = self.granted.get(at, 0) | 1 << rule_set

    def may_ask(self, name: str) -> bool:
        """Whether a question for `name` leaves, where lookups are refused."""
        return bool(longest_name(self.compiled.questions, name))

    def decide(self, act: EgressRequest, held: int) -> Told:
        """A connect or send of a process with the mask `held`."""
        assert act.address is not None
        at = packed(act.address)
        if act.protocol == UNIX:
            return self._connect_to_socket(at, held)
        protocol = {_ICMPV6: _ICMP, _MPTCP: _TCP}.get(act.protocol, act.protocol)
        classes = (PortClass(protocol, act.port), PortClass(protocol, 0), PortClass(0, 0))
        best = _NOTHING
        for wanted in classes:
            self.asked.append("addresses")
            choice = self._holding(longest_address(self.compiled.addresses, wanted, at), held)
            if choice.rank > best.rank:
                best = choice
        if best.rank < FINAL:
            self.asked.append("granted")
            by_name = self._by_name(self.granted.get(at, 0), classes, held)
            if by_name is not None:
                return Told(by_name, 0, is_by_name=True)
        return Told(best.verdict if best.rank else EntryVerdict.DENY, best.rule, is_by_name=False)

    def _connect_to_socket(self, digest: bytes, held: int) -> Told:
        self.asked.append("addresses")
        wanted = PortClass(Protocol.UNIX, 0)
        choice = self._holding(longest_address(self.compiled.addresses, wanted, digest), held)
        verdict = EntryVerdict.DENY if choice.verdict is EntryVerdict.DENY else EntryVerdict.ALLOW
        return Told(verdict, choice.rule, is_by_name=False)

    def _holding(self, choice: Choice, held: int) -> Choice:
        while held & choice.needed != choice.needed:
            if choice.following == 0:
                return _NOTHING
            choice = self.compiled.alternatives[choice.following]
        return choice

    def _by_name(self, sets: int, classes: tuple[PortClass, ...], held: int) -> EntryVerdict | None:
        if sets == 0:
            return None
        denied = allowed = 0
        for wanted in classes:
            self.asked.append("ports")
            if PortKey(*wanted, 0) not in self.compiled.ports:
                continue
            number, more = 0, True
            while more:
                needed, allow, deny, more = self.compiled.ports[PortKey(*wanted, number)]
                number += 1
                if held & needed == needed:
                    denied |= sets & deny
                    allowed |= sets & allow
                    sets &= ~(deny | allow)
            break
        if denied:
            return EntryVerdict.DENY
        return EntryVerdict.ALLOW if allowed else None

    def rule(self, told: Told, act: EgressRequest, names: Collection[str], held: int) -> Rule | None:
        """What user space makes of it."""
        if not told.is_by_name:
            return self.compiled.rule(told.rule)
        effect = Effect.ALLOW if told.verdict is EntryVerdict.ALLOW else Effect.DENY
        plain = act.plain
        wanted = PortClass(plain.protocol, plain.port)
        return self.compiled.rule(self.compiled.named.decided(effect, wanted, names, held) or 0)


def packed(address: Address) -> bytes:
    """16 bytes, as the kernel's key has them."""
    address = plain_address(address)
    return bytes(10) + b"\xff\xff" + address.packed if isinstance(address, IPv4Address) else address.packed


def longest_address(entries: Mapping[AddressKey, Choice], wanted: PortClass, address: bytes) -> Choice:
    """What the trie finds: of all entries that match, the longest."""
    matching = [
        (key.prefix_bits, choice)
        for key, choice in entries.items()
        if (key.protocol, key.port) == wanted and agree(key.address, address, key.prefix_bits)
    ]
    return max(matching, key=lambda match: match[0], default=(0, _NOTHING))[1]


def longest_name(entries: Mapping[NameKey, int], name: str) -> int | None:
    """The same of the trie of names."""
    asked = name.encode()[::-1] + b"\0"
    matching = [
        (key.prefix_bits, number)
        for key, number in entries.items()
        if agree(key.reversed_name, asked, key.prefix_bits)
    ]
    return max(matching, default=(0, None), key=lambda match: match[0])[1]


def agree(one: bytes, other: bytes, bits: int) -> bool:
    """Whether the first so many bits are the same."""
    size = max(len(one), len(other), (bits + 7) // 8)
    shift = 8 * size - bits
    padded = (int.from_bytes(each.ljust(size, b"\0"), "big") >> shift for each in (one, other))
    return next(padded) == next(padded)


def held_mask(compiled: Compiled, chain: Collection[str]) -> int:
    """The mask of a process, as exec after exec adds to it: a file has its name's bit and its path's."""
    names = {*chain, *(path.rpartition("/")[2] for path in chain)}
    return sum(1 << bit for executable, bit in compiled.executables.items() if executable in names)
