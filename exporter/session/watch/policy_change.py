"""Change the policies of running jobs after the policy file was read again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from exporter.common.clock import boot_ns
from exporter.common.errors import CiEgressError
from exporter.jobs.model import Job
from exporter.kernel.grace_period import wait_for_programs
from exporter.kernel.maps.registry import ResumableJob
from exporter.kernel.maps.verdicts import Peer
from exporter.kernel.scopes import Named, Scopes
from exporter.pipeline.ruling import Terms
from exporter.policy.model import Effect, PortClass
from exporter.session.job_policy import Source

from .faults import told_of
from .jobs_by_scope import WITHOUT_ROOM
from .shared_policies import PolicyWriter, SharedPolicy

if TYPE_CHECKING:
    from exporter.pipeline.names import Names, Resolver

OVERFLOW = WITHOUT_ROOM
"""The scope of jobs that find no room; it is held to a policy at least as strict as every job's.

Processes that may be of a job are held to the same policy, until their job is known.
"""
_PAUSES = 10
"""The pause after a try, in lengths of that try: one that waits for other processes may take seconds."""


class HeldScope(NamedTuple):
    """The policy that a scope is held to, and its job."""

    job: Job | None
    """None for jobs that found no room, and for containers of no job."""
    written: SharedPolicy | None
    """None without a policy."""
    standing: ResumableJob | None = None


class Holder(Protocol):
    """A part that holds scopes to policies."""

    held: dict[int, HeldScope]
    """The policy and the job of each scope."""

    def hold(self, scope: int, held: HeldScope) -> None:
        """Hold `scope` to another policy from now on."""

    def terms(self, scope: int) -> Terms | None:
        """Return the terms of `scope`, with the mode that is in force; None without a policy."""

    def for_no_job(self, source: Source, scope: int) -> SharedPolicy:
        """Write the part of `source` for a scope that is no job's."""

    def remove_unused(self) -> None:
        """Remove the policies that no scope is held to, or is to be held to."""


class PolicyChange:
    """The change from one policy to the next; a scope that can't be given the next keeps the one before."""

    def __init__(
        self, holder: Holder, scopes: Scopes, fitting: PolicyWriter, warn: Callable[[str], object]
    ) -> None:
        """Change nothing yet; `warn` gets a line for people."""
        self._holder, self._scopes, self._fitting = holder, scopes, fitting
        self._warn = warn
        self._source: Source | None = None
        self.next: dict[int, SharedPolicy | None] = {}
        """The new policies of scopes that aren't held to them yet, since the policy was read again.

        None for a policy that isn't written, for want of room.
        """
        self._turn_over: Callable[[], object] = lambda: None
        """Holds the scopes of `next` to their new policies, as far as that is possible now."""
        self.obstacle = ""
        """Why the last scope that kept its old policy had to keep it."""
        self._again_s = 0.0
        """The earliest time for the next try, by the monotonic clock."""

    def begin(
        self,
        source: Source,
        plan: Mapping[int, SharedPolicy | None],
        names_in: Callable[[int], Names],
        catch_up: Callable[[], object],
        changed: Callable[[int, Terms], object],
    ) -> Mapping[int, SharedPolicy | None]:
        """Begin to hold the scopes of `plan` to `source`; return the plan that this one replaces.

        The rest is as for WatchPolicyHolder.change.
        """
        given_up = self.next
        self.next = {
            scope: written
            for scope, written in plan.items()
            # Under a policy that was prepared but never came into force, answers must grant no longer.
            if written is None or scope in self.next or written is not self._holder.held[scope].written
        }
        self._source = source
        self._turn_over = partial(self._turn, names_in, catch_up, changed)
        return given_up

    def is_time(self) -> bool:
        """Whether some scopes are still held to their old policies, and it is time to try again."""
        return bool(self.next) and time.monotonic() >= self._again_s

    def forget(self, given_up: Mapping[int, SharedPolicy | None]) -> None:
        """Drop grants under policies that were prepared for scopes, but never came into force."""
        for scope, written in given_up.items():
            if written not in (None, self._holder.held[scope].written, self.next.get(scope)):
                self._scopes.drop_grants(scope, written.number)

    def go_on(self) -> None:
        """Try once more to hold the scopes of `next` to their new policies; note what is in the way."""
        began_s = time.monotonic()
        try:
            self._turn_over()
        except (CiEgressError, OSError, MemoryError) as error:
            self.obstacle = told_of(error)
        now_s = time.monotonic()
        self._again_s = now_s + _PAUSES * (now_s - began_s)

    def _turn(
        self,
        names_in: Callable[[int], Names],
        catch_up: Callable[[], object],
        changed: Callable[[int, Terms], object],
    ) -> None:
        """Hold as many scopes of `next` to their new policies as possible.

        Where the new policies don't all have room beside the old ones, some scopes follow after the others.
        """
        while self._turn_some(self._fitting_now(), names_in, catch_up, changed):
            pass

    def _fitting_now(self) -> dict[int, SharedPolicy]:
        """Write as many policies of `next` as have room, and return all that are written.

        If none is, jobs whose own part has no room get a smaller one: see PolicyWriter.
        """
        for fit in (self._fitting.own, self._fitting.for_job):
            for scope in [scope for scope, written in self.next.items() if written is None]:
                job = self._holder.held[scope].job
                if job is not None and self._source is not None:
                    try:
                        self.next[scope] = fit(job, self._source, scope)
                    except CiEgressError as error:
                        self.obstacle = told_of(error)
            written = {scope: each for scope, each in self.next.items() if each is not None}
            if written:
                break
        return written

    def _turn_some(
        self,
        scopes: Mapping[int, SharedPolicy],
        names_in: Callable[[int], Names],
        catch_up: Callable[[], object],
        changed: Callable[[int, Terms], object],
    ) -> bool:
        """Hold `scopes` to their new policies; return whether that made room for others."""
        prepared = self._each(
            scopes, lambda scope, written: self._scopes.prepare(scope, written.number, written.compiled)
        )
        if not prepared:
            return False
        wait_for_programs()  # from here on answers grant under both policies
        catch_up()
        before = {scope: self._holder.held[scope].written for scope in prepared}
        lost = Counter[int]()

        def take_over(scope: int, written: SharedPolicy) -> None:
            lost[scope] = self._carry_over(scope, written, names_in)
            self._holder.hold(scope, self._holder.held[scope]._replace(written=written))
            del self.next[scope]
            if (terms := self._holder.terms(scope)) is not None:
                changed(scope, terms)

        turned = self._each(prepared, take_over)
        if lost.total():
            told = f"{lost.total()} addresses lost their names"
            self._warn(f"{told}: until they are looked up again they may be denied")
        wait_for_programs()
        for scope, written in turned.items():
            if (old := before[scope]) and old is not written:
                self._scopes.drop_grants(scope, old.number)
        self._holder.remove_unused()
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

        If a policy that is for no job in particular can't be written, remove all and raise.
        """
        try:
            return {
                scope: self._holder.for_no_job(source, scope)
                if held.job is None
                else self._own(held.job, source, scope)
                for scope, held in self._holder.held.items()
            }
        except (CiEgressError, OSError, MemoryError):
            self._holder.remove_unused()
            raise

    def _own(self, job: Job, source: Source, scope: int) -> SharedPolicy | None:
        try:
            return self._fitting.own(job, source, scope)
        except CiEgressError:
            return None

    def _carry_over(self, scope: int, after: SharedPolicy, names_in: Callable[[int], Names]) -> int:
        before = self._holder.held[scope].written
        if before is None or before is after:
            return 0
        numbers, rules = (before.number, after.number), after.compiled.named

        def is_allowed(resolver: Resolver) -> bool:
            return self._scopes.allows(after.number, Peer(*resolver))

        def may_answer(names: Names, resolver: Resolver) -> bool:
            """Whether the new policy trusts the resolver, by its address or by a name that led to it.

            Only resolvers that it trusts by their addresses say whose name that is: none vouches for itself.
            """
            if is_allowed(resolver):
                return True
            own = names.names_by(resolver.address, is_allowed, boot_ns())
            wanted = PortClass(resolver.protocol, resolver.port)
            return rules.decided(Effect.ALLOW, wanted, own, held=0) is not None

        def granting_to(of: int, peer: bytes) -> set[str]:
            return names_in(of).granting_to(peer, partial(may_answer, names_in(of)))

        names = names_in(scope)
        lost = self._scopes.carry_over(scope, *numbers, rules, names.granting(partial(may_answer, names)))
        if scope == OVERFLOW:
            lost += self._scopes.carry_over_early(_named(before), _named(after), granting_to)
        return lost


def _named(written: SharedPolicy) -> Named:
    return Named(written.number, written.compiled.named)
