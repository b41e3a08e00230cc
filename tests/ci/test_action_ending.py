"""What the action does when the job is over, or before: what it shows, keeps, and fails for."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.checkout import ROOT
from tests.integration.command_process import is_gone
from tests.integration.receivers import serving
from tests.kernel.running_exporter import wait_for
from tests.unit.jobs.provider_environments import environment

from . import limits
from .actions_runner import Command, Job
from .stand_ins import Results

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .stand_ins import StandIn

pytestmark = [pytest.mark.integration, pytest.mark.kernel, pytest.mark.timeout(limits.TEST_S)]


def test_what_it_said_is_shown_and_none_of_it_is_a_command(job: Job, stand_in: StandIn) -> None:
    denied = {
        "level": "error",
        "message": "blocked: sh → evil.example:443\n::error::owned\r::error::owned%0A::error::owned%25",
        "event": "cicd.egress.denied",
    }
    note = {"level": "warning", "message": "::add-mask::owned ##[error]owned", "detail": "::warning::owned"}
    stand_in.says(denied, note, "no JSON ::error::owned", watch=90)
    job.use(ROOT)
    (post,) = job.finish()
    assert post.annotations("error") == [denied["message"], "what fail-on names happened"]
    shown = [command for command in post.commands if command.name not in {"group", "endgroup"}]
    assert {command.name for command in shown} == {"error"}
    assert Command("error", {"title": "ci-egress"}, denied["message"]) in shown
    assert "no JSON ::error::owned" in post.output


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (90, "what fail-on names happened"),
        (92, "telemetry was lost; the lines above say how much, and why"),
        (1, "ci-egress failed; it ended with status 1"),
    ],
)
def test_any_other_end_than_a_good_one_fails_the_job(
    status: int, says: str, job: Job, stand_in: StandIn
) -> None:
    stand_in.says(watch=status)
    job.use(ROOT)
    (post,) = job.finish()
    assert (post.status, post.annotations("error")) == (1, [says])


def test_a_flood_of_acts_leaves_room_for_the_reason(job: Job, stand_in: StandIn) -> None:
    acts = [{"level": "error", "message": f"blocked: {n}", "event": "cicd.egress.denied"} for n in range(40)]
    why = {"level": "error", "message": "--fail-on deny: 40 attempts denied, first: 0"}
    stand_in.says(*acts, why, watch=90)
    job.use(ROOT)
    (post,) = job.finish()
    assert len(post.annotations("error")) <= 10  # all that GitHub shows
    assert post.annotations("error")[-1] == why["message"]


def test_tampering_is_annotated_before_a_flood_of_acts(job: Job, stand_in: StandIn) -> None:
    acts = [{"level": "error", "message": f"blocked: {n}", "event": "cicd.egress.denied"} for n in range(40)]
    tampering = "tampering: sh > curl (7) sent SIGTERM to ci-egress\n::error::owned"
    notes = ["40 attempts denied", 1, None, {"toString": 1}, f"warning: {tampering}"]
    over = {"level": "info", "message": "job x ended", "summary": {"notes": notes}}
    hostile = [{"level": "info", "message": "x", "summary": it} for it in (None, 1, {"notes": tampering})]
    stand_in.says(*acts, *hostile, over)
    job.use(ROOT, {"summary": "false"})
    (post,) = job.finish()
    assert post.status == 0
    first, *rest = post.annotations("error")
    assert first == tampering
    assert {told.partition(" ")[0] for told in rest} == {"blocked:"}
    assert len(rest) < 10  # all that GitHub shows


def test_the_report_becomes_an_artifact_that_the_summary_links_to(job: Job) -> None:
    results = Results()
    with serving(results.server):
        job.use(ROOT, {"check-run-id": "4711"}, **results.runtime)
        (post,) = job.finish()
    (_, sent_headers, _), (blob, blob_headers, page), (_, _, finalized) = results.asked
    assert sent_headers["authorization"] == f"Bearer {results.runtime['ACTIONS_RUNTIME_TOKEN']}"
    artifact = {"workflow_run_backend_id": "run-1", "workflow_job_run_backend_id": "job-2"}
    artifact["name"] = "egress-build-4711.html"
    service = "/twirp/github.actions.results.api.v1.ArtifactService"
    assert [path for path, _, _ in results.asked[::2]] == [
        f"{service}/CreateArtifact",
        f"{service}/FinalizeArtifact",
    ]
    assert json.loads(results.asked[0][2]) == {**artifact, "mime_type": "text/html", "version": 7}
    assert (blob, blob_headers["x-ms-blob-type"]) == ("/container/blob?sig=hidden", "BlockBlob")
    assert page == b"<p>a report</p>"
    assert json.loads(finalized) == {
        **artifact,
        "size": "15",
        "hash": f"sha256:{hashlib.sha256(page).hexdigest()}",
    }
    link = "https://github.com/octocat/Hello-World/actions/runs/1234567890/artifacts/815"
    assert post.summary == f"a summary\n\n[The whole report]({link})\n"
    assert "hidden" not in post.output + post.errors


@pytest.mark.parametrize("too_many", [0, 1])
def test_a_link_for_which_a_summary_has_no_room_is_left_away(
    too_many: int, job: Job, stand_in: StandIn
) -> None:
    """Of one that is larger than that, the runner takes nothing."""
    results = Results()
    link = "https://github.com/octocat/Hello-World/actions/runs/1234567890/artifacts/815"
    linked = f"\n[The whole report]({link})\n"
    summary = "ü".ljust((1 << 20) - len(linked) + too_many - 1, ".")  # which is two bytes
    stand_in.summarises(summary)
    with serving(results.server):
        job.use(ROOT, {}, **results.runtime)
        (post,) = job.finish()
    assert post.summary == (summary if too_many else summary + linked)
    assert f"the report is {link}" in post.output


def test_a_report_that_is_not_taken_costs_the_job_nothing(job: Job) -> None:
    results = Results(refusal=403)
    with serving(results.server):
        job.use(ROOT, {}, **results.runtime)
        (post,) = job.finish()
    assert (post.status, post.summary) == (0, "a summary\n")
    assert post.annotations("warning") == ["the report was not kept as an artifact: POST was answered 403"]


def test_a_service_that_sends_elsewhere_is_not_followed(job: Job) -> None:
    elsewhere = Results()
    results = Results(moved_to=f"{elsewhere.url}/")
    with serving(results.server), serving(elsewhere.server):
        job.use(ROOT, {}, **results.runtime)
        (post,) = job.finish()
    assert (post.status, len(results.asked), elsewhere.asked) == (0, 1, [])
    assert post.annotations("warning")[0].startswith("the report was not kept as an artifact: ")


def test_a_server_of_a_company_is_asked_for_no_artifact(job: Job) -> None:
    results = Results()
    job.variables["GITHUB_SERVER_URL"] = "https://github.company.example"
    with serving(results.server):
        job.use(ROOT, {}, **results.runtime)
        (post,) = job.finish()
    assert (post.status, results.asked) == (0, [])
    assert "actions/upload-artifact" in post.output


@pytest.mark.parametrize("wants", ["true", "false"])
def test_the_summary_goes_to_the_file_of_the_last_step(wants: str, job: Job) -> None:
    assert job.use(ROOT, {"summary": wants}).summary == ""
    (post,) = job.finish()
    assert post.summary == ("a summary\n" if wants == "true" else "")


def test_no_step_can_have_it_wait(job: Job) -> None:
    job.use(ROOT)
    swapped = "for file in record log.jsonl told; do rm -f $file; mkfifo $file; done"
    assert job.run(f'cd "$RUNNER_TEMP/ci-egress"; {swapped}').status == 0
    (post,) = job.finish()
    assert post.status == 1
    assert "ended with status unknown" in post.annotations("error")[-1]


def test_an_end_before_the_jobs_fails_it(job: Job) -> None:
    job.use(ROOT)
    kept = json.loads((job.temp / "ci-egress" / "state.json").read_text())
    os.kill(kept["pid"], signal.SIGTERM)
    assert is_gone(kept["pid"])
    (post,) = job.finish()
    assert post.status == 1
    assert post.annotations("error") == [
        "ci-egress ended before the job did, with status 0; what came after that was not traced"
    ]


def test_who_ends_it_some_other_way_cannot_say_that_all_was_told(job: Job) -> None:
    job.use(ROOT)
    kept = json.loads((job.temp / "ci-egress" / "state.json").read_text())
    os.kill(kept["pid"], signal.SIGTERM)
    assert is_gone(kept["pid"])
    (job.temp / "ci-egress" / "told").touch()
    (post,) = job.finish()
    assert post.annotations("error")[0].startswith("ci-egress ended before the job did")


def test_the_token_is_in_no_file_once_the_runner_has_read_it(job: Job) -> None:
    """The runner keeps its files until the job is over, and later steps may read them."""
    begun = job.use(ROOT)
    secret, token = begun.outputs["token"], job.posts[-1].state["token"]
    folder = job.temp.parent
    wait_for(lambda: not _with(token, folder) and not _with(secret, folder))
    (post,) = job.finish()
    assert (post.status, post.summary) == (0, "a summary\n")


def _with(text: str, folder: Path) -> list[Path]:
    """The files that have it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if text.encode() in path.read_bytes()]


def test_a_start_that_is_cancelled_is_ended_with_the_job(job: Job, stand_in: StandIn) -> None:
    (stand_in.path.parent / "cancels").touch()
    assert job.use(ROOT).status == -signal.SIGKILL
    (post,) = job.finish()
    assert (post.status, post.annotations("error")) == (0, [])
    assert "what had been started is ended" in post.output
    record = (job.temp / "ci-egress" / "record").read_text().split()
    assert record[::2] == ["pid", "status"]
    assert is_gone(int(record[1]))


def test_a_start_whose_runner_is_gone_is_ended(tmp_path: Path, stand_in: StandIn) -> None:
    (stand_in.path.parent / "abandons").touch()
    path = f"{stand_in.path.parent}:{os.environ.get('PATH', os.defpath)}"
    runner = ("bash", "-c", '"$@" & wait', "runner")  # dash drops the variables of inputs
    (tmp_path / "job").mkdir()
    with Job(tmp_path / "job", {**environment("github"), "PATH": path}, runner) as job:
        begun = job.use(ROOT)
        assert begun.status == -signal.SIGKILL
        assert begun.annotations("error") == ["the runner of this job is gone; its own log may say why"]
        record = (job.temp / "ci-egress" / "record").read_text().split()
        assert record[::2] == ["pid", "status"]
        assert is_gone(int(record[1]))


def test_a_job_whose_runner_kept_nothing_for_the_last_step_is_ended_and_fails(job: Job) -> None:
    """As where something read the runner's file before the runner did: then it is empty."""
    job.use(ROOT)
    kept = json.loads((job.temp / "ci-egress" / "state.json").read_text())
    job.posts[-1].state.clear()
    (post,) = job.finish()
    assert post.status == 1
    assert post.annotations("error")[0].startswith("what the runner kept for this step is gone, ")
    assert is_gone(kept["pid"])


def test_another_process_of_the_same_pid_is_left_alone(job: Job) -> None:
    job.use(ROOT)
    kept = json.loads((job.temp / "ci-egress" / "state.json").read_text())
    post = job.posts[-1]
    mine = {"pid": os.getpid(), "started": "1", "hasSummary": False}
    post.state["watch"] = json.dumps(mine)
    try:
        (ended,) = job.finish()
    finally:
        os.kill(kept["pid"], signal.SIGTERM)
    assert ended.annotations("error")[0].startswith("ci-egress ended before the job did")
    record = job.temp / "ci-egress" / "record"
    wait_for(lambda: "status" in record.read_text())


@contextmanager
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of root's that has nothing to do with the job."""
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process
            assert process.poll() is None
        finally:
            process.kill()


def test_no_step_chooses_which_process_the_action_stop_ends(job: Job) -> None:
    """The file that names the process is the steps' own; the signal is root's."""
    begun = job.use(ROOT)
    file = job.temp / "ci-egress" / "state.json"
    with bystander() as other:
        started = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
        file.write_text(json.dumps({**json.loads(file.read_text()), "pid": other.pid, "started": started}))
        stopped = job.use(ROOT / "stop", {"token": begun.outputs["token"]})
        assert stopped.status == 1
        assert stopped.annotations("error")[0].startswith(f"process {other.pid} doesn't trace this job, ")
    (post,) = job.finish()
    assert (post.status, post.summary) == (0, "a summary\n")


def test_no_step_chooses_which_process_the_last_step_ends(job: Job) -> None:
    """Where the runner kept nothing for that step, it has to ask a file of the steps'."""
    job.use(ROOT)
    kept = json.loads((job.temp / "ci-egress" / "state.json").read_text())
    job.posts[-1].state.clear()
    with bystander() as other:
        (job.temp / "ci-egress" / "record").write_text(f"pid {other.pid}\n")
        (post,) = job.finish()
    assert post.status == 1
    assert post.annotations("error")[0].startswith(f"process {other.pid} doesn't trace this job, ")
    os.kill(kept["pid"], signal.SIGTERM)
    assert is_gone(kept["pid"])


def test_an_image_without_a_program_kill_is_enough(job: Job, stand_in: StandIn, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("env", "python3", "true"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    job.variables["PATH"] = f"{stand_in.path.parent}:{programs}"
    begun = job.use(ROOT)
    assert begun.status == 0, begun.output
    (post,) = job.finish()
    assert (post.status, post.annotations("error")) == (0, [])


@pytest.mark.parametrize("prepared", ["", "null", "[]", '{"pid": "-1", "started": ""}', '{"pid": 1}'])
def test_the_action_stop_ends_nothing_that_it_does_not_know(prepared: str, job: Job) -> None:
    folder = job.temp / "ci-egress"
    folder.mkdir()
    (folder / "state.json").write_text(prepared)
    stopped = job.use(ROOT / "stop")
    assert stopped.status == 1
    assert stopped.annotations("error")[0].startswith("nothing traces this job; ")


def test_the_action_stop_ends_it_early_and_post_has_nothing_left_to_do(job: Job, stand_in: StandIn) -> None:
    stand_in.says({"level": "error", "message": "--fail-on novel: 1 attempt"}, watch=90)
    begun = job.use(ROOT)
    stopped = job.use(ROOT / "stop", {"token": begun.outputs["token"]})
    folder = job.temp / "ci-egress"
    assert stopped.status == 1
    assert stopped.outputs == {
        "status": "90",
        "report": f"{folder}/report.html",
        "otlp-dir": f"{folder}/otlp",
    }
    assert stopped.summary == "a summary\n"
    assert [asked.name for asked in (folder / "end").iterdir()] == [begun.outputs["token"]]
    (post,) = job.finish()
    assert (post.status, post.summary, post.annotations("error")) == (0, "", [])


def test_the_last_step_says_that_the_job_is_over(job: Job) -> None:
    """By the token, which a process of the job may see. To have the job go on takes the secret behind it."""
    begun = job.use(ROOT)
    job.finish()
    ends = job.temp / "ci-egress" / "end"
    token = hashlib.sha256(begun.outputs["token"].encode()).hexdigest()
    assert [asked.name for asked in ends.iterdir()] == [token]


@pytest.mark.parametrize("token", ["", "../" * 21 + "x"])
def test_the_action_stop_ends_nothing_without_the_token(token: str, job: Job) -> None:
    job.use(ROOT)
    stopped = job.use(ROOT / "stop", {"token": token})
    assert stopped.status == 1
    assert stopped.annotations("error")[0].startswith("token is missing, so this step may not end ")
    (post,) = job.finish()
    assert (post.status, post.summary) == (0, "a summary\n")


def test_where_a_step_is_in_the_way_of_the_token_a_signal_ends_it(job: Job) -> None:
    job.use(ROOT)
    assert job.run('rm -r "$RUNNER_TEMP/ci-egress/end"').status == 0
    (post,) = job.finish()
    assert (post.status, post.summary) == (0, "a summary\n")


def test_the_action_stop_alone_says_what_is_missing(job: Job) -> None:
    stopped = job.use(ROOT / "stop")
    assert stopped.status == 1
    assert stopped.annotations("error") == [
        "nothing traces this job; use the ci-egress action in an earlier step"
    ]
