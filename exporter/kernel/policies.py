"""Policies as the kernel's programs ask them: what exporter/policy/compile.py made, written into maps."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Mapping
from itertools import count

from exporter import wire
from exporter.errors import KernelError
from exporter.kernel.bpf import Map
from exporter.kernel.registry import Registry
from exporter.policy.compile import Compiled
from exporter.policy.entries import AddressKey, Choice

_NUMBER = struct.Struct("=I")
_HEAD_BITS = 64
"""Of a key, before the address."""
_LOW = (1 << 64) - 1
_FULL = (errno.E2BIG, errno.ENOSPC)


class Policies:
    """The rules of every scope."""

    def __init__(self, maps: Mapping[str, Map], registry: Registry) -> None:
        """None is written yet; `registry` knows what somebody chose for a scope."""
        self._registry = registry
        self._entries, self._alternatives, self._modes = maps["policy"], maps["alternatives"], maps["modes"]
        self._ports = maps["rule_ports"]
        self._next = 1
        """The first alternative that no policy has taken; 0 stands for none."""

    def write(self, scope: int, policy: Compiled) -> None:
        """Give `scope` a policy; it counts once all of it is there. Raises KernelError when it can't be."""
        base = self._next - 1
        behind = policy.alternatives[1:]
        if base + len(behind) >= self._alternatives.max_entries:
            raise _no_room(len(policy.rules))
        self._next += len(behind)
        numbers = (_NUMBER.pack(number) for number in count(base + 1))
        choices = (_choice(choice, base) for choice in behind)
        try:
            self._alternatives.update_all(zip(numbers, choices, strict=False))
            self._entries.update_all(_entries(scope, policy, base))
            self._ports.update_all(_steps(scope, policy))
        except OSError as error:
            if error.errno in _FULL:
                raise _no_room(len(policy.rules)) from None
            what = f"cannot write the policy into the kernel: {error.strerror}"
            raise KernelError(what, hint="please report this, with the kernel's version") from None
        with self._registry.changing():
            is_enforcing = self._registry.wants_enforcing(scope, policy.mode)
            self._modes.update(_NUMBER.pack(scope), wire.MODE_VALUE.pack(is_enforcing, bool(policy.names)))


def _entries(scope: int, policy: Compiled, base: int) -> Iterator[tuple[bytes, bytes]]:
    for key, choice in policy.addresses.items():
        yield policy_key(key, scope), _choice(choice, base)


def _steps(scope: int, policy: Compiled) -> Iterator[tuple[bytes, bytes]]:
    for key, (needed, allow, deny, more) in policy.ports.items():
        masks = (allow & _LOW, allow >> 64, deny & _LOW, deny >> 64)
        step = wire.STEP_VALUE.pack(needed, *masks, more)
        yield wire.PORT_KEY.pack(scope, key.port, key.protocol, key.step), step


def policy_key(key: AddressKey, scope: int) -> bytes:
    """As the map `policy` has it."""
    bits = _HEAD_BITS + key.prefix_bits
    return wire.POLICY_KEY.pack(bits, scope, key.port, key.protocol, key.address)


def _choice(choice: Choice, base: int) -> bytes:
    following = base + choice.following if choice.following else 0
    return wire.CHOICE_VALUE.pack(choice.needed, choice.rule, choice.rank, following, choice.verdict)


def _no_room(rules: int) -> KernelError:
    what = f"a policy of {rules:,} rules is more than the kernel's tables hold"
    return KernelError(what, hint="name networks instead of addresses, and ranges of ports by `*`")
