"""Which policy each job of a watch is held to, and what changes when the policy is read again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from exporter.cli.faults import told_of
from exporter.cli.fitting import Fitting, Written
from exporter.cli.governing import Governance, Source, registered
from exporter.errors import CiEgressError
from exporter.events import HOST
from exporter.jobs.model import Job, TraceIds
from exporter.kernel.grace import wait_for_programs
from exporter.kernel.registry import JobMode, Standing
from exporter.kernel.scopes import Named
from exporter.name_service import others_that_ask
from exporter.policy.executables import require_executables
from exporter.policy.model import Mode
from exporter.policy.sections import remarks
from exporter.terms import Terms
from exporter.watching import WITHOUT_ROOM

if TYPE_CHECKING:
    from exporter.kernel.tracer import Tracer
    from exporter.names import Names
    from exporter.steering import Steering

OVERFLOW = WITHOUT_ROOM
"""Held to what nobody's policy is stricter than; so is what may be a job's, until it is known."""

_PAUSES = 10
"""After a try, as many times its length pass before the next one: a try may wait for others for seconds."""

_NO_JOB = Job(provider="", run_id="", ids=TraceIds(0, 0, None))
_OTHERS = {
    OVERFLOW: replace(_NO_JOB, task="(jobs without room)"),
    HOST: replace(_NO_JOB, task="(containers of no job)"),
}
"""What stands for them in `ci-egress enforce status`, in brackets since none is a job."""


class _Held(NamedTuple):
    job: Job | None
    """None: those that found no room, and containers of none."""
    written: Written | None
    """None: there is no policy."""
    standing: Standing | None = None


class Governor:
    """Knows who goes by which policy, and removes those by which nobody does."""

    def __init__(
        self,
        tracer: Tracer,
        source: Source | None,
        seeds: Callable[[], Mapping[bytes, Collection[str]]],
        warn: Callable[[str], object],
        *,
        has_one_job: bool = False,
    ) -> None:
        """Hold nobody to anything yet; `source` None: there is no policy.

        `seeds` are the names that addresses (16 bytes) have without being looked up; `warn` says a line.
        With `has_one_job` containers that are held to the policy are that job's, and there is always room.
        """
        self._has_one_job = has_one_job
        self._tracer, self._scopes = tracer, tracer.scopes
        self._source = source
        self._seeds = seeds
        self._warn = warn
        self._fitting = Fitting(self._scopes, warn)
        self._held: dict[int, _Held] = {}
        self._closing: set[int] = set()
        self._next: dict[int, Written] = {}
        """What scopes are to be held to and aren't yet, since the policy was read again."""
        self._turn_over: Callable[[], object] = lambda: None
        """Holds them to it, as far as that goes."""
        self._obstacle = ""
        """Why not all of them could be."""
        self._again_s = 0.0
        """When that is tried again at the earliest."""

    def start(self, steering: Steering) -> None:
        """Write what holds for every job. Raises CiEgressError where that has no room.

        `steering` looks after what others do to the modes.
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

    def begin(self, scope: int, job: Job, standing: Standing | None = None) -> Terms | None:
        """Hold `scope` to what the policy says for `job`, unless it is already; returns its terms.

        `standing` is what whoever adopts the instance has to know besides.
        """
        self._closing.discard(scope)
        if scope in self._held:
            self._tell(scope, _Held(job, self._held[scope].written, standing))
        else:
            self._scopes.open(scope)
            if self._source is None:
                self._tell(scope, _Held(job, None, standing))
            else:
                self._hold(scope, _Held(job, self._fitting.for_job(job, self._source, scope), standing))
        if self._has_one_job and scope != HOST and self._source is not None:
            self._tracer.hold_undecided(scope)
            if self._source.is_for_host:
                self.begin(HOST, job)
        return self._terms(scope)

    def over(self, scope: int, standing: Standing) -> None:
        """The span of its job is told, as `standing` has it; it left something behind."""
        if scope in self._held:
            self._tell(scope, self._held[scope]._replace(standing=standing))

    def forget_earlier(self) -> None:
        """Remove what exporters before wrote and no job goes by. All jobs that there are have begun."""
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
        """Nothing of the job is left, as far as is known; or it could not begin."""
        self._closing.add(scope)

    @property
    def source(self) -> Source | None:
        """What they are held to."""
        return self._source

    def others(self) -> dict[int, Terms]:
        """The terms of those for which there was no room, by the kernel's number of them."""
        held = self._held.get(OVERFLOW)
        return {held.written.number: held.written.terms} if held and held.written else {}

    def overflow(self) -> int | None:
        """The scope of jobs for which there is no room; None: they have no policy to be held to."""
        return OVERFLOW if self._source is not None else None

    def look(self, close: Callable[[int], object]) -> None:
        """`close` scopes that are over, once the kernel has no process of theirs either.

        Give others the policy that they couldn't be given when it was read again, and hold steps as whoever
        turned enforcement on or off wants it.
        """
        for scope in [scope for scope in self._closing if self._scopes.is_empty(scope)]:
            self._steering.end(scope)
            self._tracer.unregister(scope)
            close(scope)
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

        `catch_up` has all handled that was told so far; `names_in` tells what a scope has looked up, and
        `changed` gets the terms of each scope whose policy is another one. Raises CiEgressError, OSError and
        MemoryError, and changes nothing, where the new policy can't be held to. A scope that can't be given
        it now keeps the one before, which is told, until `look` can.
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
            # Where another one was prepared that it wasn't held to, answers are to grant for that no more.
            if scope in self._next or written is not self._held[scope].written
        }
        self._source = source  # who begins from here on is held to it
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

    def _forget(self, given_up: Mapping[int, Written]) -> None:
        """What answers granted under policies that scopes were never held to."""
        for scope, written in given_up.items():
            if written is not self._held[scope].written and written is not self._next.get(scope):
                self._scopes.drop_grants(scope, written.number)

    def _go_on(self) -> None:
        """Hold those to their next policy that aren't yet; what is in the way may be gone another time."""
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
        """Hold to their next policy as many as can be."""
        prepared = self._each(
            self._next, lambda scope, written: self._scopes.prepare(scope, written.number, written.compiled)
        )
        if not prepared:
            return
        wait_for_programs()  # from here on answers grant for both
        catch_up()
        before = {scope: self._held[scope].written for scope in prepared}
        lost = Counter[int]()

        def take_over(scope: int, written: Written) -> None:
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

    def _each(
        self, scopes: Mapping[int, Written], act: Callable[[int, Written], object]
    ) -> dict[int, Written]:
        """Those for which `act` could be done."""
        done = {}
        for scope, written in scopes.items():
            try:
                act(scope, written)
            except (OSError, MemoryError) as error:
                self._obstacle = told_of(error)
            except CiEgressError as error:
                self._obstacle = told_of(error)
                break  # somebody holds on to the modes: each of the others would wait for seconds, too
            else:
                done[scope] = written
        return done

    def _plan(self, source: Source) -> dict[int, Written]:
        """What each scope will be held to. What was written for that is removed where it comes to nothing."""
        try:
            return {
                scope: self._for_no_job(source, scope)
                if held.job is None
                else self._fitting.for_job(held.job, source, scope)
                for scope, held in self._held.items()
            }
        except (CiEgressError, OSError, MemoryError):
            self._remove_unused()
            raise

    def _carry_over(self, scope: int, after: Written, names_in: Callable[[int], Names]) -> int:
        before = self._held[scope].written
        if before is None or before is after:
            return 0
        numbers, rules = (before.number, after.number), after.compiled.named
        lost = self._scopes.carry_over(scope, *numbers, rules, names_in(scope).granting())
        if scope == OVERFLOW:
            lost += self._scopes.carry_over_early(
                _named(before), _named(after), lambda of, peer: names_in(of).granting_to(peer)
            )
        return lost

    def _for_no_job(self, source: Source, scope: int) -> Written:
        return self._fitting.for_no_job(source, scope, may_be_any=scope == OVERFLOW)

    def _hold_undecided(self, *, is_asked_for: bool = False) -> None:
        """Hold steps from their beginning; where nothing is enforced, their own policy tells of them."""
        if not self._has_one_job:
            is_enforced = is_asked_for or self._is_enforced(OVERFLOW)
            self._tracer.hold_undecided(OVERFLOW if is_enforced else 0)

    def _is_enforced(self, scope: int) -> bool:
        """Whether it is as of now: somebody may have turned that on or off."""
        return self._tracer.mode(scope) is JobMode.ENFORCE

    def _hold(self, scope: int, held: _Held) -> None:
        self._register(scope, held)
        if held.written is not None:
            self._scopes.hold(scope, held.written.number, held.written.compiled, self._seeds().items())
        self._steering.begin(scope)
        self._held[scope] = held  # not before: where that fails, it is tried again

    def _tell(self, scope: int, held: _Held) -> None:
        self._register(scope, held)
        self._held[scope] = held

    def _register(self, scope: int, held: _Held) -> None:
        written = held.written
        governed = None if written is None else Governance(written.compiled, written.terms, written.rules)
        self._tracer.register(scope, registered(held.job or _OTHERS[scope], governed, held.standing))

    def _terms(self, scope: int) -> Terms | None:
        """In the mode that is in force."""
        written = self._held[scope].written
        if written is None:
            return None
        mode = Mode.ENFORCE if self._is_enforced(scope) else Mode.AUDIT
        return replace(written.terms, mode=mode.value)

    def _remove_unused(self) -> None:
        held = (held.written for held in self._held.values() if held.written)
        self._fitting.keep_only({written.number for written in (*held, *self._next.values())})


def _named(written: Written) -> Named:
    return Named(written.number, written.compiled.named)


def _to_be_said(source: Source) -> list[str]:
    """Of executables in `lineage`, sections that allow nobody anything, and `dns: deny`. Raises FileError."""
    policy = source.policy
    sections = (rule for section in policy.sections for rule in section.rules)
    others = others_that_ask() if source.strictest.lookups.are_refused else ()
    return [*require_executables([*policy.rules, *sections]), *map(str, (*remarks(policy), *others))]
