"""Grants: addresses that names led a scope to, so that the rules for these names hold for them.

The kernel adds grants as DNS answers come. This module adds those for names that need no lookup, carries
grants over to a new policy, and removes grants that are over.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from exporter.common.clock import Rhythm, boot_ns
from exporter.events import wire
from exporter.kernel.bpf import U32, Map

from .policies import halves
from .removed_counts import RemovedCounts, counted_under

FOR_GOOD = (1 << 64) - 1
IN_USE_NS = 600_000_000_000
"""The time that a grant is kept after its last use, even if its time to live is over."""

_INTERVAL_S = 10.0


class EarlyGrant(NamedTuple):
    """An address that a step looked up before its job was known."""

    step: int
    """The number of the step."""
    address: bytes
    mask: int
    """The rule sets that the step was granted for the address, a bit each."""


class _Turn(NamedTuple):
    at_ns: int
    window: int


class Grants:
    """The grants of an instance, for all scopes and policies."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        """`maps` has the instance's maps, by their names in bpf/."""
        self._granted, self._made = maps["granted"], maps["grants_made"]
        self._ended = RemovedCounts(maps["grants_ended"])
        self._turns = deque[_Turn]()
        self._rhythm = Rhythm(_INTERVAL_S)

    def seed(self, scope: int, number: int, masks: Iterable[tuple[bytes, int]]) -> None:
        """Grant `masks` to `scope` under the policy `number`, without a time limit.

        `masks` has addresses (16 bytes), each with the mask of its rule sets.
        """
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
        """Grant under the policy `after` all that it would have granted if it had been in force before.

        `masks` has, by address (16 bytes), the rule sets of `after`, and when the last answer came (in ns
        since boot). An address that was granted under `before` is granted for at least as long as
        there. Returns how many addresses are lost: they were granted and aren't in `masks`, or have no room.
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

    def carry_over_early(self, before: int, after: int, mask_of: Callable[[EarlyGrant], int | None]) -> int:
        """Grant under `after` addresses that steps looked up under `before` while their jobs weren't known.

        `mask_of` returns the rule sets that an address is granted under `after`; None when they aren't known.
        Addresses that `before` didn't grant have to be looked up again, since nobody remembers which step
        asked. Returns how many addresses are lost, as `carry_over` does.
        """
        made, lost = Counter[int](), 0
        for key, value in self._looked_up(before):
            if key.scope & wire.SCOPE_EARLY:
                mask = mask_of(EarlyGrant(key.scope, key.address, _mask(value)))
                lost += not self._carry(key._replace(policy=after), mask, value, made)
        self._count_made(made)
        return lost

    def turn(self, window: int) -> None:
        """Remove grants that are over, every few seconds; `window` is the current one. Cheap in between."""
        if self._rhythm.is_time():
            self.expire(boot_ns(), window)

    def expire(self, now_ns: int, window: int) -> int:
        """Remove the grants that are over at `now_ns` (since boot), and return how many.

        A grant is over when its time to live is, and nobody has used it for IN_USE_NS.
        """
        self._turns.append(_Turn(now_ns, window))
        while len(self._turns) > 1 and self._turns[1].at_ns <= now_ns - IN_USE_NS:
            self._turns.popleft()
        is_long_enough = self._turns[0].at_ns <= now_ns - IN_USE_NS
        unused_before = self._turns[0].window if is_long_enough else 0
        ended = Counter[int]()
        for key, value in list(self._granted.items()):
            if _is_over(value, now_ns, unused_before) and self._end(key, now_ns):
                ended.update(counted_under(wire.GrantedKey.unpack(key).scope))
        return self._ended.add(ended)

    def forget(self, *scopes: int, number: int | None = None) -> None:
        """Remove the grants of scopes whose jobs are over; with `number`, only those under that policy.

        Grants of steps whose jobs aren't known are removed with the scope whose policy they are held to.
        """
        over = set(scopes)

        def is_one(key: wire.GrantedKey) -> bool:
            return number in (None, key.policy) and not over.isdisjoint({key.scope, _governing(key.scope)})

        self._take_if(is_one)
        for scope in scopes if number is None else ():
            self._made.delete(U32.pack(scope))
            self._ended.forget(scope)

    def keep_only(self, numbers: Collection[int]) -> int:
        """Remove the grants under all policies but `numbers`; return how many of them came from answers."""
        return self._take_if(lambda key: key.policy not in numbers)

    def _take_if(self, is_one: Callable[[wire.GrantedKey], bool]) -> int:
        """Remove the grants for whose keys `is_one` is true; return how many of them came from answers."""
        ended = Counter[int]()
        for packed, _ in list(self._granted.items()):
            key = wire.GrantedKey.unpack(packed)
            value = self._granted.take(packed) if is_one(key) else None
            if value is not None and not _is_for_good(value):
                ended.update(counted_under(key.scope))
        return self._ended.add(ended)

    def _looked_up(self, number: int) -> Iterator[tuple[wire.GrantedKey, bytes]]:
        """Iterate over the grants that answers made under the policy `number`, in all scopes."""
        for packed, value in list(self._granted.items()):
            key = wire.GrantedKey.unpack(packed)
            if key.policy == number and not _is_for_good(value):
                yield key, value

    def _carry(self, key: wire.GrantedKey, mask: int | None, like: bytes, made: Counter[int]) -> bool:
        """Grant `mask` for as long as the grant `like`; returns whether nothing is lost.

        A grant is lost when the mask isn't known (None) or there is no room for it.
        """
        return mask is not None and (not mask or self._add(key, mask, like, made))

    def _add(self, key: wire.GrantedKey, mask: int, like: bytes, made: Counter[int]) -> bool:
        """Grant `mask` for as long as the grant `like`; returns whether there was room.

        `made` counts the grants that are new.
        """
        packed = wire.GRANTED_KEY.pack(*key)
        _, _, until_ns, used = wire.GrantedValue.unpack(like)[:4]
        try:
            if self._granted.insert(packed, wire.GRANTED_VALUE.pack(*halves(mask), until_ns, used)):
                made.update(counted_under(key.scope))
                return True
            there = self._granted.lookup(packed)
            if there is not None:  # made by an answer that came meanwhile
                low, high, until_now_ns, used = wire.GrantedValue.unpack(there)[:4]
                more = (low | halves(mask)[0], high | halves(mask)[1], max(until_ns, until_now_ns), used)
                self._granted.update(packed, wire.GRANTED_VALUE.pack(*more))
        except OSError:  # no room: the new policy takes over all the same
            return False
        return True

    def _end(self, key: bytes, now_ns: int) -> bool:
        """Remove a grant, unless an answer that came meanwhile has renewed it; return whether it is gone."""
        value = self._granted.take(key)
        if value is None or _is_over(value, now_ns, unused_before=FOR_GOOD):
            return value is not None
        self._granted.insert(key, value)
        return False

    def _count_made(self, made: Counter[int]) -> None:
        """Subtract grants that user space made from the count of grants that ended.

        The kernel didn't count them as made, and they are counted as ended later, like all others. Its count
        of grants made can't be corrected, since the kernel may write it at the same time.
        """
        self._ended.add(Counter({scope: -number for scope, number in made.items()}))


def _governing(scope: int) -> int:
    """Return the scope whose policy holds for `scope`: one for all steps whose job isn't known."""
    return wire.SCOPE_WITHOUT_ROOM if scope & wire.SCOPE_EARLY else scope


def _is_over(value: bytes, now_ns: int, unused_before: int) -> bool:
    grant = wire.GrantedValue.unpack(value)
    return grant.until_ns < now_ns and grant.used < unused_before


def _mask(value: bytes) -> int:
    grant = wire.GrantedValue.unpack(value)
    return grant.sets_high << 64 | grant.sets_low


def _is_for_good(value: bytes) -> bool:
    return wire.GrantedValue.unpack(value).until_ns == FOR_GOOD
