"""The verdict of the policy in the kernel's maps on an act that nobody does.

The lookup is the same as in bpf/policy.bpf.c, on the same maps. So it needs neither the policy's file nor the
exporter that wrote the maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from exporter.common.net.addresses import plain_protocol
from exporter.events import wire
from exporter.kernel.bpf import U32, Map
from exporter.policy.entries import FINAL, EntryVerdict

from .modes import mode_entry

MAPS = ("modes", "policy", "alternatives", "granted", "rule_ports")

_KEY_BITS = 8 * (wire.POLICY_KEY.size - 4)


class Peer(NamedTuple):
    """The destination of an act."""

    address: bytes
    """16 bytes, network order; IPv4 as ::ffff:a.b.c.d."""
    port: int
    protocol: int
    """IANA number."""


class Process(NamedTuple):
    """The facts about the acting process that the lookup needs."""

    held: int
    """The mask of the executables in its chain."""
    early: int = 0
    """The number of the step that the process is part of; 0: of none."""


class PolicyAnswer(NamedTuple):
    """The answer of a policy, whatever its mode."""

    verdict: EntryVerdict
    rule: int
    """The number of the rule that decided; 0: none of the policy's rules did."""


class _Class(NamedTuple):
    port: int
    protocol: int


class Verdicts:
    """The policies of one instance."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        """`maps` has the maps named in MAPS, by name."""
        self._modes, self._policy = maps["modes"], maps["policy"]
        self._alternatives = maps["alternatives"]
        self._granted, self._ports = maps["granted"], maps["rule_ports"]

    def decide(self, scope: int, peer: Peer, process: Process) -> PolicyAnswer | None:
        """Return the answer of the policy of `scope` on an act of `process` with `peer`; None without one."""
        mode = mode_entry(self._modes, scope)
        if mode is None:
            return None
        classes = _classes(peer)
        best = self._best(mode.policy, peer.address, classes, process.held)
        if mode.has_names and (best is None or best.rank < FINAL):
            granted = wire.GrantedKey(scope, mode.policy, peer.address)
            named = self._by_names(granted, classes, process.held)
            if named is not None:
                return PolicyAnswer(named, wire.RULE_OF_NAMES)
            if process.early and self._is_allowed_early(peer.address, classes, process):
                return PolicyAnswer(EntryVerdict.ALLOW, wire.RULE_OF_NAMES)
        if best is None:
            return PolicyAnswer(EntryVerdict.DENY, 0)
        return PolicyAnswer(EntryVerdict(best.verdict), best.rule)

    def allows(self, policy: int, peer: Peer) -> bool:
        """Whether the policy numbered `policy` lets each process of a job act with `peer`, by its address."""
        best = self._best(policy, peer.address, _classes(peer), held=0)
        return best is not None and EntryVerdict(best.verdict) is EntryVerdict.ALLOW

    def _is_allowed_early(self, address: bytes, classes: tuple[_Class, ...], process: Process) -> bool:
        """Whether a name that the process's step looked up before its job was known allows the act."""
        strictest = mode_entry(self._modes, wire.SCOPE_WITHOUT_ROOM)
        if strictest is None:
            return False
        granted = wire.GrantedKey(process.early, strictest.policy, address)
        return self._by_names(granted, classes, process.held) is EntryVerdict.ALLOW

    def _best(
        self, policy: int, address: bytes, classes: tuple[_Class, ...], held: int
    ) -> wire.ChoiceValue | None:
        found = (self._holding(self._policy.lookup(_key(policy, each, address)), held) for each in classes)
        return max((choice for choice in found if choice), key=lambda choice: choice.rank, default=None)

    def _holding(self, value: bytes | None, held: int) -> wire.ChoiceValue | None:
        """Return the entry in `value`, or the first alternative behind it, that holds for `held`, or None."""
        for _ in range(wire.ALTERNATIVES_MAX):
            if value is None:
                return None
            choice = wire.ChoiceValue.unpack(value)
            if held & choice.needed == choice.needed:
                return choice if choice.rank else None
            value = self._alternatives.lookup(U32.pack(choice.following)) if choice.following else None
        return None

    def _sets(self, key: wire.GrantedKey) -> int:
        """Return the mask of the rule sets that names granted to an address."""
        value = self._granted.lookup(wire.GRANTED_KEY.pack(*key))
        if value is None:
            return 0
        granted = wire.GrantedValue.unpack(value)
        return granted.sets_high << 64 | granted.sets_low

    def _by_names(self, key: wire.GrantedKey, classes: tuple[_Class, ...], held: int) -> EntryVerdict | None:
        sets = self._sets(key)
        if not sets:
            return None
        denied = allowed = 0
        for step in self._steps(key.policy, classes):
            if held & step.needed == step.needed:
                allow, deny = step.allow_high << 64 | step.allow_low, step.deny_high << 64 | step.deny_low
                denied |= sets & deny
                allowed |= sets & allow
                sets &= ~(deny | allow)
        if denied:
            return EntryVerdict.DENY
        return EntryVerdict.ALLOW if allowed else None

    def _steps(self, policy: int, classes: tuple[_Class, ...]) -> list[wire.StepValue]:
        """Return the steps of the narrowest class that has any."""
        for each in classes:
            steps: list[wire.StepValue] = []
            while len(steps) < wire.STEPS_MAX and (not steps or steps[-1].more):
                value = self._ports.lookup(wire.PORT_KEY.pack(policy, *each, len(steps)))
                if value is None:
                    break
                steps.append(wire.StepValue.unpack(value))
            if steps:
                return steps
        return []


def _classes(peer: Peer) -> tuple[_Class, ...]:
    protocol = plain_protocol(peer.protocol)
    return _Class(peer.port, protocol), _Class(0, protocol), _Class(0, 0)


def _key(policy: int, of: _Class, address: bytes) -> bytes:
    return wire.POLICY_KEY.pack(_KEY_BITS, policy, of.port, of.protocol, address)
