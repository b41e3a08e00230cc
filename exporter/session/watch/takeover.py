"""Take over from a watch that was killed: its jobs, the records that wait, and a count of what got lost."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.common.clock import boot_ns
from exporter.common.text import counted
from exporter.events.facts import HOST
from exporter.events.programs import Image
from exporter.jobs.ids import Identity
from exporter.jobs.model import Job
from exporter.kernel.maps.registry import Registered, ResumableJob
from exporter.kernel.maps.rings import Handler
from exporter.kernel.tracer import Tracer
from exporter.pipeline.account import Bookkeeping
from exporter.pipeline.core import Pipeline
from exporter.pipeline.event_log import ADOPTED, EventLog
from exporter.pipeline.job import Outlets
from exporter.pipeline.procfs import Proc, everyone
from exporter.session.messages import Messages

from .job_finder import JobWatch
from .jobs_by_scope import WITHOUT_ROOM
from .policy_holder import WatchPolicyHolder

_GONE = ("process", "exporter_killed")
"""`egress.stage` and `error.type` of attempts that the killed watch took from the kernel and never sent."""


class Takeover:
    """The takeover of an adopted instance; without such an instance it does nothing."""

    def __init__(  # noqa: PLR0913, PLR0917 - all parts of a watch that have a share in it
        self,
        tracer: Tracer,
        outlets: Outlets,
        pipeline: Pipeline,
        jobs: JobWatch,
        holder: WatchPolicyHolder,
        books: Bookkeeping,
    ) -> None:
        """Prepare the takeover; lost attempts are entered in `books`."""
        self._tracer, self._outlets, self._pipeline = tracer, outlets, pipeline
        self._jobs, self._holder, self._books = jobs, holder, books

    def begin(self, take: Handler) -> None:
        """Take over the processes and jobs that run, and hold them to the policy.

        `take` gets the records of acts that were only counted, in scopes that are over.
        """
        self._adopt_processes()
        number = 0
        for scope, told in sorted(self._tracer.jobs().items()):
            if scope in (HOST, WITHOUT_ROOM):
                continue
            if told is None and self._tracer.scopes.is_empty(scope):
                self._tracer.scopes.close([scope], take)
                continue
            self._tell_of(self._jobs.resume(scope, told or self._unknown(scope), boot_ns()))
            number += 1
        self._holder.forget_earlier()
        self._tell(number)

    def end(self) -> None:
        """Count attempts that are still missing as lost. Call it once all waiting records are handled.

        The killed watch had read these attempts from the kernel.
        """
        if self._tracer.is_adopted:
            missing = self._books.account().pending["ring"]
            if missing:
                self._books.drop(*_GONE, max(missing, -self._tracer.before.gone))

    def _adopt_processes(self) -> None:
        parents = {process.pid: parent_pid for process, parent_pid in everyone()}
        lookup = Proc()
        for process, exec_id, scope, is_past in self._tracer.processes.running():
            if process.pid in parents:
                image = Image() if is_past else lookup.image(process)
                self._pipeline.table.adopt(process, exec_id, scope, parents[process.pid], image)

    def _unknown(self, scope: int) -> Registered:
        """Make up a job for a scope of which only the processes are known."""
        made_up = Identity("", "", "", f"{self._tracer.name}.{scope}", "", "")
        standing = ResumableJob(identity=made_up.job_span_id, began_ns=boot_ns())
        return Registered("", "", made_up.trace_id, made_up.job_span_id, standing=standing)

    def _tell_of(self, job: Job) -> None:
        name, trace_id = job.display_name, f"{job.ids.trace_id:032x}"
        told = f"job {name} of {job.pipeline or job.provider or 'an unknown pipeline'} goes on"
        Messages.current().say(told, job=name, run_id=job.run_id, trace_id=trace_id)

    def _tell(self, jobs: int) -> None:
        before = self._tracer.before
        if before.gone:
            self._books.drop(*_GONE, before.gone)
        told = (
            f"adopted instance {self._tracer.name} of a watch that was killed: {counted(jobs, 'job')} "
            f"{'goes' if jobs == 1 else 'go'} on, {counted(before.waiting, 'attempt')} waited to be told"
        )
        if before.gone:
            told += f", {before.gone} that it knew of were lost with it"
        attributes: Mapping[str, str | int] = {
            "egress.instance": self._tracer.name,
            "egress.jobs": jobs,
            "egress.attempts.waiting": before.waiting,
            "egress.attempts.lost": before.gone,
        }
        Messages.current().say(
            told, instance=self._tracer.name, jobs=jobs, waited=before.waiting, lost=before.gone
        )
        telemetry, at_ns = self._outlets.telemetry, self._outlets.clock.wall_ns(boot_ns())
        EventLog(telemetry.log, telemetry.resource).write(ADOPTED, told, attributes, at_ns)
