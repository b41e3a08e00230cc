"""The policy that each job of a watch is held to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from exporter.common.net.name_service import others_that_ask
from exporter.events.facts import HOST
from exporter.jobs.model import Job
from exporter.kernel.maps.registry import ResumableJob
from exporter.pipeline.ruling import Terms
from exporter.policy.compile import crowding
from exporter.policy.executables import require_executables
from exporter.policy.model import Mode
from exporter.policy.sections import remarks
from exporter.session.job_policy import Source

from .held_scopes import HeldScope, HeldScopes
from .jobs_by_scope import WITHOUT_ROOM
from .policy_change import PolicyChange
from .shared_policies import PolicyWriter

if TYPE_CHECKING:
    from exporter.kernel.tracer import Tracer
    from exporter.pipeline.job_table import JobTable
    from exporter.session.guards.steering import Steering


class WatchPolicyHolder:
    """A record of which scope is held to which policy; it removes the policies that no scope is held to."""

    def __init__(
        self,
        tracer: Tracer,
        source: Source | None,
        seeds: Callable[[], Mapping[bytes, Collection[str]]],
        warn: Callable[[str], object],
        *,
        has_one_job: bool = False,
    ) -> None:
        """Hold no scope to anything yet; `source` is None without a policy.

        `seeds` returns the names that addresses (16 bytes) have without being looked up; `warn` gets a line
        for people. With `has_one_job`, containers that are held to the policy are that job's, and there is
        always room for the job.
        """
        self._has_one_job = has_one_job
        self._tracer, self._scopes = tracer, tracer.scopes
        self._source = source
        self._seeds = seeds
        self._warn = warn
        self._fitting = PolicyWriter(self._scopes, warn)
        self._closing: set[int] = set()

    def start(self, steering: Steering, jobs: JobTable, catch_up: Callable[[], object]) -> None:
        """Hold the scopes of no job to the policy. Raises CiEgressError when the policy has no room.

        These scopes are WITHOUT_ROOM and, with --host-enforce, HOST; with one job there are none yet.
        `steering` is as for HeldScopes, `jobs` and `catch_up` are as for PolicyChange.
        """
        self._held = HeldScopes(self._tracer, self._seeds, steering)
        self._change = PolicyChange(self._held, self._scopes, self._fitting, jobs, catch_up, self._warn)
        if self._source is not None:
            for line in _to_be_said(self._source):
                self._warn(line)
            if self._has_one_job:
                return
            for scope in (WITHOUT_ROOM, *([HOST] if self._source.is_for_host else [])):
                self._scopes.open(scope)
                written = self._fitting.for_no_job(self._source, scope)
                self._held.hold(scope, HeldScope(None, written))
            self._hold_undecided()

    def begin(
        self, scope: int, job: Job, standing: ResumableJob | None = None, *, is_new: bool = False
    ) -> Terms | None:
        """Hold `scope` to the part of the policy for `job`, unless it is held already; returns its terms.

        Returns None without a policy. `standing` is for a watch that adopts the instance later. With
        `is_new`, `scope` has no process yet.
        """
        self._closing.discard(scope)
        if scope in self._held.all:
            self._held.tell(scope, HeldScope(job, self._held.all[scope].written, standing))
        else:
            self._scopes.open(scope)
            if self._source is None:
                self._held.tell(scope, HeldScope(job, None, standing))
            else:
                written = self._fitting.for_job(job, self._source, scope)
                self._held.hold(scope, HeldScope(job, written, standing), is_new=is_new)
        if self._has_one_job and scope != HOST and self._source is not None:
            self._tracer.hold_undecided(scope)
            if self._source.is_for_host:
                self.begin(HOST, job)
        return self._held.terms(scope)

    def over(self, scope: int, standing: ResumableJob) -> None:
        """Register `standing` for a job that left processes behind, and whose span was sent."""
        if scope in self._held.all:
            self._held.tell(scope, self._held.all[scope]._replace(standing=standing))

    def forget_earlier(self) -> None:
        """Remove policies of earlier exporters that no job is held to; all running jobs must have begun."""
        self._scopes.look_again()
        # HOST (containers of no job), when --host-enforce isn't given any more.
        for scope in self._scopes.held() - self._held.all.keys():
            self._tracer.unregister(scope)
            self._scopes.let_go(scope)
        lost = self._scopes.forget_earlier()
        if lost:
            self._warn(
                "the policy isn't the one from before: what names granted is lost until they are looked up "
                f"again (addresses: {lost})"
            )

    def end(self, scope: int) -> None:
        """Note that no process of the job is left, as far as is known, or that it couldn't begin.

        `look` closes its scope once the kernel knows of no process, either.
        """
        self._closing.add(scope)

    @property
    def source(self) -> Source | None:
        """The policy that jobs are held to; None without one."""
        return self._source

    def others(self) -> dict[int, Terms]:
        """Return the terms of jobs that find no room, by the kernel's number of their policy."""
        held = self._held.all.get(WITHOUT_ROOM)
        return {held.written.number: held.written.terms} if held and held.written else {}

    def overflow(self) -> int | None:
        """Return the scope of jobs that find no room; None without a policy."""
        return WITHOUT_ROOM if self._source is not None else None

    def look(self, close: Callable[[Collection[int]], object]) -> None:
        """Call `close` for scopes that are over, once the kernel has no process of theirs, either.

        Also hold scopes to the policy that they couldn't be held to when it was read again, and hold
        undecided steps if enforcement is on by now.
        """
        over = self._scopes.empty(self._closing)
        for scope in over:
            self._held.unregister(scope)
        if over:
            close(over)
        for scope in over:
            self._closing.remove(scope)
            self._held.all.pop(scope, None)
            self._change.next.pop(scope, None)
        if self._change.is_time():
            self._change.go_on()
            if not self._change.next:
                self._warn("all that are held to the policy go by it now as it was read last")
        if self._source is not None:
            self._hold_undecided()
        self._change.remove_unused()

    def change(self, source: Source) -> int:
        """Hold every scope to `source` from now on, each in one step; returns how many jobs are held to it.

        Raises CiEgressError, OSError and MemoryError, and changes nothing, when the new policy can't be
        written. A scope that can't be held to the new policy now keeps its old one, with a warning, until
        `look` succeeds.
        """
        lines = _to_be_said(source)
        self._scopes.look_again()
        plan = self._change.plan(source)
        for line in lines:
            self._warn(line)
        given_up = self._change.begin(source, plan)
        self._source = source  # jobs that begin from here on are held to it
        is_asked_for = source.of_others.mode is Mode.ENFORCE
        self._hold_undecided(is_asked_for=is_asked_for)
        self._change.go_on()
        self._hold_undecided(is_asked_for=is_asked_for)
        self._change.forget(given_up)
        kept = self._change.next
        if kept:
            self._warn(
                f"{len(kept)} of {len(plan)} that are held to the policy can't be given it now: "
                f"{self._change.obstacle}; they keep the one before, and it is tried again"
            )
        return sum(
            held.job is not None for scope, held in self._held.all.items() if scope not in {HOST, *kept}
        )

    def _hold_undecided(self, *, is_asked_for: bool = False) -> None:
        """Hold steps from their beginning if the policy of WITHOUT_ROOM is enforced, or `is_asked_for`.

        Otherwise no policy holds steps until their job is known; then telemetry reports how its policy would
        have ruled.
        """
        if not self._has_one_job:
            is_enforced = is_asked_for or self._held.is_enforced(WITHOUT_ROOM)
            self._tracer.hold_undecided(WITHOUT_ROOM if is_enforced else 0)


def _to_be_said(source: Source) -> list[str]:
    """Return warnings about executables in `lineage`, sections, their room, and `dns: deny`.

    Raises FileError for executables that exist, but of which no file counts.
    """
    policy = source.policy
    sections = (rule for section in policy.sections for rule in section.rules)
    others = others_that_ask() if source.strictest.lookups.are_refused else ()
    remarked = (*remarks(policy), *crowding(policy), *others)
    return [*require_executables([*policy.rules, *sections]), *map(str, remarked)]
