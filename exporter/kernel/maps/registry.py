"""The jobs of an instance, pinned for other processes: `ci-egress enforce`, or a watch that adopts it.

A scope has three modes. The mode that was requested when the job began, and the one that somebody chose
since, are kept here. The mode that the kernel applies is in the map `modes`, and follows from the two: the
chosen mode takes precedence over the requested one, also when another policy takes over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

from exporter.events import wire
from exporter.kernel.bpf import U32, Map
from exporter.policy.model import Mode

_LOW = (1 << 64) - 1


class JobMode(IntEnum):
    """`enum job_mode` in bpf/egress.h."""

    NONE = wire.JOB_MODE_NONE
    """There is no policy, or nobody chose a mode."""
    AUDIT = wire.JOB_MODE_AUDIT
    ENFORCE = wire.JOB_MODE_ENFORCE
    STOPPED = wire.JOB_MODE_STOPPED
    """Somebody detached the programs."""


class ResumableJob(NamedTuple):
    """The facts by which a watch that adopts the instance continues a job's trace."""

    run_hash: int = 0
    """The first 64 bits of the SHA-256 of the run's id."""
    identity: int = 0
    """The span id computed from the job's identity; with `run_hash` it identifies the job."""
    parent_id: int = 0
    """The id of the span above the job's; 0: there is none."""
    below: int = 0
    """The span id from which ids below the job's span are derived; 0: that of the job's own span."""
    began_ns: int = 0
    """When the job began, in ns since boot."""
    told_ns: int = 0
    """When the job's span was reported, in ns since boot: the job was over, and left processes behind. 0: it
    wasn't reported yet."""
    who: int = 0
    """A digest of the identity by which the job got its policy (Who.digest)."""


@dataclass(frozen=True)
class Registered:
    """A job, as far as other processes need to know it."""

    pipeline: str
    """`cicd.pipeline.name`, at most 256 bytes of it; empty where it isn't known, like `task`."""
    task: str
    trace_id: int
    span_id: int
    """The id of the job's span."""
    rules: int = 0
    """The number of rules of its policy."""
    requested: JobMode = JobMode.NONE
    switched: JobMode = JobMode.NONE
    """The mode that somebody chose since; NONE: nobody did."""
    switched_by: int = 0
    """The uid of the user who chose it."""
    run_id: str = ""
    """The run's id, at most 128 bytes of it."""
    standing: ResumableJob = ResumableJob()  # noqa: RUF009 - immutable

    @property
    def label(self) -> str:
        """`pipeline/task`, or what there is of it; `run` for a job without names."""
        return "/".join(filter(None, (self.pipeline, self.task))) or "run"

    @property
    def is_job(self) -> bool:
        """Whether this is a job: an entry for containers of no job, or jobs without room, has no trace."""
        return self.trace_id != 0

    @property
    def names(self) -> tuple[str, ...]:
        """The names that a pattern for jobs is matched with: those for a policy's sections, and the label."""
        return (self.pipeline, *([f"{self.pipeline}/{self.task}"] if self.task else []), self.label)


def run_hash(run_id: str) -> int:
    """Return 64 bits that identify a run, computed from its id, which may be of any length."""
    return int.from_bytes(hashlib.sha256(run_id.encode(errors="replace")).digest()[:8])


class Registry:
    """The map `jobs`: an instance's jobs by their scopes."""

    def __init__(self, jobs: Map, lock: Callable[[], AbstractContextManager[object]]) -> None:
        """`lock` returns a context in which no other process changes modes."""
        self._jobs = jobs
        self.changing = lock
        """The lock to hold while a mode is changed: the choice noted here and the map `modes` must agree."""

    def __iter__(self) -> Iterator[tuple[int, Registered]]:
        """Iterate over the scopes, in their order, each with its job."""
        for scope in sorted(U32.unpack(key)[0] for key in list(self._jobs)):
            job = self.of(scope)
            if job is not None:
                yield scope, job

    def of(self, scope: int) -> Registered | None:
        """Return the job of `scope`; None when there is none, or when it is over."""
        value = self._jobs.lookup(U32.pack(scope))
        return None if value is None else _decoded(value)

    def enter(self, scope: int, job: Registered) -> None:
        """Enter `job` as that of `scope`; the mode that somebody chose for this scope before stays."""
        with self.changing():
            before = self.of(scope)
            if before is not None:
                job = replace(job, switched=before.switched, switched_by=before.switched_by)
            self._put(scope, job)

    def wants_enforcing(self, scope: int, requested: Mode) -> bool:
        """Whether to enforce a policy for `scope`: as somebody chose, else as `requested`."""
        job = self.of(scope)
        if job is None or job.switched not in (JobMode.AUDIT, JobMode.ENFORCE):
            return requested is Mode.ENFORCE
        return job.switched is JobMode.ENFORCE

    def stopped_by(self) -> int | None:
        """Return the uid of the user who stopped the instance; None: nobody did."""
        return next((job.switched_by for _, job in self if job.switched is JobMode.STOPPED), None)

    def leave(self, scope: int) -> None:
        """Remove the job of `scope`, which is over."""
        self._jobs.delete(U32.pack(scope))

    def switch(self, scope: int, mode: JobMode, by: int) -> None:
        """Note the mode that user `by` chose; the caller holds the lock."""
        job = self.of(scope)
        if job is not None:
            self._put(scope, replace(job, switched=mode, switched_by=by))

    def _put(self, scope: int, job: Registered) -> None:
        self._jobs.update(U32.pack(scope), _encoded(job))


def _encoded(job: Registered) -> bytes:
    ids = (job.trace_id >> 64, job.trace_id & _LOW, job.span_id)
    *places, who = job.standing
    modes = (job.rules, job.requested, job.switched, job.switched_by)
    return wire.JOB_VALUE.pack(
        *(*ids, *places, who >> 64, who & _LOW, *modes),
        *(_room(job.pipeline), _room(job.task), _room(job.run_id, wire.RUN_ID_ROOM)),
    )


def _decoded(value: bytes) -> Registered:
    told = wire.JobValue.unpack(value)
    places = (told.run_hash, told.identity, told.parent, told.below, told.began_ns, told.told_ns)
    return Registered(
        _text(told.pipeline),
        _text(told.task),
        told.trace_high << 64 | told.trace_low,
        told.span,
        told.rules,
        JobMode(told.requested),
        JobMode(told.switched),
        told.switched_by,
        _text(told.run),
        ResumableJob(*places, told.who_high << 64 | told.who_low),
    )


def _room(text: str, size_bytes: int = wire.JOB_NAME_ROOM) -> bytes:
    """Encode as much of `text` as there is room for, in whole characters."""
    return text.encode(errors="replace")[:size_bytes].decode(errors="ignore").encode()


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="replace")
