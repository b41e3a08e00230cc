"""Keys and values of the kernel's maps, but for the job's scope. compile.py tells what they mean."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NamedTuple

EXECUTABLES_MAX = 64
ALTERNATIVES_MAX = 16
"""Choices of one address entry, the first included."""
RULE_SETS_MAX = 128
STEPS_MAX = 64
"""Of one port entry."""
RULES_MAX = 1 << 20
FINAL = 1 << 31
"""Ranks from here on are of denies that no name overrides."""


class Verdict(IntEnum):
    """What an entry says."""

    NONE = 0
    """Nothing, as if it weren't there: it keeps a wider one from being found."""
    ALLOW = 1
    DENY = 2


class Portless(IntFlag):
    """What sockets without ports (raw, ping) may be made for where the policy is enforced."""

    NOTHING = 0
    ICMP = 1
    TCP = 2
    UDP = 4
    OTHER = 8
    ALL = 15


class AddressKey(NamedTuple):
    """Of the trie `policy`."""

    prefix_bits: int
    """Of `address` alone, 0 to 128; the key's own also counts scope, protocol and port."""
    protocol: int
    port: int
    address: bytes
    """16 bytes, IPv4 as ::ffff:a.b.c.d; zero behind the prefix."""


class Choice(NamedTuple):
    """What one rule says to an address, if it holds."""

    needed: int
    """Mask of executables, 64 bits."""
    verdict: Verdict
    rule: int
    """Its number, from 1; 0 for none."""
    rank: int
    """32 bits: the larger one decides."""
    following: int
    """The alternative to take when this one doesn't hold; 0 for none."""


class NameKey(NamedTuple):
    """Of the trie `names`."""

    prefix_bits: int
    """Of `reversed_name`, all of it."""
    reversed_name: bytes
    """In lower case, last byte first; then a NUL behind an exact name, a dot behind a wildcard's zone."""


class PortKey(NamedTuple):
    """Of the hash `rule_ports`."""

    protocol: int
    port: int
    step: int
    """From 0."""


class Step(NamedTuple):
    """What is said to the rule sets granted to an address, if it holds."""

    needed: int
    """Mask of executables, 64 bits."""
    allow: int
    """Mask of rule sets, 128 bits."""
    deny: int
    """The same; no bit is in both."""
    more: bool
    """Whether there is a next step."""
