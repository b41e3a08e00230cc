"""Keys and values of the kernel's maps, without the job's scope. compile.py explains their meaning."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NamedTuple

from exporter.events import wire

EXECUTABLES_MAX = 64
ALTERNATIVES_MAX = wire.ALTERNATIVES_MAX
"""The most choices of one address entry, the first included."""
RULE_SETS_MAX = 128
STEPS_MAX = wire.STEPS_MAX
"""The most steps of one port entry."""
RULES_MAX = 1 << 20
ENTRIES_ROOM = 1 << 18
"""The most entries for addresses, and for names, in the kernel's tables (bpf/maps.h)."""
FINAL = wire.FINAL
"""Ranks from this one on are those of denies that no name overrides."""


class EntryVerdict(IntEnum):
    """The verdict of an entry."""

    NONE = wire.VERDICT_NONE
    """No verdict, as if there were no entry: it keeps a wider entry from being found."""
    ALLOW = wire.VERDICT_ALLOW
    DENY = wire.VERDICT_DENY


class Portless(IntFlag):
    """The protocols of the sockets without ports (raw, ping) that may be made where a policy is enforced."""

    NOTHING = 0
    ICMP = wire.PORTLESS_ICMP
    TCP = wire.PORTLESS_TCP
    UDP = wire.PORTLESS_UDP
    OTHER = wire.PORTLESS_OTHER
    ALL = 15


class AddressKey(NamedTuple):
    """A key of the trie `policy`."""

    prefix_bits: int
    """The length of `address` alone, 0 to 128; the map's own also counts scope, protocol and port."""
    protocol: int
    port: int
    address: bytes
    """16 bytes, IPv4 as ::ffff:a.b.c.d; zero behind the prefix."""


class Choice(NamedTuple):
    """One rule's verdict on an address, if it holds: if the executables that it needs are in the chain."""

    needed: int
    """Mask of the executables, 64 bits."""
    verdict: EntryVerdict
    rule: int
    """The rule's number, from 1; 0 for none."""
    rank: int
    """32 bits: of two choices, the one with the larger rank decides."""
    following: int
    """The number of the alternative to take when this one doesn't hold; 0 for none."""


class NameKey(NamedTuple):
    """A key of the trie `names`."""

    prefix_bits: int
    """The length of `reversed_name`, all of it."""
    reversed_name: bytes
    """In lower case, last byte first; then a NUL behind an exact name, a dot behind a wildcard's zone."""


class PortKey(NamedTuple):
    """A key of the hash `rule_ports`."""

    protocol: int
    port: int
    step: int
    """The step's number, from 0."""


class Step(NamedTuple):
    """The verdicts of a step on the rule sets granted to an address, if the executables are in the chain."""

    needed: int
    """Mask of the executables, 64 bits."""
    allow: int
    """Mask of rule sets, 128 bits."""
    deny: int
    """Mask of rule sets, 128 bits; no bit is in both masks."""
    more: bool
    """Whether there is a next step."""
