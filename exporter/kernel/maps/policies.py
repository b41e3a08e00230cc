"""Policies in the kernel's maps: the output of exporter/policy/compile.py, as the programs look it up."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import count
from typing import NamedTuple

from exporter.common.errors import KernelError
from exporter.events import wire
from exporter.kernel.bpf import U32, Map
from exporter.policy.compile import Compiled
from exporter.policy.entries import AddressKey, Choice, NameKey

from .executables import Executables
from .free_entries import FreeEntries
from .modes import mode_entry, put_mode
from .named_sockets import NamedSockets
from .registry import Registry

_HEAD_BITS, _NAME_HEAD_BITS = 64, 32
"""The bits before the address in a key of `policy`, and before the name in a key of `names`."""
_LOW = (1 << 64) - 1
_FULL = (errno.E2BIG, errno.ENOSPC)


_UNFINISHED = bytes(32)
"""The fingerprint of a policy whose entries aren't all there."""


class WrittenPolicy(NamedTuple):
    """A policy in the kernel."""

    number: int
    policy: Compiled
    """The policy as it was written: with the bits that its executables have in this instance."""
    base: int
    """The number that is added to the indexes of its alternatives in the map."""


class _Known(NamedTuple):
    """A policy that an exporter that ended wrote."""

    fingerprint: bytes
    base: int
    alternatives: int


class Policies:
    """The rules of every policy, and which scopes are held to which policy."""

    def __init__(self, maps: Mapping[str, Map], registry: Registry) -> None:
        """Read which policies an exporter that ended wrote; `registry` knows the modes that users chose."""
        self._registry, self._all = registry, maps["policies"]
        self._entries, self._alternatives, self._modes = maps["policy"], maps["alternatives"], maps["modes"]
        self._names, self._ports = maps["names"], maps["rule_ports"]
        self._refused = maps["refused_to_the_end"]
        self.executables = Executables(maps["exe_bits"], maps["exe_names"])
        self._sockets = NamedSockets(maps["named_sockets"])
        self._known = {U32.unpack(key)[0]: _known(value) for key, value in self._all.items()}
        self._used = sum(1 for _ in self._entries.items()) if self._known else 0
        """The number of entries for addresses that all policies have."""
        self._numbers = count(max(self._known, default=0) + 1)
        self._forget_further(maps["further_names"])
        self._rooms = FreeEntries(1, self._alternatives.max_entries)
        """The free places for alternatives; place 0 means that there is no alternative."""
        for known in self._known.values():
            self._rooms.claim(known.base + 1, known.alternatives)
        self._written: dict[int, WrittenPolicy] = {}

    def write(self, policy: Compiled, scope: int | None = None, *, leaving: int = 0) -> WrittenPolicy:
        """Write the entries of `policy`. Raises KernelError when they have no room.

        If an exporter that ended held `scope` to the same policy, the entries and the number stay. Else
        there must be room for `leaving` further entries for addresses.
        """
        policy = self._with_executables(policy)
        fingerprint = _fingerprint(policy)
        if scope is not None and self._known:
            mode = mode_entry(self._modes, scope)
            for same in (mode.policy, mode.next_policy) if mode else ():
                if same in self._known and self._known[same].fingerprint == fingerprint:
                    self._sockets.name(same, policy.rules)
                    self._written[same] = written = WrittenPolicy(same, policy, self._known.pop(same).base)
                    return written
        if self._used + len(policy.addresses) + leaving > self._entries.max_entries:
            raise _no_room(len(policy.rules))
        number, behind = next(self._numbers), policy.alternatives[1:]
        self._sockets.name(number, policy.rules)
        first = self._rooms.take(len(behind))
        if first is None:
            self._sockets.forget(number)
            raise _no_room(len(policy.rules))
        base = first - 1
        self._written[number] = written = WrittenPolicy(number, policy, base)
        self._used += len(policy.addresses)
        key, rooms = U32.pack(number), (base, len(behind))
        places = (U32.pack(place) for place in count(first))
        choices = (_choice(choice, base) for choice in behind)
        try:
            self._all.update(key, wire.POLICY_VALUE.pack(_UNFINISHED, *rooms))
            self._alternatives.update_all(zip(places, choices, strict=False))
            self._entries.update_all(_entries(number, policy, base))
            self._names.update_all(_names(number, policy))
            self._ports.update_all(_steps(number, policy))
            self._all.update(key, wire.POLICY_VALUE.pack(fingerprint, *rooms))
        except OSError as error:
            self.remove(number)
            if error.errno in _FULL:
                raise _no_room(len(policy.rules)) from None
            what = f"cannot write the policy into the kernel: {error.strerror}"
            raise KernelError(what, hint="please report this, with the kernel's version") from None
        return written

    def will_enforce(self, scope: int, policy: Compiled) -> bool:
        """Whether `hold` enforces `policy`, unless somebody chooses another mode meanwhile."""
        return self._registry.wants_enforcing(scope, policy.mode)

    def hold(self, scope: int, number: int, policy: Compiled) -> None:
        """Hold `scope` to `policy`, written as `number`, from now on.

        Its mode is the one that somebody chose for the scope, else the policy's: a choice by `ci-egress
        enforce` takes precedence over the file.
        """
        with self._registry.changing():
            is_enforcing = self._registry.wants_enforcing(scope, policy.mode)
            entry = wire.ModeValue(
                number, 0, is_enforcing, bool(policy.names), policy.portless, policy.refuses_lookups
            )
            put_mode(self._modes, scope, entry)

    def prepare(self, scope: int, number: int, policy: Compiled) -> None:
        """Make the kernel grant to `scope` under `policy`, too (written as `number`), until it takes over."""
        with self._registry.changing():
            mode = mode_entry(self._modes, scope)
            if mode is not None:
                has_names = mode.has_names or bool(policy.names)
                after = mode._replace(next_policy=number, has_names=int(has_names))
                put_mode(self._modes, scope, after)

    def release(self, scope: int) -> None:
        """Hold `scope` to no policy any more."""
        mode = mode_entry(self._modes, scope)
        if mode is not None and mode.is_enforcing and mode.refuses_lookups:
            self._refused.update(
                U32.pack(scope), bytes(4)
            )  # before: TCP may have questions left that nobody judged
        self._modes.delete(U32.pack(scope))

    def remove(self, number: int) -> None:
        """Remove the policy written as `number`: no scope is held to it any more."""
        _, policy, base = self._written.pop(number)
        self._sockets.forget(number)
        rooms = (base, len(policy.alternatives) - 1)
        entries = [key for key, _ in _entries(number, policy, base)]
        names = [key for key, _ in _names(number, policy)]
        self._remove(number, rooms, entries, names, [key for key, _ in _steps(number, policy)])

    def look_for_sockets(self) -> None:
        """Find the files of the Unix sockets that policies name again. Raises OSError."""
        if not self._known:  # the sockets of an earlier exporter's policies stay as long as these do
            self._sockets.look_again()

    @property
    def numbers(self) -> Collection[int]:
        """The numbers of the policies that this exporter wrote, or found written by an earlier one."""
        return self._written.keys()

    def remove_unknown(self) -> None:
        """Remove policies of an exporter that ended, unless this one took them over."""
        if not self._known:
            return
        entries = _by_number(self._entries, lambda key: wire.PolicyKey.unpack(key).policy)
        names = _by_number(self._names, _policy_of_name)
        steps = _by_number(self._ports, lambda key: wire.PortKey.unpack(key).policy)
        while self._known:
            number, known = self._known.popitem()
            keys = (found.get(number, []) for found in (entries, names, steps))
            self._remove(number, (known.base, known.alternatives), *keys)

    def _forget_further(self, further: Map) -> None:
        """Remove names that CNAMEs led to under removed policies: a new policy may get the same number."""
        for number, keys in _by_number(further, _policy_of_name).items():
            if number not in self._known:
                for key in keys:
                    further.delete(key)

    def is_held(self, scope: int, number: int) -> bool:
        """Whether `scope` is held to the policy written as `number`."""
        mode = mode_entry(self._modes, scope)
        return mode is not None and mode.policy == number

    def _remove(
        self,
        number: int,
        rooms: tuple[int, int],
        entries: list[bytes],
        names: list[bytes],
        steps: list[bytes],
    ) -> None:
        key = U32.pack(number)
        self._all.update(key, wire.POLICY_VALUE.pack(_UNFINISHED, *rooms))
        for table, keys in ((self._entries, entries), (self._names, names), (self._ports, steps)):
            for each in keys:
                table.delete(each)
        self._used -= len(entries)
        self._rooms.give(rooms[0] + 1, rooms[1])
        self._all.delete(key)

    def _with_executables(self, policy: Compiled) -> Compiled:
        try:
            return self.executables.renumbered(policy)
        except OSError as error:
            what = f"cannot write the executables of `lineage` into the kernel: {error.strerror}"
            raise KernelError(what, hint="name fewer executables") from None


def _known(value: bytes) -> _Known:
    return _Known._make(wire.PolicyValue.unpack(value))


def _fingerprint(policy: Compiled) -> bytes:
    """Hash everything that is written for a policy, except its mode."""
    digest = hashlib.sha256(f"{policy.portless:d} {policy.refuses_lookups:d}".encode())
    for choice in policy.alternatives[1:]:
        digest.update(_choice(choice, 0))
    for key, value in (*_entries(0, policy, 0), *_names(0, policy), *_steps(0, policy)):
        digest.update(key + value)
    return digest.digest()


def _policy_of_name(key: bytes) -> int:
    return wire.NameKey.unpack(key).policy


def _by_number(table: Map, number_of: Callable[[bytes], int]) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {}
    for key, _ in table.items():
        found.setdefault(number_of(key), []).append(key)
    return found


def _entries(number: int, policy: Compiled, base: int) -> Iterator[tuple[bytes, bytes]]:
    for key, choice in policy.addresses.items():
        yield policy_key(key, number), _choice(choice, base)


def _names(number: int, policy: Compiled) -> Iterator[tuple[bytes, bytes]]:
    for key in policy.names | policy.questions:
        value = policy.names.get(key, wire.NAMED_WITHOUT_RULES)
        if policy.questions.get(key):
            value |= wire.NAMED_MAY_BE_ASKED
        yield name_key(key, number), U32.pack(value)


def _steps(number: int, policy: Compiled) -> Iterator[tuple[bytes, bytes]]:
    for key, (needed, allow, deny, more) in policy.ports.items():
        masks = (*halves(allow), *halves(deny))
        step = wire.STEP_VALUE.pack(needed, *masks, more)
        yield wire.PORT_KEY.pack(number, key.port, key.protocol, key.step), step


def halves(mask: int) -> tuple[int, int]:
    """Return the low and the high 64 bits of a mask of rule sets."""
    return mask & _LOW, mask >> 64


def policy_key(key: AddressKey, number: int) -> bytes:
    """Encode a key of the map `policy`, for the policy written as `number`."""
    bits = _HEAD_BITS + key.prefix_bits
    return wire.POLICY_KEY.pack(bits, number, key.port, key.protocol, key.address)


def name_key(key: NameKey, number: int) -> bytes:
    """Encode a key of the map `names`, for the policy written as `number`."""
    return wire.NAME_KEY.pack(_NAME_HEAD_BITS + key.prefix_bits, number, key.reversed_name)


def _choice(choice: Choice, base: int) -> bytes:
    following = base + choice.following if choice.following else 0
    return wire.CHOICE_VALUE.pack(choice.needed, choice.rule, choice.rank, following, choice.verdict)


def _no_room(rules: int) -> KernelError:
    what = f"a policy of {rules:,} rules is more than the kernel's tables hold"
    return KernelError(what, hint="name networks instead of addresses, and ranges of ports by `*`")
