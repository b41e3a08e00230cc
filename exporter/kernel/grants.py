"""What names granted to a job's scope: the kernel grants as answers come; here grants are seeded and end."""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from exporter import wire
from exporter.clock import boot_ns
from exporter.kernel.bpf import Map
from exporter.kernel.policies import halves
from exporter.kernel.queries import counted_as, governing

FOR_GOOD = (1 << 64) - 1
IN_USE_NS = 600_000_000_000
"""How long after its last use a grant is kept, whatever its time to live."""

_INTERVAL_NS = 10_000_000_000
_SCOPE = struct.Struct("=I")
_NUMBER = struct.Struct("=Q")
_ALL_SCOPES = (1 << 32) - 1


class Early(NamedTuple):
    """What a step looked up before its job was known."""

    step: int
    """Its number."""
    address: bytes
    mask: int
    """Of the rule sets that it has."""


class _Turn(NamedTuple):
    at_ns: int
    window: int


class Grants:
    """The addresses that names led the scopes to."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        """Of `maps`, by their names in bpf/."""
        self._granted, self._ended = maps["granted"], maps["grants_ended"]
        self._made = maps["grants_made"]
        self._turns = deque[_Turn]()
        self._next_ns = 0

    def seed(self, scope: int, number: int, masks: Iterable[tuple[bytes, int]]) -> None:
        """Grant for good, under the policy `number`: to each address (16 bytes) a mask of rule sets."""
        self._granted.update_all(
            (wire.GRANTED_KEY.pack(scope, number, peer), wire.GRANTED_VALUE.pack(*halves(mask), FOR_GOOD, 0))
            for peer, mask in masks
        )

    def carry_over(
        self,
        scope: int,
        before: int,
        after: int,
        masks: Mapping[bytes, tuple[int, int]],
    ) -> int:
        """Grant under the policy `after`, too, what was granted under `before`, or would have been.

        `masks` are by address (16 bytes), with when the last answer gave it (since boot). What was granted
        stays so as long as it was. Returns how many addresses were and have no mask, or found no room.
        """
        made, lost = Counter[int](), set[bytes]()
        for peer, (mask, at_ns) in masks.items():
            if mask and at_ns + IN_USE_NS > boot_ns():
                like = wire.GRANTED_VALUE.pack(0, 0, at_ns + IN_USE_NS, 0)
                if not self._add(wire.GrantedKey(scope, after, peer), mask, like, made):
                    lost.add(peer)
        for key, value in self._looked_up(before):
            if key.scope == scope:
                found = masks.get(key.address)
                if not self._carry(key._replace(policy=after), found and found[0], value, made):
                    lost.add(key.address)
        self._count_made(made)
        return len(lost)

    def carry_over_early(self, before: int, after: int, mask_of: Callable[[Early], int | None]) -> int:
        """The same of what steps looked up before their jobs were known, each under its own number.

        `mask_of` says what each is granted under `after`; None: that isn't known. What `before` didn't grant
        has to be looked up again: nobody remembers which step asked.
        """
        made, lost = Counter[int](), 0
        for key, value in self._looked_up(before):
            if key.scope & wire.SCOPE_EARLY:
                mask = mask_of(Early(key.scope, key.address, _mask(value)))
                lost += not self._carry(key._replace(policy=after), mask, value, made)
        self._count_made(made)
        return lost

    def turn(self, window: int) -> None:
        """End what is over, every few seconds; `window` is the current one. Cheap at any time in between."""
        now_ns = boot_ns()
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + _INTERVAL_NS
            self.expire(now_ns, window)

    def expire(self, now_ns: int, window: int) -> int:
        """End what may be at `now_ns` (since boot) and hasn't been used for IN_USE_NS; returns how many."""
        self._turns.append(_Turn(now_ns, window))
        while len(self._turns) > 1 and self._turns[1].at_ns <= now_ns - IN_USE_NS:
            self._turns.popleft()
        is_long_enough = self._turns[0].at_ns <= now_ns - IN_USE_NS
        unused_before = self._turns[0].window if is_long_enough else 0
        ended = Counter[int]()
        for key, value in list(self._granted.items()):
            if _is_over(value, now_ns, unused_before) and self._end(key, now_ns):
                scope = wire.GrantedKey._make(wire.GRANTED_KEY.unpack(key)).scope
                ended.update((counted_as(scope), _ALL_SCOPES))
        self._count(ended)
        return ended[_ALL_SCOPES]

    def forget(self, scope: int, number: int | None = None) -> None:
        """Keep nothing of a scope whose job is over; with `number`, nothing of that policy in it.

        What steps looked up goes with the scope that they are held as.
        """
        ended = Counter[int]()
        for key, _ in list(self._granted.items()):
            found = wire.GrantedKey._make(wire.GRANTED_KEY.unpack(key))
            if scope in {found.scope, governing(found.scope)} and number in (None, found.policy):
                value = self._granted.take(key)
                if value is not None and not _is_for_good(value):
                    ended.update((counted_as(found.scope), _ALL_SCOPES))
        self._count(ended)
        if number is None:
            self._made.delete(_SCOPE.pack(scope))
            self._ended.delete(_SCOPE.pack(scope))

    def keep_only(self, numbers: Collection[int]) -> int:
        """Keep nothing of policies but these; returns to how many addresses names had led under others."""
        ended = Counter[int]()
        for packed, _ in list(self._granted.items()):
            key = wire.GrantedKey._make(wire.GRANTED_KEY.unpack(packed))
            if key.policy not in numbers:
                value = self._granted.take(packed)
                if value is not None and not _is_for_good(value):
                    ended.update((counted_as(key.scope), _ALL_SCOPES))
        self._count(ended)
        return ended[_ALL_SCOPES]

    def _looked_up(self, number: int) -> Iterator[tuple[wire.GrantedKey, bytes]]:
        """What answers granted under the policy `number`, to anybody."""
        for packed, value in list(self._granted.items()):
            key = wire.GrantedKey._make(wire.GRANTED_KEY.unpack(packed))
            if key.policy == number and not _is_for_good(value):
                yield key, value

    def _carry(self, key: wire.GrantedKey, mask: int | None, like: bytes, made: Counter[int]) -> bool:
        """Grant that, too; returns whether nothing is lost: the mask is known, and found room."""
        return mask is not None and (not mask or self._add(key, mask, like, made))

    def _add(self, key: wire.GrantedKey, mask: int, like: bytes, made: Counter[int]) -> bool:
        """Grant as long as `like`; returns whether there was room, and counts in `made` what is new."""
        packed = wire.GRANTED_KEY.pack(*key)
        _, _, until_ns, used = wire.GrantedValue._make(wire.GRANTED_VALUE.unpack(like))[:4]
        try:
            if self._granted.insert(packed, wire.GRANTED_VALUE.pack(*halves(mask), until_ns, used)):
                made.update((counted_as(key.scope), _ALL_SCOPES))
                return True
            there = self._granted.lookup(packed)
            if there is not None:  # by an answer that came meanwhile
                low, high, until_now_ns, used = wire.GrantedValue._make(wire.GRANTED_VALUE.unpack(there))[:4]
                more = (low | halves(mask)[0], high | halves(mask)[1], max(until_ns, until_now_ns), used)
                self._granted.update(packed, wire.GRANTED_VALUE.pack(*more))
        except OSError:  # nobody stays with what was allowed before because of that
            return False
        return True

    def _end(self, key: bytes, now_ns: int) -> bool:
        """Remove a grant, unless an answer that came meanwhile has renewed it."""
        value = self._granted.take(key)
        if value is None or _is_over(value, now_ns, unused_before=FOR_GOOD):
            return value is not None
        self._granted.insert(key, value)
        return False

    def _count_made(self, made: Counter[int]) -> None:
        """What the kernel didn't count as made ends all the same: it is taken off where only one writes."""
        self._count(Counter({scope: -number for scope, number in made.items()}))

    def _count(self, ended: Counter[int]) -> None:
        for scope, number in ended.items():
            before = self._ended.lookup(_SCOPE.pack(scope))
            total = number + (_NUMBER.unpack(before)[0] if before else 0)
            self._ended.update(_SCOPE.pack(scope), _NUMBER.pack(total & FOR_GOOD))


def _is_over(value: bytes, now_ns: int, unused_before: int) -> bool:
    grant = wire.GrantedValue._make(wire.GRANTED_VALUE.unpack(value))
    return grant.until_ns < now_ns and grant.used < unused_before


def _mask(value: bytes) -> int:
    grant = wire.GrantedValue._make(wire.GRANTED_VALUE.unpack(value))
    return grant.sets_high << 64 | grant.sets_low


def _is_for_good(value: bytes) -> bool:
    return wire.GrantedValue._make(wire.GRANTED_VALUE.unpack(value)).until_ns == FOR_GOOD
