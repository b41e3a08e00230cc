"""Jobs of a host, found by the environments of their processes, and ended when no process is left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.common.clock import Clock, system_clock
from exporter.common.errors import CiEgressError
from exporter.events.facts import HOST, Environment, ProcessKey, Tampered, Tampering
from exporter.events.programs import Program
from exporter.jobs.detect import Outline, host
from exporter.jobs.ids import further_part
from exporter.jobs.model import Job
from exporter.kernel.maps.registry import Registered, ResumableJob
from exporter.pipeline.core import Pipeline
from exporter.pipeline.finder import Discovered
from exporter.pipeline.job import Outlets, TracedJob, known_by, traced_job
from exporter.pipeline.processes import Census
from exporter.pipeline.procfs import owner_of
from exporter.pipeline.summary import Summary

from .decisions import Decisions
from .holding import PolicyHolder
from .jobs_by_scope import JobsByScope
from .resumed import resumed
from .roots import Identified, Roots
from .span_ids import SpanIds
from .watched_job import ROWS_MAX, WatchedJob

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline

HOST_TRACE_S = 3600.0
"""How many seconds one trace gets the acts that belong to no job, before the next trace begins."""
DOUBTED_MAX = 64
"""The most steps with false variables that are reported one by one; later ones only at each doubling."""
_ENDS_S = 0.01
"""Seconds that one call of `end_some` takes, or little longer: processes wait for decisions meanwhile."""
_UNDESCRIBED_NS = 60_000_000_000
"""Nanoseconds after which a job is reported without its names, if no environment of its roots comes."""
_NS = 1_000_000_000
_NOTHING = Census(0, 0)


class JobWatch:
    """All jobs that run on this host, each in its own trace; a further trace has acts that belong to none."""

    def __init__(  # noqa: PLR0913 - the last one is the system's
        self,
        outlets: Outlets,
        *,
        job_env: str | None,
        on_change: Callable[[Job, Summary | None], None],
        holder: PolicyHolder,
        baseline: Baseline | None = None,
        is_agent: Callable[[ProcessKey], bool] = lambda _: False,
        give_up_open: Callable[[int], object] = lambda _: None,
        clock: Callable[[], Clock] = system_clock,
    ) -> None:
        """`job_env` names a variable by which jobs are known besides those of the known CI systems.

        `on_change` is called with each job when it begins, and with its summary, too, when it is over.
        `holder` is called before anything of a job is reported, and when none of its processes is left.
        Jobs are compared with `baseline`; None without one. `is_agent` says whether a process is an
        agent. `give_up_open` is called with a job's scope before the job ends, and hands over its connects
        that are open. `clock` is read for each job: the host's time may be set while it is watched.
        """
        self._outlets = outlets
        self._roots = Roots(job_env)
        self._on_change = on_change
        self._clock = clock
        self._holder = holder
        self.baseline = baseline
        """The baseline that jobs are compared with; None without one."""
        self._is_agent, self._give_up_open = is_agent, give_up_open
        self._jobs = JobsByScope()
        self._untold: dict[int, str] = {}
        """The run ids (not redacted) of jobs that are held, but aren't reported yet, by scope."""
        self._ending = deque[int]()
        """The scopes of jobs that were over at the last look."""
        self._doubted = 0
        self._places = SpanIds()
        self._host_since_ns = 0
        self.turned_away = 0
        """The number of processes that count to no job, since their job found no room or couldn't be held."""

    @property
    def running(self) -> Mapping[int, WatchedJob]:
        """The jobs that run, by scope."""
        return self._jobs.running

    def begin(self, pipeline: Pipeline, now_ns: int) -> None:
        """Begin to watch for jobs, and to report them to `pipeline`."""
        self._pipeline = pipeline
        self._host_since_ns = now_ns
        self._pipeline.jobs.begin(HOST, self._host(now_ns), takes_rest=True)
        self._decisions = Decisions(
            pipeline.table,
            self._roots,
            self._jobs,
            overflow=self._holder.overflow,
            is_agent=self._is_agent,
            find=self._found,
        )

    def decide(self, event: Environment, *, comes_again: bool = True) -> int | None:
        """Find the scope of the job that the process in `event` is a root of, as `Decisions.decide` does."""
        return self._decisions.decide(event, comes_again=comes_again)

    def discover(self, event: Environment, program: Program) -> Discovered | None:
        """Return the job that `program` is a root of; None when it is a root of no job."""
        scope, doubt, _ = self._decisions.in_turn(event, program)
        if doubt:
            self._tell_of_doubt(event, doubt)
        watched = self._jobs.running.get(scope)
        if watched is None:
            return None if scope == HOST else Discovered(scope)
        watched.join(program.parent.process if program.parent else None, event.at_ns)
        watched.began_ns = min(watched.began_ns, program.started_ns)
        if watched.tenant == event.process:  # decided early, by the kernel's parent alone
            watched.tenant = self._decisions.tenant(event, program.parent)
        with suppress(CiEgressError, OSError, MemoryError):  # it is held all the same, and reported later
            self._tell_if_untold(scope, event)
        self._pipeline.jobs.begin_earlier(scope, program.started_ns)
        return Discovered(scope, self._roots.step_of(event))

    def _tell_of_doubt(self, event: Environment, doubt: int) -> None:
        """Report false variables as tampering: the first DOUBTED_MAX times, then at each doubling."""
        self._doubted += 1
        times = self._doubted
        if times <= DOUBTED_MAX or not times & times - 1:
            uid, parent_pid = owner_of(event.process), event.parent.pid if event.parent else 0
            who = (event.process, event.exec_id, parent_pid, uid, HOST)
            self._pipeline.handle(Tampered(event.at_ns, *who, Tampering.MARKS, doubt, times))

    def _found(self, event: Environment, found: Identified, made_by: Program | None, began_ns: int) -> int:
        """Return the scope of the job `found`, which is held from now on.

        A job that finds no room, or can't be held, has the scope `overflow` of the holder. Without a policy,
        a job that finds no room has the scope HOST, and a job that can't be held is an error. The job is
        reported later: its names have to be redacted first.
        """
        worker = made_by.process if made_by else None
        key, (job, run_id) = found
        scope = self._jobs.scope_of(key)
        if scope in self._jobs.running:
            self._jobs.running[scope].join(worker, event.at_ns)
            return scope
        tenant = self._decisions.tenant(event, made_by)
        is_new = scope is None
        if not self._jobs.has_room(tenant, is_new=is_new):
            return self._turn_away()
        scope = self._jobs.next_scope if scope is None else scope
        began = f"{self._instance()}.{event.at_ns}"
        ids = self._places.of(key, job.ids, began, ran_before=event.exec_id == 0)
        workers = None if worker is None else {worker}
        summary = Summary({}, rows_max=ROWS_MAX)
        try:
            times = (began_ns, began_ns, began_ns)
            watched = WatchedJob(key, replace(job, ids=ids), summary, workers, *times, tenant=tenant)
            self._hold(scope, watched, is_new=is_new)
        except (CiEgressError, OSError, MemoryError):
            if scope not in self._jobs.over:
                self._holder.end(scope)
            if self._holder.overflow() is None:
                raise
            return self._turn_away()
        self._untold[scope] = run_id
        return scope

    def _turn_away(self) -> int:
        """Count a process whose job finds no room; returns its scope, which is HOST without a policy."""
        self.turned_away += 1
        overflow = self._holder.overflow()
        return HOST if overflow is None else overflow

    def resume(self, scope: int, told: Registered, now_ns: int) -> Job:
        """Go on with a job of another watch, which is gone; the job's processes are in the table already.

        The job stays in its trace, and keeps its span unless that was sent.
        """
        self._jobs.reserve(scope)
        table, told_ns = self._pipeline.table, told.standing.told_ns
        members = table.live({scope})
        watched = resumed(told, members, table.at, self._roots, now_ns)
        if told_ns:
            for program in members:
                program.is_reported = program.started_ns < told_ns
            self._jobs.leave(scope, watched)
            self._places.use(watched.job.ids)
            self._places.end(watched.key, watched.job.ids)
            self._holder.begin(scope, watched.job, told.standing)
        else:
            self._hold(scope, watched)
            self._tell(scope)
        return watched.job

    def passed(self, event: Environment) -> None:
        """Forget the early decision about `event`; a job that may have begun with it stays."""
        decided = self._decisions.forget(event)
        if decided is not None:
            with suppress(CiEgressError, OSError, MemoryError):
                self._tell_if_untold(decided.scope, event)

    def stirs(self, scope: int, at_ns: int) -> None:
        """Begin another part of a job that is over, since a process that it left behind acts."""
        left = self._jobs.over.get(scope)
        if left is not None and self._jobs.has_room(left.tenant, is_new=False):
            job = replace(left.job, ids=further_part(left.job.ids, str(at_ns)))
            summary = Summary({}, rows_max=ROWS_MAX)
            times = (at_ns, at_ns, at_ns)
            self._hold(scope, WatchedJob(left.key, job, summary, set(), *times, tenant=left.tenant))
            self._tell(scope)
            self._on_change(job, None)

    def change_baseline(self, baseline: Baseline) -> int:
        """Compare jobs with `baseline` from now on, also running ones; returns the number of running jobs."""
        self.baseline = baseline
        for scope, watched in self._jobs.running.items():
            if scope not in self._untold:
                self._pipeline.jobs.change_novelty(scope, known_by(baseline, watched.job))
        return len(self._jobs.running)

    def warned(self, _told: str) -> None:
        """Do nothing: with several jobs, tampering with the tracing is in no job's summary."""

    def look_around(self, now_ns: int) -> None:
        """Find the jobs that are over. This takes time for each process: call it once a second or so."""
        census = self._pipeline.table.census()
        running = self._jobs.running
        for scope, watched in running.items():
            watched.look(census.get(scope, _NOTHING), self._is_running, now_ns)
        self._ending = deque(scope for scope, watched in running.items() if watched.is_over(now_ns))
        awaited = self._decisions.awaited()
        for scope in [scope for scope in self._untold if scope not in awaited]:
            if now_ns - running[scope].began_ns >= _UNDESCRIBED_NS:
                self._tell_at_last(scope)
        for scope in [scope for scope in self._jobs.over if scope not in census]:
            self._jobs.forget(self._jobs.over.pop(scope))
            self._holder.end(scope)
            self._pipeline.table.take_last_end_ns(scope)
        if now_ns - self._host_since_ns >= HOST_TRACE_S * _NS:
            self._host_since_ns = now_ns
            self._pipeline.jobs.renew(HOST, self._host(now_ns))

    def end_some(self, now_ns: int) -> bool:
        """End jobs that were over at the last look, for `_ENDS_S`; returns whether to call this again.

        To end a job takes a millisecond or more, and hundreds may end at once, so an end may come late.
        """
        until_s = time.monotonic() + _ENDS_S
        awaited = self._decisions.awaited() if self._ending else set()
        while self._ending and time.monotonic() < until_s:
            scope = self._ending.popleft()
            watched = self._jobs.running.get(scope)
            if watched and watched.is_over(now_ns) and scope not in awaited:
                self._end(scope, now_ns, still_traced=True)
        return bool(self._ending)

    def finish(self, now_ns: int) -> None:
        """End all jobs, since nothing is watched any more."""
        for scope in list(self._jobs.running):
            self._end(scope, now_ns, still_traced=False)
        self._pipeline.end(HOST, now_ns)

    def _hold(self, scope: int, watched: WatchedJob, *, is_new: bool = False) -> None:
        """Hold a job to its policy, and note that it runs. If that fails, the job's next step tries again."""
        self._holder.begin(scope, watched.job, _standing(watched), is_new=is_new)
        self._jobs.begin(scope, watched)
        self._places.use(watched.job.ids)

    def _tell_if_untold(self, scope: int, event: Environment) -> None:
        """Begin to report the job of `scope` if it isn't reported, as the environment in `event` names it."""
        if scope in self._untold:
            watched = self._jobs.running[scope]
            watched.job, environ = self._roots.describe(event, Outline(watched.job, self._untold[scope]))
            watched.summary = Summary(environ, rows_max=ROWS_MAX)
            self._tell_at_last(scope)

    def _tell_at_last(self, scope: int) -> None:
        self._tell(scope)
        del self._untold[scope]
        self._on_change(self._jobs.running[scope].job, None)

    def _tell(self, scope: int) -> None:
        """Begin to report the job of `scope`, which is held, and whose names are known by now."""
        watched = self._jobs.running[scope]
        terms = self._holder.begin(scope, watched.job, _standing(watched))
        outlets = replace(self._outlets, clock=self._clock())
        traced = traced_job(watched.job, outlets, watched.summary, watched.began_ns)
        novelty, earlier = known_by(self.baseline, watched.job), self._holder.others()
        self._pipeline.jobs.begin(scope, replace(traced, terms=terms, novelty=novelty, earlier=earlier))

    def _end(self, scope: int, now_ns: int, *, still_traced: bool) -> None:
        if scope in self._untold:
            self._tell_at_last(scope)
        watched = self._jobs.running.pop(scope)
        left = [program.process.pid for program in self._pipeline.table.live({scope})]
        last_end_ns = self._pipeline.table.take_last_end_ns(scope)
        # Nobody announced the job's end: it is noticed some time after the end of the last process.
        ended_ns = now_ns if left or last_end_ns is None else last_end_ns
        self._give_up_open(scope)
        self._pipeline.end(scope, ended_ns, left_behind=left, still_traced=still_traced)
        self._places.end(watched.key, watched.job.ids)
        if left:
            self._jobs.leave(scope, watched)
        else:
            self._jobs.forget(watched)
        self._on_change(watched.job, watched.summary)
        if left:
            self._holder.over(scope, _standing(watched, now_ns))
        else:
            self._holder.end(scope)

    def _is_running(self, process: ProcessKey) -> bool:
        return self._pipeline.table.of(process) is not None

    def _instance(self) -> str:
        return str(self._outlets.telemetry.resource.attributes["service.instance.id"])

    def _host(self, now_ns: int) -> TracedJob:
        outlets = replace(self._outlets, clock=self._clock())
        name = f"{self._instance()}.{now_ns}"
        traced = traced_job(host(name), outlets, Summary({}, rows_max=0), now_ns, is_a_job=False)
        return replace(traced, earlier=self._holder.others())


def _standing(watched: WatchedJob, told_ns: int = 0) -> ResumableJob:
    key, ids = watched.key, watched.job.ids
    places = (ids.parent_span_id or 0, ids.derive_from or 0)
    return ResumableJob(
        key.run_hash, key.job_span_id, *places, watched.began_ns, told_ns, watched.job.who.digest
    )
