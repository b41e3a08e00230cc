"""A job that is taken over goes by whom it was taken for, whatever its processes have in /proc by then."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import pytest

from exporter.events.arguments import arguments_of
from exporter.events.facts import ProcessKey
from exporter.events.programs import Program
from exporter.jobs.detect import detect
from exporter.jobs.model import Job
from exporter.kernel.maps.registry import Registered, ResumableJob, run_hash
from exporter.pipeline.procfs import started_ns
from exporter.session.watch.resumed import resumed
from exporter.session.watch.roots import Roots
from tests.unit.jobs.provider_environments import environment
from tests.unit.started_processes import wait_until_executed

OURS = {**environment("github"), "GITHUB_WORKFLOW": "test", "GITHUB_REF_PROTECTED": "false"}


@contextmanager
def root(environ: Mapping[str, str]) -> Iterator[Program]:
    """Of a job; in /proc it has `environ`."""
    with subprocess.Popen(["/bin/sleep", "60"], env=environ) as child:
        try:
            wait_until_executed(child.pid)
            process = ProcessKey(child.pid, started_ns(child.pid) or 0)
            yield Program(process, 1, 7, None, 1, process.started_ns, "/bin/sleep", arguments_of([]))
        finally:
            child.kill()


def told(job: Job) -> Registered:
    """What another watch told of it."""
    ids = job.ids
    standing = ResumableJob(run_hash(job.run_id), ids.job_span_id, began_ns=5, who=job.who.digest)
    names = (job.pipeline or "", job.task or "")
    return Registered(*names, ids.trace_id, ids.job_span_id, run_id=job.run_id, standing=standing)


def taken_over(environ: Mapping[str, str], job: Job) -> Job:
    """The job that was told of as `job`, of which a process has `environ`."""
    with root(environ) as program:
        return resumed(told(job), [program], lambda _: None, Roots(None), 9).job


@pytest.mark.parametrize("is_vouched", [True, False])
def test_what_is_still_as_it_was_told_is_believed_as_it_was(is_vouched: bool) -> None:
    job = replace(detect(OURS), is_vouched=is_vouched)
    assert taken_over(OURS, job).who == job.who
    assert taken_over(OURS, job).repository == OURS["GITHUB_REPOSITORY"]


@pytest.mark.parametrize(
    "change",
    [
        {"GITHUB_REF_PROTECTED": "true"},
        {"GITHUB_WORKFLOW": "release"},
        {"GITLAB_CI": ""},
    ],
)
def test_what_was_rewritten_changes_nothing(change: dict[str, str]) -> None:
    """Its names are those that were told; by which project it is of, it gets nothing any more."""
    found = taken_over({**OURS, **change}, detect(OURS))
    assert (found.run_id, found.pipeline, found.is_vouched) == (OURS["GITHUB_RUN_ID"], "test", False)
    ((claim, *others), is_vouched, _, is_partial, besides) = found.who
    assert (claim[:3], others, is_vouched, is_partial, besides) == (
        (None, None, "test"),
        [],
        False,
        False,
        (),
    )


def test_who_was_known_for_nobody_stays_so() -> None:
    contradictory = {**OURS, "GITLAB_CI": ""}
    for environ in (contradictory, OURS, {}):
        assert taken_over(environ, detect(contradictory)).who.is_partial
