"""A machine that belongs to one job, as an ephemeral runner does: all acts on it are that job's."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.events.facts import Environment, ProcessKey
from exporter.events.programs import Program
from exporter.jobs.model import Job
from exporter.kernel.maps.registry import ResumableJob, run_hash
from exporter.pipeline.core import Pipeline
from exporter.pipeline.finder import Discovered
from exporter.pipeline.job import Outlets, known_by, traced_job
from exporter.pipeline.procfs import is_running
from exporter.pipeline.summary import Summary

from .holding import PolicyHolder
from .jobs_by_scope import WITHOUT_ROOM
from .roots import Roots

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline

SCOPE = WITHOUT_ROOM + 1
"""The job's number in the kernel."""

_INIT = 1
"""The pid of init, which becomes the parent of processes whose own parent ended."""


class MachineWatch:
    """A watch of one job: its steps, their descendants, and all other processes of the machine."""

    turned_away = 0
    """The number of processes whose job found no room: 0, since there is only one job."""

    def __init__(  # noqa: PLR0913 - all that a watch of one job depends on
        self,
        outlets: Outlets,
        job: Job,
        environ: Mapping[str, str],
        *,
        job_env: str | None,
        apart: Container[ProcessKey],
        on_change: Callable[[Job, Summary | None], None],
        holder: PolicyHolder,
        baseline: Baseline | None = None,
        ends_by_token: bool = False,
    ) -> None:
        """`job` is the one that `environ` names; a root of any job counts as a root of this one.

        `apart` are the processes that started the watch: they are no roots, whatever their environment. With
        `ends_by_token`, a signal to ci-egress is tampering even when it comes from a process of the host's
        own. `job_env` and the other arguments are as for JobWatch.
        """
        self._outlets, self._job = outlets, job
        self._roots = Roots(job_env)
        self._apart = apart
        self._on_change = on_change
        self._holder = holder
        self._ends_by_token = ends_by_token
        self._summary = Summary(environ, sees_daemons=True)
        self.baseline = baseline
        """The baseline that the job is compared with; None without one."""

    def begin(self, pipeline: Pipeline, now_ns: int) -> None:
        """Begin the job in `pipeline`."""
        self._pipeline = pipeline
        ids = self._job.ids
        standing = ResumableJob(
            run_hash(self._job.run_id),
            ids.job_span_id,
            ids.parent_span_id or 0,
            ids.derive_from or 0,
            began_ns=now_ns,
        )
        terms = self._holder.begin(SCOPE, self._job, standing)
        traced = traced_job(self._job, self._outlets, self._summary, now_ns)
        novelty = known_by(self.baseline, self._job)
        traced = replace(traced, terms=terms, novelty=novelty, ends_by_token=self._ends_by_token)
        pipeline.jobs.begin(SCOPE, traced, takes_rest=True)
        self._on_change(self._job, None)

    def discover(self, event: Environment, program: Program) -> Discovered | None:
        """Return the job if `program` is a root of any job; else None."""
        if program.exec_id == 0 and program.process in self._apart:
            return None
        found = self._roots.identify(event, program.parent)
        return Discovered(SCOPE, self._roots.step_of(event)) if found else None

    def passed(self, event: Environment) -> None:
        """Do nothing: no environment is decided early here."""

    def stirs(self, scope: int, at_ns: int) -> None:
        """Do nothing: the job isn't over before the watch is."""

    def change_baseline(self, baseline: Baseline) -> int:
        """Compare the job with `baseline` from now on; returns the number of jobs compared with it: 1."""
        self.baseline = baseline
        self._pipeline.jobs.change_novelty(SCOPE, known_by(baseline, self._job))
        return 1

    def warned(self, told: str) -> None:
        """Note tampering with the tracing in the job's summary; the program that did it isn't known."""
        self._summary.warned(told)

    def look_around(self, _now_ns: int) -> None:
        """Do nothing: the job isn't over before the watch is."""

    def end_some(self, _now_ns: int) -> bool:
        """Return False: the one job isn't over before the watch is."""
        return False

    def finish(self, now_ns: int) -> None:
        """End the job, and report which processes its steps left behind."""
        left = [
            program.process.pid for program in self._pipeline.table.live({SCOPE}) if _is_left_behind(program)
        ]
        self._pipeline.end(SCOPE, now_ns, left_behind=left)
        self._on_change(self._job, self._summary)


def _is_left_behind(program: Program) -> bool:
    """Whether the step of `program` is over. The step that ends the watch isn't, for example.

    The step's process is looked up in /proc: the record of its end may be waiting, or lost.
    """
    root = program.root
    return root.parent_pid == _INIT or not is_running(root.process)
