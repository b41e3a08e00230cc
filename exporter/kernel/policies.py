"""Policies as the kernel's programs ask them: what exporter/policy/compile.py made, written into maps."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Mapping
from itertools import count
from typing import NamedTuple

from exporter import wire
from exporter.errors import KernelError
from exporter.kernel.bpf import Map
from exporter.kernel.executables import Executables
from exporter.kernel.registry import Registry
from exporter.kernel.rooms import Rooms
from exporter.policy.compile import Compiled
from exporter.policy.entries import AddressKey, Choice, NameKey

_NUMBER = struct.Struct("=I")
_HEAD_BITS, _NAME_HEAD_BITS = 64, 32
"""Of a key, before the address, and before the name."""
_LOW = (1 << 64) - 1
_FULL = (errno.E2BIG, errno.ENOSPC)


class Written(NamedTuple):
    """A policy in the kernel."""

    number: int
    policy: Compiled
    """As it was written: with the bits that its executables have in this instance."""
    base: int
    """Of its alternatives."""


class Policies:
    """The rules of every policy, and which scopes are held to which."""

    def __init__(self, maps: Mapping[str, Map], registry: Registry) -> None:
        """None is written yet; `registry` knows what somebody chose for a scope."""
        self._registry = registry
        self._entries, self._alternatives, self._modes = maps["policy"], maps["alternatives"], maps["modes"]
        self._names, self._ports = maps["names"], maps["rule_ports"]
        self.executables = Executables(maps["exe_bits"])
        self._numbers = count(1)
        self._rooms = Rooms(1, self._alternatives.max_entries)
        """For alternatives; 0 stands for none."""
        self._written: dict[int, Written] = {}

    def write(self, policy: Compiled) -> Written:
        """Write the entries of `policy`. Raises KernelError when they have no room."""
        policy = self._with_executables(policy)
        number, behind = next(self._numbers), policy.alternatives[1:]
        first = self._rooms.take(len(behind))
        if first is None:
            raise _no_room(len(policy.rules))
        base = first - 1
        self._written[number] = written = Written(number, policy, base)
        places = (_NUMBER.pack(place) for place in count(first))
        choices = (_choice(choice, base) for choice in behind)
        try:
            self._alternatives.update_all(zip(places, choices, strict=False))
            self._entries.update_all(_entries(number, policy, base))
            self._names.update_all(_names(number, policy))
            self._ports.update_all(_steps(number, policy))
        except OSError as error:
            self.remove(number)
            if error.errno in _FULL:
                raise _no_room(len(policy.rules)) from None
            what = f"cannot write the policy into the kernel: {error.strerror}"
            raise KernelError(what, hint="please report this, with the kernel's version") from None
        return written

    def hold(self, scope: int, number: int, policy: Compiled) -> None:
        """Hold what `scope` does against `policy`, written as `number`, from now on.

        In its mode, or in the one that somebody chose for the scope: who turned enforcement on or off
        meanwhile is heeded, whatever the file says.
        """
        with self._registry.changing():
            is_enforcing = self._registry.wants_enforcing(scope, policy.mode)
            value = wire.MODE_VALUE.pack(number, 0, is_enforcing, bool(policy.names), policy.portless)
            self._modes.update(_NUMBER.pack(scope), value)

    def prepare(self, scope: int, number: int, policy: Compiled) -> None:
        """Have grants to `scope` made for `policy`, too, written as `number`, until it is held to that."""
        with self._registry.changing():
            value = self._modes.lookup(_NUMBER.pack(scope))
            if value is not None:
                mode = wire.ModeValue._make(wire.MODE_VALUE.unpack(value))
                has_names = mode.has_names or bool(policy.names)
                after = mode._replace(next_policy=number, has_names=int(has_names))
                self._modes.update(_NUMBER.pack(scope), wire.MODE_VALUE.pack(*after))

    def release(self, scope: int) -> None:
        """Hold `scope` to nothing any more."""
        self._modes.delete(_NUMBER.pack(scope))

    def remove(self, number: int) -> None:
        """Remove what was written as `number`: nothing goes by it any more."""
        _, policy, base = self._written.pop(number)
        for key, _ in _entries(number, policy, base):
            self._entries.delete(key)
        for key, _ in _names(number, policy):
            self._names.delete(key)
        for key, _ in _steps(number, policy):
            self._ports.delete(key)
        self._rooms.give(base + 1, len(policy.alternatives) - 1)

    def _with_executables(self, policy: Compiled) -> Compiled:
        try:
            return self.executables.renumbered(policy)
        except OSError as error:
            what = f"cannot write the executables of `lineage` into the kernel: {error.strerror}"
            raise KernelError(what, hint="name fewer executables") from None


def _entries(number: int, policy: Compiled, base: int) -> Iterator[tuple[bytes, bytes]]:
    for key, choice in policy.addresses.items():
        yield policy_key(key, number), _choice(choice, base)


def _names(number: int, policy: Compiled) -> Iterator[tuple[bytes, bytes]]:
    for key, rule_set in policy.names.items():
        yield name_key(key, number), _NUMBER.pack(rule_set)


def _steps(number: int, policy: Compiled) -> Iterator[tuple[bytes, bytes]]:
    for key, (needed, allow, deny, more) in policy.ports.items():
        masks = (*halves(allow), *halves(deny))
        step = wire.STEP_VALUE.pack(needed, *masks, more)
        yield wire.PORT_KEY.pack(number, key.port, key.protocol, key.step), step


def halves(mask: int) -> tuple[int, int]:
    """The low and the high 64 bits of a mask of rule sets."""
    return mask & _LOW, mask >> 64


def policy_key(key: AddressKey, number: int) -> bytes:
    """As the map `policy` has it, of the policy written as `number`."""
    bits = _HEAD_BITS + key.prefix_bits
    return wire.POLICY_KEY.pack(bits, number, key.port, key.protocol, key.address)


def name_key(key: NameKey, number: int) -> bytes:
    """As the map `names` has it, of the policy written as `number`."""
    return wire.NAME_KEY.pack(_NAME_HEAD_BITS + key.prefix_bits, number, key.reversed_name)


def _choice(choice: Choice, base: int) -> bytes:
    following = base + choice.following if choice.following else 0
    return wire.CHOICE_VALUE.pack(choice.needed, choice.rule, choice.rank, following, choice.verdict)


def _no_room(rules: int) -> KernelError:
    what = f"a policy of {rules:,} rules is more than the kernel's tables hold"
    return KernelError(what, hint="name networks instead of addresses, and ranges of ports by `*`")
