"""Which policy each job of a watch is held to, and what changes when the policy is read again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from exporter.common.clock import boot_ns
from exporter.common.errors import CiEgressError
from exporter.common.net.name_service import others_that_ask
from exporter.events.facts import HOST
from exporter.jobs.model import Job, TraceIds
from exporter.kernel.grace_period import wait_for_programs
from exporter.kernel.maps.registry import JobMode, ResumableJob
from exporter.kernel.maps.verdicts import Peer
from exporter.kernel.scopes import Named
from exporter.pipeline.ruling import Terms
from exporter.policy.compile import crowding
from exporter.policy.executables import require_executables
from exporter.policy.model import Mode
from exporter.policy.sections import remarks
from exporter.session.job_policy import ReadyPolicy, Source, registered
from exporter.session.watch.faults import told_of

from .jobs_by_scope import WITHOUT_ROOM
from .shared_policies import Fitting, SharedPolicy

if TYPE_CHECKING:
    from exporter.kernel.tracer import Tracer
    from exporter.pipeline.names import Names, Resolver
    from exporter.session.guards.steering import Steering

OVERFLOW = WITHOUT_ROOM
"""The scope of jobs that find no room; it is held to a policy at least as strict as every job's.

Processes that may be of a job are held to the same, until their job is known.
"""

_PAUSES = 10
"""The pause after a try, in lengths of that try: one that waits for other processes may take seconds."""

_NO_JOB = Job(provider="", run_id="", ids=TraceIds(0, 0, None))
_OTHERS = {
    OVERFLOW: replace(_NO_JOB, task="(jobs without room)"),
    HOST: replace(_NO_JOB, task="(containers of no job)"),
}
"""What `ci-egress enforce status` shows for these scopes; in brackets, since none is a job."""


class _Held(NamedTuple):
    job: Job | None
    """None for jobs that found no room, and for containers of no job."""
    written: SharedPolicy | None
    """None without a policy."""
    standing: ResumableJob | None = None


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
        always room.
        """
        self._has_one_job = has_one_job
        self._tracer, self._scopes = tracer, tracer.scopes
        self._source = source
        self._seeds = seeds
        self._warn = warn
        self._fitting = Fitting(self._scopes, warn)
        self._held: dict[int, _Held] = {}
        self._closing: set[int] = set()
        self._next: dict[int, SharedPolicy | None] = {}
        """The policies that scopes are to be held to and aren't yet, since the policy was read again.

        None: it isn't written, for want of room.
        """
        self._turn_over: Callable[[], object] = lambda: None
        """Holds the scopes of `_next` to their new policies, as far as that is possible now."""
        self._obstacle = ""
        """Why the last scope that kept its old policy had to keep it."""
        self._again_s = 0.0
        """The earliest time for the next try, by the monotonic clock."""

    def start(self, steering: Steering) -> None:
        """Hold the scopes that are no job's to the policy. Raises CiEgressError when it has no room.

        They are OVERFLOW and, with --host-enforce, HOST; with one job there are none yet. `steering` looks
        after what others do to the modes.
        """
        self._steering = steering
        if self._source is not None:
            for line in _to_be_said(self._source):
                self._warn(line)
            if self._has_one_job:
                return
            for scope in (OVERFLOW, *([HOST] if self._source.is_for_host else [])):
                self._scopes.open(scope)
                self._hold(scope, _Held(None, self._for_no_job(self._source, scope)))
            self._hold_undecided()

    def begin(
        self, scope: int, job: Job, standing: ResumableJob | None = None, *, is_new: bool = False
    ) -> Terms | None:
        """Hold `scope` to what the policy says for `job`, unless it is already; returns its terms.

        Returns None without a policy. `standing` is what else a watch that adopts the instance has to know.
        With `is_new`, `scope` has no process yet.
        """
        self._closing.discard(scope)
        if scope in self._held:
            self._tell(scope, _Held(job, self._held[scope].written, standing))
        else:
            self._scopes.open(scope)
            if self._source is None:
                self._tell(scope, _Held(job, None, standing))
            else:
                written = self._fitting.for_job(job, self._source, scope)
                self._hold(scope, _Held(job, written, standing), is_new=is_new)
        if self._has_one_job and scope != HOST and self._source is not None:
            self._tracer.hold_undecided(scope)
            if self._source.is_for_host:
                self.begin(HOST, job)
        return self._terms(scope)

    def over(self, scope: int, standing: ResumableJob) -> None:
        """Register `standing` for a job whose span was sent, and that left processes behind."""
        if scope in self._held:
            self._tell(scope, self._held[scope]._replace(standing=standing))

    def forget_earlier(self) -> None:
        """Remove the policies of earlier exporters that no job goes by; all running jobs must have begun."""
        self._scopes.look_again()
        for scope in self._scopes.held() - self._held.keys():  # containers of no job, without --host-enforce
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
        held = self._held.get(OVERFLOW)
        return {held.written.number: held.written.terms} if held and held.written else {}

    def overflow(self) -> int | None:
        """Return the scope of jobs that find no room; None without a policy."""
        return OVERFLOW if self._source is not None else None

    def look(self, close: Callable[[Collection[int]], object]) -> None:
        """Call `close` for scopes that are over, once the kernel has no process of theirs, either.

        Also give scopes the policy that they couldn't be given when it was read again, and hold undecided
        steps if enforcement is on by now.
        """
        over = self._scopes.empty(self._closing)
        for scope in over:
            self._steering.end(scope)
            self._tracer.unregister(scope)
        if over:
            close(over)
        for scope in over:
            self._closing.remove(scope)
            self._held.pop(scope, None)
            self._next.pop(scope, None)
        if self._next and time.monotonic() >= self._again_s:
            self._go_on()
            if not self._next:
                self._warn("all that are held to the policy go by it now as it was read last")
        if self._source is not None:
            self._hold_undecided()
        self._remove_unused()

    def change(
        self,
        source: Source,
        names_in: Callable[[int], Names],
        catch_up: Callable[[], object],
        changed: Callable[[int, Terms], object],
    ) -> int:
        """Hold every scope to `source` from now on, each in one step; returns how many jobs go by it.

        `catch_up` handles all that the kernel has reported so far; `names_in` returns what a scope has looked
        up, and `changed` gets the terms of each scope whose policy is another one. Raises CiEgressError,
        OSError and MemoryError, and changes nothing, when the new policy can't be written. A scope that can't
        be held to it now keeps the one before, which is said, until `look` succeeds.
        """
        lines = _to_be_said(source)
        self._scopes.look_again()
        plan = self._plan(source)
        for line in lines:
            self._warn(line)
        given_up = self._next
        self._next = {
            scope: written
            for scope, written in plan.items()
            # Where another policy was prepared and never held to, answers must no more grant under that one.
            if written is None or scope in self._next or written is not self._held[scope].written
        }
        self._source = source  # jobs that begin from here on are held to it
        is_asked_for = source.of_others.mode is Mode.ENFORCE
        self._hold_undecided(is_asked_for=is_asked_for)
        self._turn_over = partial(self._turn, names_in, catch_up, changed)
        self._go_on()
        self._hold_undecided(is_asked_for=is_asked_for)
        self._forget(given_up)
        if self._next:
            self._warn(
                f"{len(self._next)} of {len(plan)} that are held to the policy can't be given it now: "
                f"{self._obstacle}; they keep the one before, and it is tried again"
            )
        return sum(
            held.job is not None for scope, held in self._held.items() if scope not in {HOST, *self._next}
        )

    def _forget(self, given_up: Mapping[int, SharedPolicy | None]) -> None:
        """Drop what answers granted under policies that scopes were prepared for and never held to."""
        for scope, written in given_up.items():
            if written not in (None, self._held[scope].written, self._next.get(scope)):
                self._scopes.drop_grants(scope, written.number)

    def _go_on(self) -> None:
        """Try once more to hold the scopes of `_next` to their new policies; note what is in the way."""
        began_s = time.monotonic()
        try:
            self._turn_over()
        except (CiEgressError, OSError, MemoryError) as error:
            self._obstacle = told_of(error)
        now_s = time.monotonic()
        self._again_s = now_s + _PAUSES * (now_s - began_s)

    def _turn(
        self,
        names_in: Callable[[int], Names],
        catch_up: Callable[[], object],
        changed: Callable[[int, Terms], object],
    ) -> None:
        """Hold as many scopes of `_next` to their new policies as possible.

        Where not all of these have room beside those before, some take over after the others.
        """
        while self._turn_some(self._fitting_now(), names_in, catch_up, changed):
            pass

    def _fitting_now(self) -> dict[int, SharedPolicy]:
        """Write what has room of the policies in `_next`, and return all that are written.

        If none is, jobs whose part has no room are held to another one: see Fitting.
        """
        for fit in (self._fitting.own, self._fitting.for_job):
            for scope in [scope for scope, written in self._next.items() if written is None]:
                job = self._held[scope].job
                if job is not None and self._source is not None:
                    try:
                        self._next[scope] = fit(job, self._source, scope)
                    except CiEgressError as error:
                        self._obstacle = told_of(error)
            written = {scope: each for scope, each in self._next.items() if each is not None}
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
        """Hold `scopes` to their new policies; return whether that gave others room."""
        prepared = self._each(
            scopes, lambda scope, written: self._scopes.prepare(scope, written.number, written.compiled)
        )
        if not prepared:
            return False
        wait_for_programs()  # from here on answers grant under both policies
        catch_up()
        before = {scope: self._held[scope].written for scope in prepared}
        lost = Counter[int]()

        def take_over(scope: int, written: SharedPolicy) -> None:
            lost[scope] = self._carry_over(scope, written, names_in)
            self._hold(scope, self._held[scope]._replace(written=written))
            del self._next[scope]
            if (terms := self._terms(scope)) is not None:
                changed(scope, terms)

        turned = self._each(prepared, take_over)
        if lost.total():
            told = f"{lost.total()} addresses lost their names"
            self._warn(f"{told}: until they are looked up again they may be denied")
        wait_for_programs()
        for scope, written in turned.items():
            if (old := before[scope]) and old is not written:
                self._scopes.drop_grants(scope, old.number)
        self._remove_unused()
        return bool(turned)

    def _each(
        self, scopes: Mapping[int, SharedPolicy], act: Callable[[int, SharedPolicy], object]
    ) -> dict[int, SharedPolicy]:
        """Call `act` for each scope; returns those for which it succeeded."""
        done = {}
        for scope, written in scopes.items():
            try:
                act(scope, written)
            except (OSError, MemoryError) as error:
                self._obstacle = told_of(error)
            except CiEgressError as error:
                self._obstacle = told_of(error)
                break  # somebody holds the lock of the modes: each of the others would wait for seconds
            else:
                done[scope] = written
        return done

    def _plan(self, source: Source) -> dict[int, SharedPolicy | None]:
        """Write the policy that each scope will be held to; None for a job's that has no room now.

        If one that is for no job in particular can't be written, remove all and raise.
        """
        try:
            return {
                scope: self._for_no_job(source, scope)
                if held.job is None
                else self._own(held.job, source, scope)
                for scope, held in self._held.items()
            }
        except (CiEgressError, OSError, MemoryError):
            self._remove_unused()
            raise

    def _own(self, job: Job, source: Source, scope: int) -> SharedPolicy | None:
        try:
            return self._fitting.own(job, source, scope)
        except CiEgressError:
            return None

    def _carry_over(self, scope: int, after: SharedPolicy, names_in: Callable[[int], Names]) -> int:
        before = self._held[scope].written
        if before is None or before is after:
            return 0
        numbers, rules = (before.number, after.number), after.compiled.named

        def may_answer(names: Names, resolver: Resolver) -> bool:
            """By its address, or by a name that led to it: the new policy may not trust it any more."""
            own = names.names_of(resolver.address, boot_ns())
            return self._scopes.allows(after.number, Peer(*resolver)) or bool(rules.granted(own))

        def granting_to(of: int, peer: bytes) -> set[str]:
            return names_in(of).granting_to(peer, partial(may_answer, names_in(of)))

        names = names_in(scope)
        lost = self._scopes.carry_over(scope, *numbers, rules, names.granting(partial(may_answer, names)))
        if scope == OVERFLOW:
            lost += self._scopes.carry_over_early(_named(before), _named(after), granting_to)
        return lost

    def _for_no_job(self, source: Source, scope: int) -> SharedPolicy:
        return self._fitting.for_no_job(source, scope, may_be_any=scope == OVERFLOW)

    def _hold_undecided(self, *, is_asked_for: bool = False) -> None:
        """Hold steps from their beginning if the policy of OVERFLOW is enforced, or `is_asked_for`.

        Otherwise they are held to nothing until their job is known, and what its policy says of them is told
        then.
        """
        if not self._has_one_job:
            is_enforced = is_asked_for or self._is_enforced(OVERFLOW)
            self._tracer.hold_undecided(OVERFLOW if is_enforced else 0)

    def _is_enforced(self, scope: int) -> bool:
        """Whether the policy of `scope` is enforced now: somebody may have turned that on or off."""
        return self._tracer.mode(scope) is JobMode.ENFORCE

    def _hold(self, scope: int, held: _Held, *, is_new: bool = False) -> None:
        self._register(scope, held)
        if held.written is not None:
            number, compiled = held.written.number, held.written.compiled
            self._scopes.hold(scope, number, compiled, self._seeds().items(), is_new=is_new)
        self._steering.begin(scope)
        self._held[scope] = held  # not before: if that fails, it is tried again

    def _tell(self, scope: int, held: _Held) -> None:
        self._register(scope, held)
        self._held[scope] = held

    def _register(self, scope: int, held: _Held) -> None:
        written = held.written
        ready = None if written is None else ReadyPolicy(written.compiled, written.terms, written.rules)
        self._tracer.register(scope, registered(held.job or _OTHERS[scope], ready, held.standing))

    def _terms(self, scope: int) -> Terms | None:
        """Return the terms of `scope`, with the mode that is in force; None without a policy."""
        written = self._held[scope].written
        if written is None:
            return None
        mode = Mode.ENFORCE if self._is_enforced(scope) else Mode.AUDIT
        return replace(written.terms, mode=mode.value)

    def _remove_unused(self) -> None:
        held = (held.written for held in self._held.values() if held.written)
        following = (written for written in self._next.values() if written)
        self._fitting.keep_only({written.number for written in (*held, *following)})


def _named(written: SharedPolicy) -> Named:
    return Named(written.number, written.compiled.named)


def _to_be_said(source: Source) -> list[str]:
    """Return what is to be said of executables in `lineage`, sections, their room, and `dns: deny`.

    Raises FileError for executables that can't count.
    """
    policy = source.policy
    sections = (rule for section in policy.sections for rule in section.rules)
    others = others_that_ask() if source.strictest.lookups.are_refused else ()
    remarked = (*remarks(policy), *crowding(policy), *others)
    return [*require_executables([*policy.rules, *sections]), *map(str, remarked)]
