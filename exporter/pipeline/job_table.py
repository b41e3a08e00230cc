"""The jobs that are traced, each with the names that it looked up: their beginnings, changes and ends."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.common.net.hosts import HostName
from exporter.events.facts import HOST, Switched
from exporter.policy.model import Mode

from .job import Outlets, TracedJob
from .names import Names
from .processes import AllBut
from .ruling import Terms

if TYPE_CHECKING:
    from exporter.baseline.novelty import Novelty


class JobTable:
    """A table of the jobs that run, by scope. One of them, the rest, gets the events of all other scopes."""

    def __init__(self, outlets: Outlets, host_name: HostName) -> None:
        """Create an empty table; `host_name` supplies the host's own name for an address."""
        self._outlets = outlets
        self._host_name = host_name
        self._jobs: dict[int, TracedJob] = {}
        self._names: dict[int, Names] = {}
        self._rest = HOST

    def __contains__(self, scope: int) -> bool:
        """Whether `scope` has a job of its own."""
        return scope in self._jobs

    def of(self, scope: int) -> TracedJob:
        """Return the job of `scope`; the rest if `scope` has no job of its own."""
        return self._jobs.get(scope) or self._jobs[self._rest]

    def names_in(self, scope: int) -> Names:
        """Return the names that `of(scope)` looked up."""
        return self._names.get(scope) or self._names[self._rest]

    def scopes_of(self, scope: int) -> Container[int]:
        """Return the scopes whose events the job of `scope` gets; the rest gets those of several scopes."""
        return AllBut(self._jobs.keys() - {scope}) if scope == self._rest else {scope}

    def begin(self, scope: int, job: TracedJob, *, takes_rest: bool = False) -> None:
        """Assign the events of `scope` to `job` from now on.

        With `takes_rest`, `job` also gets the events of all scopes that have no job of their own.
        """
        names = Names(self._host_name)
        if job.is_a_job:
            is_enforcing = job.terms is not None and job.terms.is_enforced
            self._outlets.metrics.began(job.metrics, is_enforcing=is_enforcing)
        self._jobs[scope], self._names[scope] = job, names
        if takes_rest:
            self._rest = scope

    def begin_earlier(self, scope: int, at_ns: int) -> None:
        """Move the start of the job of `scope` back to `at_ns`, if it began later than that."""
        job = self._jobs.get(scope)
        if job is not None and at_ns < job.started_ns:
            self._jobs[scope] = replace(job, started_ns=at_ns)

    def renew(self, scope: int, job: TracedJob) -> None:
        """Continue `scope` in the trace of `job`; processes and connections go on.

        The span of the old job is submitted.
        """
        self._submit(self._jobs[scope], job.started_ns)
        self._jobs[scope] = job

    def change_terms(self, scope: int, terms: Terms) -> None:
        """Set the terms of the job of `scope` from now on.

        If that job is over, the processes that it left behind are still held to its policy. Then all jobs get
        `terms` among their `earlier` ones, which are looked up by the policy's number.
        """
        job = self._jobs.get(scope)
        if job is not None and job.terms is not None:
            job.metrics.is_enforcing = terms.is_enforced
            earlier = {**job.earlier, job.terms.number: job.terms}
            self._jobs[scope] = replace(job, terms=terms, earlier=earlier)
        else:
            for each, other in self._jobs.items():
                self._jobs[each] = replace(other, earlier={**other.earlier, terms.number: terms})

    def change_novelty(self, scope: int, novelty: Novelty | None) -> None:
        """Compare the running job of `scope` with `novelty` from now on; None: with no baseline."""
        self._jobs[scope] = replace(self._jobs[scope], novelty=novelty)

    def switched(self, event: Switched) -> None:
        """Note that somebody turned enforcement on or off; a job without a policy isn't changed."""
        job = self._jobs.get(event.scope)
        if job is not None and job.terms is not None:
            mode = Mode.ENFORCE if event.is_enforcing else Mode.AUDIT
            self._jobs[event.scope] = replace(job, terms=replace(job.terms, mode=mode.value))
            job.metrics.is_enforcing = event.is_enforcing

    def end(self, scope: int, at_ns: int) -> None:
        """Submit the span of the job of `scope` and forget the job; its attempts and programs have ended."""
        job = self._jobs[scope]
        if job.is_a_job:
            self._outlets.metrics.ended(job.metrics)
        self._submit(job, at_ns)
        del self._jobs[scope], self._names[scope]

    def _submit(self, job: TracedJob, ended_ns: int) -> None:
        self._outlets.telemetry.submit(job.spans.job(job.started_ns, ended_ns), attempts=0)
