"""A CI job as the rest of the program sees it: its names, its repository, its place in a trace."""

from __future__ import annotations

from dataclasses import dataclass

from .claims import Claim, Who

HOST = "host"
"""The provider of the job under which acts of no job are reported."""


@dataclass(frozen=True)
class TraceIds:
    """The place of a job's spans: 128-bit trace id, 64-bit span ids, all non-zero."""

    trace_id: int
    job_span_id: int
    parent_span_id: int | None
    """The span above the job span (TRACEPARENT's, or GitHub's by formula); None for a root."""
    trace_state: str = ""
    """The W3C tracestate that came with TRACEPARENT, passed on unchanged; empty without one."""
    derive_from: int | None = None
    """The 64 bits that the ids below the job span are derived from; None: the job span's id."""


@dataclass(frozen=True)
class Job:
    """One CI job. Fields that its environment doesn't have are None, never empty strings."""

    provider: str
    """`github`, `gitlab`, … (a row of the provider table); `run` where no provider was recognised."""
    run_id: str
    """`cicd.pipeline.run.id`: the run alone, without the attempt."""
    ids: TraceIds
    pipeline: str | None = None
    """`cicd.pipeline.name`"""
    task: str | None = None
    """`cicd.pipeline.task.name`"""
    task_run_id: str | None = None
    """`cicd.pipeline.task.run.id`"""
    attempt: str | None = None
    """`egress.job.attempt`"""
    run_url: str | None = None
    """`cicd.pipeline.run.url.full`"""
    worker: str | None = None
    """`cicd.worker.name`"""
    repository: str | None = None
    """The repository's path on its server (`group/app`): `vcs.owner.name` and `vcs.repository.name`"""
    repository_url: str | None = None
    """`vcs.repository.url.full`, without credentials"""
    revision: str | None = None
    """`vcs.ref.head.revision`"""
    ref: str | None = None
    """`vcs.ref.head.name`"""
    ref_type: str | None = None
    """`vcs.ref.head.type`: `branch` or `tag`"""
    claims: tuple[Claim, ...] = ()
    """One claim for each CI system whose marks the environment has; empty when these aren't known."""
    besides: tuple[Claim, ...] = ()
    """Claims by marks of other systems that jobs of its system may carry, too (`Provider.beside`)."""
    is_vouched: bool = False
    """Whether system and project were set by an agent that lets no author change them."""
    is_partial: bool = False
    """Whether its environment may claim something else, too: it was read in part, or has a variable twice."""

    @property
    def who(self) -> Who:
        """The claims by which sections of a policy are matched with the job."""
        claims = self.claims or (Claim(None, None, self.pipeline, self.task),)
        return Who(claims, self.is_vouched, is_partial=self.is_partial, besides=self.besides)

    @property
    def display_name(self) -> str:
        """The job span's name: the task's, else the pipeline's, else `run` (`host` for acts of no job)."""
        return self.task or self.pipeline or (HOST if self.provider == HOST else "run")
