"""A host that is watched, made of events: processes that come and go, and what became of it in OTLP files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from exporter.baseline.model import Baseline
from exporter.events.arguments import arguments_of
from exporter.events.facts import (
    HOST,
    Acted,
    Aggregated,
    Environment,
    Event,
    Execed,
    Exited,
    Forked,
    Found,
    ProcessKey,
    attempts_of,
)
from exporter.events.programs import Image
from exporter.events.wire import STANDING_STEP
from exporter.jobs.model import Job
from exporter.kernel.maps.registry import Registered, ResumableJob, run_hash
from exporter.otlp.environment import resolve_destinations
from exporter.otlp.telemetry import Telemetry
from exporter.pipeline.account import Account, KernelCounts
from exporter.pipeline.assembly import assemble
from exporter.pipeline.process_spans import ProcessSpans
from exporter.pipeline.ruling import Terms
from exporter.pipeline.summary import Summary
from exporter.session.watch.agents import agent_named, number_of
from exporter.session.watch.holding import PolicyHolder
from exporter.session.watch.job_finder import JobWatch
from tests.launch import JsonObject, spans_in
from tests.unit.pipelines import NothingKnown
from tests.unit.records import ACT
from tests.unit.samples import CLOCK

SECOND = 1_000_000_000
AGENT = ProcessKey(10, 1 * SECOND)
"""A CI system's, which has no variables of a job."""


def gitlab(run: str = "987", job: str = "4321", **more: str) -> dict[str, str]:
    """The variables of a job."""
    own = {"CI_PIPELINE_ID": run, "CI_JOB_ID": job, "CI_JOB_NAME": "build", "CI_PROJECT_PATH": "group/app"}
    return {"GITLAB_CI": "true", "CI_SERVER_URL": "https://gitlab.example", **own, **more}


def block(environ: Mapping[str, str]) -> bytes:
    """As a process is executed with it."""
    return b"".join(f"{name}={value}\0".encode() for name, value in environ.items())


class NoPolicyHolder:
    """A holder for a watch without a policy."""

    def begin(self, _scope: int, _job: Job, _standing: ResumableJob, *, is_new: bool = False) -> None:
        """Return None: no job has a policy."""

    def over(self, scope: int, standing: ResumableJob) -> None:
        """Do nothing: the job had no policy."""

    def end(self, scope: int) -> None:
        """Do nothing: the job had no policy."""

    def overflow(self) -> None:
        """Return None: jobs that find no room have no policy, either."""

    def others(self) -> Mapping[int, Terms]:
        """Return no terms."""
        return {}


class Host:
    """Its processes, by their keys; time stands still until `wait`."""

    def __init__(
        self,
        directory: Path,
        telemetry: Telemetry,
        job_env: str | None,
        baseline: Baseline | None,
        holder: PolicyHolder,
    ) -> None:
        self.directory = directory
        self.now_ns = 100 * SECOND
        self.began: list[Job] = []
        self.ended: list[tuple[Job, Summary]] = []
        self.attempts = 0
        self.open: list[Aggregated] = []
        """What the kernel counted, and gives up when the job of its scope ends."""
        self.telemetry = telemetry
        assembly = assemble(telemetry, lambda: KernelCounts(self.attempts, 0), CLOCK, ProcessSpans.NETWORK)
        outlets, self.books, self.flows = assembly
        self.metrics = outlets.metrics
        self._agents = {AGENT}
        self._alive: set[int] = {AGENT.pid}
        self._pids = count(1000)
        self._cookies = count(1)
        self.jobs = JobWatch(
            outlets,
            job_env=job_env,
            on_change=self._changed,
            holder=holder,
            baseline=baseline,
            is_agent=self._agents.__contains__,
            give_up_open=self._give_up_open,
            clock=lambda: CLOCK,
        )
        self.pipeline = assembly.pipeline(NothingKnown(), self.jobs)
        self.jobs.begin(self.pipeline, self.now_ns)
        self.happens(Found(self.now_ns, AGENT, 1))

    def _changed(self, job: Job, summary: Summary | None) -> None:
        if summary is None:
            self.began.append(job)
        else:
            self.ended.append((job, summary))

    def _give_up_open(self, scope: int) -> None:
        for event in self.open:
            if event.scope == scope:
                self.happens(event)

    def happens(self, event: Event) -> None:
        self.attempts += attempts_of(event)
        self.pipeline.handle(event)

    def finds(self, environ: Mapping[str, str], parent: ProcessKey = AGENT) -> ProcessKey:
        """A process that was there before the watch."""
        process = self._new()
        self.happens(Found(self._later(), process, parent.pid))
        event = Environment(self._later(), process, 0, block(environ), is_cut=False, is_from_proc=True)
        self.happens(event)
        return process

    def starts(
        self,
        environ: Mapping[str, str],
        creator: ProcessKey = AGENT,
        name: str = "sh",
        exec_id: int = 0,
        below: str | None = None,
    ) -> ProcessKey:
        """`creator`, in its `exec_id`th program, makes a process that executes with `environ`.

        `below` is the agent whose step it is, as the kernel has it.
        """
        process = self._new()
        self.happens(Forked(process.started_ns, process, creator, exec_id, creator.pid, HOST))
        self.executes(process, environ, creator, name, below)
        return process

    def executes(
        self,
        process: ProcessKey,
        environ: Mapping[str, str],
        creator: ProcessKey = AGENT,
        name: str = "sh",
        below: str | None = None,
    ) -> None:
        arguments = arguments_of([name])
        self.happens(
            Execed(self._later(), process, 1, creator.pid, HOST, f"/bin/{name}", arguments, False, "")
        )
        standing = (STANDING_STEP, number_of(agent_named(below))) if below else ()
        self.happens(Environment(self._later(), process, 1, block(environ), False, *standing))

    def connects(self, process: ProcessKey, exec_id: int = 1) -> Acted:
        """To 192.0.2.7:443; it stays open."""
        act = ACT._replace(
            at_ns=self._later(), process=process, exec_id=exec_id, scope=HOST, cookie=next(self._cookies)
        )
        self.happens(act)
        return act

    def ends(self, *processes: ProcessKey) -> None:
        for process in processes:
            self._alive.discard(process.pid)
            self.happens(Exited(self._later(), process, 0))

    def vanishes(self, process: ProcessKey) -> None:
        """It ends, and the record of it is lost."""
        self._alive.discard(process.pid)

    def waits(self, seconds: float) -> None:
        """Time passes, with a look around each second."""
        end_ns = self.now_ns + int(seconds * SECOND)
        while self.now_ns < end_ns:
            self.now_ns = min(self.now_ns + SECOND, end_ns)
            self.jobs.look_around(self.now_ns)
            self.pipeline.table.reap(self._alive, self.now_ns)
            while self.jobs.end_some(self.now_ns):
                pass

    def stops(self) -> Account:
        """The watch ends."""
        self.jobs.finish(self._later())
        self.telemetry.close()
        return self.books.account()

    def spans(self) -> list[JsonObject]:
        """After the end, in the order in which they were told."""
        return list(spans_in(self.directory))

    def _new(self) -> ProcessKey:
        process = ProcessKey(next(self._pids), self._later())
        self._alive.add(process.pid)
        return process

    def _later(self) -> int:
        self.now_ns += 1000
        return self.now_ns


@contextmanager
def watched(
    directory: Path,
    *,
    job_env: str | None = None,
    baseline: Baseline | None = None,
    holder: PolicyHolder = NoPolicyHolder(),  # noqa: B008
) -> Iterator[Host]:
    """A host with an agent."""
    destinations = resolve_destinations({}, otlp_dir=directory)
    with Telemetry(destinations, {}, instance_id="test") as telemetry:
        yield Host(directory, telemetry, job_env, baseline, holder)


def job_spans(spans: list[JsonObject]) -> list[JsonObject]:
    """Those of jobs: of no process, with a run."""
    return [
        span
        for span in spans
        if "process.pid" not in span["attributes"] and "cicd.pipeline.run.id" in span["attributes"]
    ]


def leaves(spans: list[JsonObject]) -> list[JsonObject]:
    return [span for span in spans if span["name"].startswith("connect")]


BARE = {"PATH": "/bin"}
ADOPTED = Registered(
    "group/app",
    "build",
    0xABC,
    0xDEF,
    run_id="987",
    standing=ResumableJob(run_hash("987"), 0x123, 0x456, 0, 5),
)


def adopts(host: Host, told: Registered) -> ProcessKey:
    """A process of a job that another ci-egress told of so, as the kernel has it."""
    process = host.finds(BARE)
    host.pipeline.table.adopt(process, 3, 7, 1, Image("/bin/make"))
    host.jobs.resume(7, told, host.now_ns)
    return process
