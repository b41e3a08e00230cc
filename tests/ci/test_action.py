"""The action on a runner: a whole job is traced, held to a policy, and told; by the real ci-egress."""

from __future__ import annotations

import errno
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.jobs.ids import GithubRun, github_job_span_id
from tests.integration.drive_command import ROOT
from tests.kernel.tracing import spans
from tests.unit.jobs.documented import environment

from . import limits
from .actions_runner import Job, Step
from .told import ALL_BUT_EVIL, EVIL, act, egress, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab
    from tests.kernel.tracing import Span

    from .conftest import User

pytestmark = [pytest.mark.integration, pytest.mark.kernel, pytest.mark.timeout(limits.TEST_S)]

RUN_ID = str(1_000_000_000 + os.getpid())
RUN = GithubRun(RUN_ID, "1")


def started(folder: Path, path: str, under: Sequence[str] = ()) -> Job:
    """A job of GitHub's documentation on a runner with ci-egress."""
    own = {"PATH": path, "GITHUB_RUN_ID": RUN_ID, "STATE_DIRECTORY": str(folder / "spool")}
    return Job(folder, {**environment("github"), **own}, under)


def of(programs: Programs, step: Step) -> list[Span]:
    """What this test's programs did, in order: all else that happens on this machine is traced with it."""
    mine = str(programs.directory / "act")
    found = egress(Path(step.outputs["otlp-dir"]))
    return [span for span in found if span.attributes.get("process.executable.path") == mine]


def just_below(span_id: int, span: Span, told: Sequence[Span]) -> Span:
    """The one above `span`, or itself, whose parent has that id."""
    by_id = {each.span_id: each for each in told}
    while span.parent_id != f"{span_id:016x}":
        span = by_id[span.parent_id]
    return span


def denied(command: str) -> str:
    """A script that repeats it until it is denied: what comes before the kernel knows a step isn't."""
    once = f"status=0; {command} || status=$?; test $status = {errno.EPERM} && exit"
    return f"for try in $(seq 1000); do {once}; sleep 0.01; done; exit 1"


def test_every_step_of_a_job_is_in_its_trace(tmp_path: Path, path: str, lab: Lab, programs: Programs) -> None:
    with started(tmp_path, path) as job:
        job.check_run_id = "4711"
        begun = job.use(ROOT)
        assert begun.status == 0, begun.output
        assert job.run(act(lab, programs), "build").status == 0
        assert job.run(act(lab, programs), "test").status == 0
        (post,) = job.finish()
    assert (post.status, post.annotations("error")) == (0, []), post.output
    trace_id = begun.outputs["trace-id"]
    assert trace_id == f"{RUN.trace_id:032x}"
    found = of(programs, begun)
    assert [(span["egress.job.step"], span.trace_id) for span in found] == [
        ("build", trace_id),
        ("test", trace_id),
    ]
    told = spans(Path(begun.outputs["otlp-dir"], "traces.jsonl"))
    assert {just_below(github_job_span_id("4711"), span, told).name for span in found} == {"build"}, (
        "the job's"
    )
    assert begun.summary == ""
    assert trace_id in text_of(post.summary)
    assert Path(begun.outputs["report"]).read_text().startswith("<!doctype html>")


@pytest.mark.alone
def test_what_the_policy_denies_is_denied_told_and_fails_the_job(
    tmp_path: Path, path: str, lab: Lab, programs: Programs
) -> None:
    with started(tmp_path, path) as job:
        (job.workspace / "policy.yaml").write_text(ALL_BUT_EVIL)
        begun = job.use(ROOT, {"mode": "enforce", "policy": "policy.yaml", "fail-on": "deny"})
        assert begun.status == 0, begun.output
        assert job.run(denied(act(lab, programs, EVIL))).status == 0
        assert job.run(act(lab, programs)).status == 0
        (post,) = job.finish()
    assert post.status == 1, post.output
    *acts, why = post.annotations("error")
    assert any(act.startswith("blocked: act ") and EVIL in act for act in acts)
    assert why.startswith("--fail-on deny: ")
    assert EVIL in text_of(post.summary)


def test_what_the_baseline_does_not_have_is_told_as_new(
    tmp_path: Path, path: str, lab: Lab, programs: Programs
) -> None:
    with started(tmp_path, path) as job:
        (job.workspace / "baseline.yaml").write_text("version: 1\nentries: []\n")
        begun = job.use(ROOT, {"baseline": "baseline.yaml", "fail-on": "novel"})
        assert begun.status == 0, begun.output
        job.run(act(lab, programs))
        stopped = job.use(ROOT / "stop", {"token": begun.outputs["token"]})
        (post,) = job.finish()
    assert [span["egress.novel"] for span in of(programs, begun)] == [True]
    assert (stopped.status, stopped.outputs["status"]) == (1, "90"), stopped.output
    assert stopped.annotations("error")[-1].startswith("--fail-on novel: ")
    assert (post.status, post.annotations("error")) == (0, [])


def test_a_policy_with_an_error_fails_the_job_before_its_steps(tmp_path: Path, path: str) -> None:
    with started(tmp_path, path) as job:
        (job.workspace / "policy.yaml").write_text("version: 1\nallow: [registry.example:99999]\n")
        begun = job.use(ROOT, {"policy": "policy.yaml"})
        (post,) = job.finish()
    assert begun.status == 1
    (error,) = begun.annotations("error")
    assert f"{job.workspace}/policy.yaml:2:9: " in error
    assert post.status == 0


def test_a_runner_whose_user_has_sudo_is_left_as_it_was(
    tmp_path: Path, installed: str, lab: Lab, programs: Programs, sudoer: User
) -> None:
    with started(tmp_path, installed, sudoer.under) as job:
        sudoer.give(tmp_path, job.workspace, job.temp)
        begun = job.use(ROOT)
        assert begun.status == 0, begun.output
        assert job.run(f"sudo -n {act(lab, programs)}", "build").status == 0
        (post,) = job.finish()
        assert post.status == 0, post.output
        assert [span["egress.job.step"] for span in of(programs, begun)] == ["build"]
        report = shlex.quote(begun.outputs["report"])
        assert job.run(f'test -r {report} && rm -r "$RUNNER_TEMP/ci-egress"').status == 0


def test_a_step_that_ends_the_tracing_fails_the_job_and_is_told(tmp_path: Path, path: str) -> None:
    with started(tmp_path, path) as job:
        begun = job.use(ROOT)
        assert begun.status == 0, begun.output
        (pid,) = re.findall(r"^pid (\d+)$", (job.temp / "ci-egress" / "record").read_text(), re.MULTILINE)
        assert job.run(f"kill {pid}; while kill -0 {pid} 2>&-; do sleep 0.05; done").status == 0
        (post,) = job.finish()
    assert post.status == 1
    assert post.annotations("error")[-1].startswith("ci-egress ended before the job did, with status 0; ")
    assert '"cicd.egress.tamper"' in Path(begun.outputs["otlp-dir"], "logs.jsonl").read_text()
