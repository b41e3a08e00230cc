"""What steps looked up before their jobs were known, when the policy becomes another one.

The kernel's own part is another test's.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import Any, cast

import pytest

from exporter.common.clock import boot_ns
from exporter.events import wire
from exporter.events.facts import HOST
from exporter.kernel.maps.grants import FOR_GOOD, Grants
from exporter.kernel.maps.policies import halves
from exporter.kernel.maps.verdicts import MAPS as VERDICTS
from exporter.kernel.scopes import Named, Scopes
from exporter.policy.compile import compile_policy
from tests.unit.policy.files import rules

STRICTEST, JOB, OTHER = wire.SCOPE_WITHOUT_ROOM, 2, 3
STEP, ANOTHER = (wire.SCOPE_EARLY | number for number in (7, 8))
ALL = (1 << 32) - 1


def named(number: int, allow: str) -> Named:
    return Named(number, compile_policy(rules(allow=allow)).named)


BEFORE = named(1, "a.example\nb.example\nc.example:80\nd.example:22")
AFTER = named(2, "b.example\nc.example:80\na.example:8443\nnew.example:8080")
PEER, SECOND = (bytes(10) + b"\xff\xff\xc0\x00\x02" + bytes([last]) for last in (7, 8))
UNTIL_NS = boot_ns() + 77_000_000_000


class Table:
    """A map of the kernel's."""

    def __init__(self, entries: dict[bytes, bytes] | None = None, room: int = 100) -> None:
        self.entries, self.max_entries = entries or {}, room
        self.lookup, self.items = self.entries.get, self.entries.items

    def take(self, key: bytes) -> bytes | None:
        return self.entries.pop(key, None)

    def delete(self, key: bytes) -> bool:
        return self.take(key) is not None

    def insert(self, key: bytes, value: bytes) -> bool:
        if key in self.entries:
            return False
        self.update(key, value)
        return True

    def update(self, key: bytes, value: bytes) -> None:
        if key not in self.entries and len(self.entries) >= self.max_entries:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        self.entries[key] = value


class Kernel:
    """Its tables, as far as they are about grants."""

    def __init__(self, room: int = 100) -> None:
        self.granted, self.procs, self._counts = Table(room=room), Table(), Table()
        tables: Any = {"granted": self.granted, "grants_ended": self._counts, "grants_made": Table()}
        self.grants = Grants(tables)
        others: Any = {name: Table() for name in (*VERDICTS, "candidates", "late_resolvers")}
        others["procs"], none = self.procs, cast("Any", None)
        self.scopes = Scopes(others, none, self.grants, none, none, none, none)

    def enter(self, step: int, scope: int) -> None:
        """A process of it."""
        pid = len(self.procs.entries) + 1
        proc = wire.ProcValue(*[0] * len(wire.ProcValue._fields))._replace(early=step, scope=scope)
        self.procs.update(struct.pack("=I", pid), wire.PROC_VALUE.pack(*proc))

    def grant(
        self, scope: int, policy: Named, *names: str, peer: bytes = PEER, until_ns: int = UNTIL_NS
    ) -> None:
        value = wire.GRANTED_VALUE.pack(*halves(policy.rules.granted(names)), until_ns, 3)
        self.granted.update(wire.GRANTED_KEY.pack(scope, policy.number, peer), value)

    def sets(self, scope: int, policy: Named, peer: bytes = PEER) -> int | None:
        """None: nothing is granted."""
        value = self.granted.lookup(wire.GRANTED_KEY.pack(scope, policy.number, peer))
        grant = value and wire.GrantedValue.unpack(value)
        return grant.sets_high << 64 | grant.sets_low if grant else None

    @property
    def counted(self) -> dict[int, int]:
        """How many there are that the kernel didn't count, by scope."""
        ended = {struct.unpack("=I", key)[0]: value for key, value in self._counts.items()}
        return {scope: -struct.unpack("=q", value)[0] for scope, value in ended.items()}


def of_two_jobs() -> Kernel:
    """With a step of each."""
    kernel = Kernel()
    for step, scope in ((STEP, JOB), (ANOTHER, OTHER)):
        kernel.enter(step, scope)
    return kernel


def carry(kernel: Kernel, told: dict[int, dict[bytes, set[str]]]) -> int:
    """With what each scope was told of addresses."""
    return kernel.scopes.carry_over_early(BEFORE, AFTER, lambda of, peer: told.get(of, {}).get(peer, set()))


@pytest.mark.parametrize("scope", [HOST, JOB], ids=["undecided", "decided"])
def test_what_a_step_looked_up_early_outlasts_a_changed_policy_that_allows_it(scope: int) -> None:
    kernel = Kernel()
    kernel.enter(STEP, scope)
    kernel.grant(STEP, BEFORE, "b.example")
    assert carry(kernel, {scope: {PEER: {"b.example"}}}) == 0
    assert kernel.sets(STEP, AFTER) == AFTER.rules.granted(["b.example"]) != 0
    value = kernel.granted.lookup(wire.GRANTED_KEY.pack(STEP, AFTER.number, PEER)) or b""
    assert wire.GrantedValue.unpack(value)[2:4] == (UNTIL_NS, 3), "as long as it was"
    assert kernel.counted == {wire.SCOPE_EARLY: 1, ALL: 1}


def test_what_its_job_turned_out_to_be_later_may_still_be_told_as_the_hosts() -> None:
    kernel = Kernel()
    kernel.enter(STEP, JOB)
    kernel.grant(STEP, BEFORE, "b.example")
    assert carry(kernel, {HOST: {PEER: {"b.example"}}, JOB: {}}) == 0
    assert kernel.sets(STEP, AFTER) == AFTER.rules.granted(["b.example"])


def test_what_the_changed_policy_does_not_allow_is_not_lost_but_gone() -> None:
    kernel = Kernel()
    kernel.enter(STEP, JOB)
    kernel.grant(STEP, BEFORE, "d.example")
    assert carry(kernel, {JOB: {PEER: {"d.example"}}}) == 0
    assert kernel.sets(STEP, AFTER) is None


def test_of_names_at_an_address_only_those_count_that_the_step_was_granted() -> None:
    """Others led there, too: of a step of its own kind, and of another job."""
    kernel = of_two_jobs()
    kernel.grant(STEP, BEFORE, "c.example")
    told = {HOST: {PEER: {"c.example", "a.example", "new.example"}}, OTHER: {PEER: {"b.example"}}}
    assert carry(kernel, told) == 0
    assert kernel.sets(STEP, AFTER) == AFTER.rules.granted(["c.example"])
    assert kernel.sets(ANOTHER, AFTER) is None


def test_no_name_counts_by_which_another_job_alone_was_led_there() -> None:
    kernel = of_two_jobs()
    kernel.grant(STEP, BEFORE, "a.example")
    assert carry(kernel, {JOB: {}, OTHER: {PEER: {"b.example"}}}) == 1
    assert kernel.sets(STEP, AFTER) is None


def test_what_nobody_remembers_and_what_finds_no_room_is_lost_and_a_step_that_is_over_misses_nothing() -> (
    None
):
    kernel = Kernel(room=4)
    kernel.enter(STEP, JOB)
    kernel.grant(STEP, BEFORE, "b.example")
    kernel.grant(STEP, BEFORE, "c.example", peer=SECOND)
    kernel.grant(ANOTHER, BEFORE, "b.example")
    assert carry(kernel, {JOB: {SECOND: {"c.example"}}}) == 1
    assert [kernel.sets(step, AFTER) for step in (STEP, ANOTHER)] == [None, None]
    assert carry(kernel, {JOB: {peer: {"b.example", "c.example"} for peer in (PEER, SECOND)}}) == 1


def test_what_is_not_carried_over_goes_with_the_policy_before() -> None:
    kernel = Kernel()
    for scope in (STRICTEST, STEP, JOB):
        kernel.grant(scope, BEFORE, "b.example")
        kernel.grant(scope, AFTER, "b.example")
    kernel.grant(STRICTEST, BEFORE, "b.example", peer=SECOND, until_ns=FOR_GOOD)
    kernel.scopes.drop_grants(STRICTEST, BEFORE.number)
    assert [kernel.sets(scope, BEFORE) is None for scope in (STRICTEST, STEP, JOB)] == [True, True, False]
    assert None not in [kernel.sets(scope, AFTER) for scope in (STRICTEST, STEP, JOB)]
    assert kernel.counted == {STRICTEST: -1, wire.SCOPE_EARLY: -1, ALL: -2}
    kernel.scopes.drop_grants(JOB, BEFORE.number)
    assert kernel.sets(JOB, BEFORE) is None
    assert kernel.sets(STEP, AFTER) is not None
