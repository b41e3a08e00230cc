"""Change the policies of running jobs after the policy file was read again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from exporter.common.clock import boot_ns
from exporter.common.errors import CiEgressError
from exporter.jobs.model import Job
from exporter.kernel.grace_period import wait_for_programs
from exporter.kernel.maps.verdicts import Peer
from exporter.kernel.scopes import Named, Scopes
from exporter.policy.model import Effect, PortClass
from exporter.session.job_policy import Source

from .faults import told_of
from .held_scopes import HeldScopes
from .jobs_by_scope import WITHOUT_ROOM
from .shared_policies import PolicyWriter, SharedPolicy

if TYPE_CHECKING:
    from exporter.pipeline.job_table import JobTable
    from exporter.pipeline.names import Names, Resolver

_PAUSES = 10
"""How many times as long as a try the pause after it is: waiting for other processes may take seconds."""


class PolicyChange:
    """The change from one policy to the next. A scope that can't be held to the new one keeps its old one."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that a change has to do with
        self,
        held: HeldScopes,
        scopes: Scopes,
        fitting: PolicyWriter,
        jobs: JobTable,
        catch_up: Callable[[], object],
        warn: Callable[[str], object],
    ) -> None:
        """Change nothing yet; `catch_up` handles all records that wait, and `warn` gets a line for people.

        `jobs` has the names that each scope has looked up, and gets the terms of each new policy.
        """
        self._held, self._scopes, self._fitting = held, scopes, fitting
        self._jobs, self._catch_up, self._warn = jobs, catch_up, warn
        self._source: Source | None = None
        self.next: dict[int, SharedPolicy | None] = {}
        """The new policies that scopes aren't held to yet since the policy was read again, by scope.

        None for a policy that isn't written, for want of room.
        """
        self.obstacle = ""
        """Why the last scope that kept its old policy had to keep it."""
        self._again_s = 0.0
        """The earliest time for the next try, by the monotonic clock."""

    def begin(
        self, source: Source, plan: Mapping[int, SharedPolicy | None]
    ) -> Mapping[int, SharedPolicy | None]:
        """Begin to hold the scopes of `plan` to `source`; return the plan that this one replaces."""
        given_up = self.next
        self.next = {
            scope: written
            for scope, written in plan.items()
            # In `self.next`: a policy may be prepared for it, under which answers must grant no longer.
            if written is None or scope in self.next or written is not self._held.all[scope].written
        }
        self._source = source
        return given_up

    def is_time(self) -> bool:
        """Whether some scopes are still held to their old policies, and it is time to try again."""
        return bool(self.next) and time.monotonic() >= self._again_s

    def forget(self, given_up: Mapping[int, SharedPolicy | None]) -> None:
        """Drop grants under policies that were prepared for scopes, but never came into force."""
        for scope, written in given_up.items():
            if written not in (None, self._held.all[scope].written, self.next.get(scope)):
                self._scopes.drop_grants(scope, written.number)

    def go_on(self) -> None:
        """Try once more to hold the scopes of `next` to their new policies; note what is in the way.

        If the new policies don't all have room beside the old ones, some scopes follow after the others.
        """
        began_s = time.monotonic()
        try:
            while self._turn_some(self._fitting_now()):
                pass
        except (CiEgressError, OSError, MemoryError) as error:
            self.obstacle = told_of(error)
        now_s = time.monotonic()
        self._again_s = now_s + _PAUSES * (now_s - began_s)

    def _fitting_now(self) -> dict[int, SharedPolicy]:
        """Write as many policies of `next` as have room, and return all that are written.

        If none is written, jobs whose own part has no room get a smaller one: see PolicyWriter.
        """
        for fit in (self._fitting.own, self._fitting.for_job):
            for scope in [scope for scope, written in self.next.items() if written is None]:
                job = self._held.all[scope].job
                if job is not None and self._source is not None:
                    try:
                        self.next[scope] = fit(job, self._source, scope)
                    except CiEgressError as error:
                        self.obstacle = told_of(error)
            written = {scope: each for scope, each in self.next.items() if each is not None}
            if written:
                break
        return written

    def _turn_some(self, scopes: Mapping[int, SharedPolicy]) -> bool:
        """Hold `scopes` to their new policies; return whether that made room for others."""
        prepared = self._each(
            scopes, lambda scope, written: self._scopes.prepare(scope, written.number, written.compiled)
        )
        if not prepared:
            return False
        wait_for_programs()  # from here on, answers grant under both policies
        self._catch_up()
        before = {scope: self._held.all[scope].written for scope in prepared}
        lost = Counter[int]()

        def take_over(scope: int, written: SharedPolicy) -> None:
            lost[scope] = self._carry_over(scope, written)
            self._held.hold(scope, self._held.all[scope]._replace(written=written))
            del self.next[scope]
            if (terms := self._held.terms(scope)) is not None:
                self._jobs.change_terms(scope, terms)

        turned = self._each(prepared, take_over)
        if lost.total():
            told = f"{lost.total()} addresses lost their names"
            self._warn(f"{told}: until they are looked up again they may be denied")
        wait_for_programs()
        for scope, written in turned.items():
            if (old := before[scope]) and old is not written:
                self._scopes.drop_grants(scope, old.number)
        self.remove_unused()
        return bool(turned)

    def _each(
        self, scopes: Mapping[int, SharedPolicy], act: Callable[[int, SharedPolicy], object]
    ) -> dict[int, SharedPolicy]:
        """Call `act` for each scope; return the scopes for which it succeeded."""
        done = {}
        for scope, written in scopes.items():
            try:
                act(scope, written)
            except (OSError, MemoryError) as error:
                self.obstacle = told_of(error)
            except CiEgressError as error:
                self.obstacle = told_of(error)
                break  # somebody holds the lock of the modes: each of the others would wait for seconds
            else:
                done[scope] = written
        return done

    def plan(self, source: Source) -> dict[int, SharedPolicy | None]:
        """Write the policy that each scope will be held to; None for a job whose policy has no room now.

        If a policy that is for no job in particular can't be written, remove all new policies and raise.
        """
        try:
            return {
                scope: self._fitting.for_no_job(source, scope)
                if held.job is None
                else self._own(held.job, source, scope)
                for scope, held in self._held.all.items()
            }
        except (CiEgressError, OSError, MemoryError):
            self.remove_unused()
            raise

    def remove_unused(self) -> None:
        """Remove the policies that no scope is held to, or is to be held to."""
        held = (held.written for held in self._held.all.values() if held.written)
        following = (written for written in self.next.values() if written)
        self._fitting.keep_only({written.number for written in (*held, *following)})

    def _own(self, job: Job, source: Source, scope: int) -> SharedPolicy | None:
        try:
            return self._fitting.own(job, source, scope)
        except CiEgressError:
            return None

    def _carry_over(self, scope: int, after: SharedPolicy) -> int:
        before = self._held.all[scope].written
        if before is None or before is after:
            return 0
        numbers, rules = (before.number, after.number), after.compiled.named

        def is_allowed(resolver: Resolver) -> bool:
            return self._scopes.allows(after.number, Peer(*resolver))

        def may_answer(names: Names, resolver: Resolver) -> bool:
            """Whether the new policy trusts the resolver, by its address or by a name that led to it.

            The name counts only if it is from a resolver that the policy trusts by address: none vouches for
            itself.
            """
            if is_allowed(resolver):
                return True
            own = names.names_by(resolver.address, is_allowed, boot_ns())
            wanted = PortClass(resolver.protocol, resolver.port)
            return rules.decided(Effect.ALLOW, wanted, own, held=0) is not None

        def granting_to(of: int, peer: bytes) -> set[str]:
            names = self._jobs.names_in(of)
            return names.granting_to(peer, partial(may_answer, names))

        names = self._jobs.names_in(scope)
        lost = self._scopes.carry_over(scope, *numbers, rules, names.granting(partial(may_answer, names)))
        if scope == WITHOUT_ROOM:
            lost += self._scopes.carry_over_early(_named(before), _named(after), granting_to)
        return lost


def _named(written: SharedPolicy) -> Named:
    return Named(written.number, written.compiled.named)
