"""Decide which job each process is a root of, before the records that wait are handled."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from exporter.events.facts import HOST, Environment, ProcessKey
from exporter.events.programs import Program
from exporter.jobs.claims import contradict
from exporter.pipeline.processes import ProcessTable
from exporter.pipeline.tampering import SHARING_IDS

from .agents import system_of
from .jobs_by_scope import JobsByScope
from .roots import Identified, Roots
from .tenants import tenant_of
from .watched_job import who_counts

DECIDED_MAX = 16384
"""The most early decisions that are kept until the environment's own turn comes."""


class EarlyDecision(NamedTuple):
    """The decision which job a process is a root of, by the environment it was executed with."""

    scope: int
    """The scope of the process's job; HOST when it is a root of no job."""
    doubt: int = 0
    """The kind of false variables in the environment, a key of tampering.MARKS; 0 when none is false."""
    at_ns: int = 0
    """When the process was executed with the environment, in nanoseconds since boot."""


class Find(Protocol):
    """A function that gives a job its scope."""

    def __call__(self, event: Environment, found: Identified, made_by: Program | None, began_ns: int) -> int:
        """Return the scope of the job `found`, which is held from now on."""


class Decisions:
    """The decisions that were made early, each kept until the environment's own turn comes."""

    def __init__(  # noqa: PLR0913 - a decision depends on all of them
        self,
        table: ProcessTable,
        roots: Roots,
        jobs: JobsByScope,
        *,
        overflow: Callable[[], int | None],
        is_agent: Callable[[ProcessKey], bool],
        find: Find,
    ) -> None:
        """Decide by the parents in `table`, and by the environments, which `roots` reads.

        `find` gives jobs their scopes; jobs that find no room get the scope that `overflow` returns.
        """
        self._table, self._roots, self._jobs = table, roots, jobs
        self._overflow = overflow
        self._is_agent = is_agent
        self._find = find
        self._decided: dict[tuple[ProcessKey, int], EarlyDecision] = {}
        """By the process and the number of its program."""

    def decide(self, event: Environment, *, comes_again: bool = True) -> int | None:
        """Find the scope of the job that the process in `event` is a root of, or was made in.

        Returns HOST when there is no such job, and None when that isn't known yet. Call it before the records
        that wait are handled: they aren't needed if the table has the program that the process's worker runs
        now. With `comes_again`, the environment comes once more in its turn, and `in_turn` then returns the
        same decision.
        """
        worker = self._table.of(event.parent) if event.parent else None
        if worker is not None and (scope := self._scope_below(worker, event.process)) != HOST:
            return scope
        if comes_again and (worker is None or self._roots.awaits_worker(event, worker)):
            return None
        found = self._roots.identify(event, worker)
        if comes_again and worker and found and self._awaits_maker(event, found, worker):
            return None
        decided = self._decision(event, found, worker, event.at_ns)
        if comes_again:
            self._decided[event.process, event.exec_id] = decided
            if len(self._decided) > DECIDED_MAX:
                del self._decided[next(iter(self._decided))]
        return decided.scope

    def _awaits_maker(self, event: Environment, found: Identified, worker: Program) -> bool:
        """Whether to wait for the record of the fork: it shows whose room the job takes where room is scarce.

        `worker` is the parent by the kernel: agents, engines and init are also the parents of processes that
        they adopt.
        """
        if self._jobs.is_plenty() or self._jobs.is_running(found.key):
            return False
        is_known = self._table.of(event.process) is not None
        return not is_known and self.tenant(event, worker) == event.process

    def _scope_below(self, maker: Program, made: ProcessKey) -> int:
        """Return the scope of `maker`'s job at the time when `maker` made `made`.

        Returns HOST when `maker` was of no job, as far as that is decided.
        """
        if maker.scope != HOST:
            return maker.scope if maker.root.started_ns <= made.started_ns else HOST
        for exec_id in (maker.exec_id, maker.exec_id + 1):  # the record of the second program may still wait
            decided = self._decided.get((maker.process, exec_id))
            if decided and decided.scope != HOST and decided.at_ns <= made.started_ns:
                return decided.scope
        return HOST

    def _decision(
        self, event: Environment, found: Identified | None, worker: Program | None, began_ns: int
    ) -> EarlyDecision:
        """Find the job whose root the process in `event` is.

        If the process's variables contradict the agent that started it, and there is a policy, the process is
        held like a job that finds no room, and not counted to the job that the variables name. If a job with
        the same ids claims another identity, this is another job: nobody knows which of the claims is true.
        """
        doubt = self._roots.doubt(event.block, system_of(event.agent)) if event.standing else 0
        overflow = self._overflow()
        if doubt and overflow is not None:
            return EarlyDecision(overflow, doubt, event.at_ns)
        if found is None:
            return EarlyDecision(HOST, doubt, event.at_ns)
        doubt = doubt or (SHARING_IDS if self._is_said_otherwise(found) else 0)
        return EarlyDecision(self._find(event, found, worker, began_ns), doubt, event.at_ns)

    def _is_said_otherwise(self, found: Identified) -> bool:
        """Whether `found` isn't known, but another job has its ids and claims another identity."""
        if self._jobs.scope_of(found.key) is not None or found.job.is_partial:
            return False
        others = (watched.job for watched in self._jobs.with_ids_of(found.key))
        ours = who_counts(found.job).claims
        return any(
            contradict(who_counts(job).claims, ours) for job in others if job.claims and not job.is_partial
        )

    def tenant(self, event: Environment, worker: Program | None) -> ProcessKey | None:
        """Return the tenant of the job that begins with the process in `event`; None when nobody knows."""
        made = self._table.of(event.process)
        maker = made.parent if made else worker
        if maker is None:
            return None
        if maker.scope != HOST:  # it was made before its maker was of this job: they have one tenant
            job = self._jobs.of(maker.scope)
            return job.tenant if job else None
        is_sure = not (event.is_from_proc or (made or maker).has_gap)
        return tenant_of(maker, event.process, self._is_agent, is_sure=is_sure)

    def in_turn(self, event: Environment, program: Program) -> EarlyDecision:
        """Return the decision about `program`, which was executed with `event`, and forget it."""
        decided = self.forget(event)
        if decided is not None:
            return decided
        maker = program.parent
        return self._decision(event, self._roots.identify(event, maker), maker, program.started_ns)

    def forget(self, event: Environment) -> EarlyDecision | None:
        """Forget the early decision about `event`, and return it; None when there was none."""
        return self._decided.pop((event.process, event.exec_id), None)

    def awaited(self) -> set[int]:
        """Return the scopes of early decisions about processes whose own turn is still to come."""
        return {decided.scope for decided in self._decided.values()}
