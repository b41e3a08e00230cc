"""What the action makes of its inputs and of what it is told, hostile ones included."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporter.cli.watch import command as watch_command
from tests.integration.drive_command import ROOT, is_gone
from tests.integration.receivers import serving
from tests.kernel.attached import wait_for
from tests.unit.jobs.documented import environment

from .actions_runner import Command, Job

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.kernel]

HOSTILE = (
    "--enforce",
    "-v",
    "'; touch owned; '",
    '"$(touch owned)"',
    "`touch owned`",
    "::error::owned",
    "##[add-mask]owned",
    "%0A::error::owned",
)
INPUTS_OF_ANY_TEXT = ("policy", "baseline", "fail-on", "trace-url", "allowed-endpoints", "check-run-id")


class StandIn:
    """A `ci-egress` that keeps what it is given."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.path = folder / "ci-egress"
        shutil.copy(Path(__file__).with_name("stand_in.py"), self.path)
        self.path.chmod(0o755)
        self.says()

    def says(self, *words: object, watch: int = 0, doctor: int = 0) -> None:
        """What it says when it is ended, and how it ends."""
        lines = (word if isinstance(word, str) else json.dumps(word) for word in words)
        (self.path.parent / "words").write_text("".join(f"{line}\n" for line in lines))
        (self.path.parent / "watch.status").write_text(str(watch))
        (self.path.parent / "doctor.status").write_text(str(doctor))

    @property
    def given(self) -> Any:
        """`argv` and `env` of `watch`; None before it was started."""
        path = self.path.parent / "given.json"
        return json.loads(path.read_text()) if path.exists() else None


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "bin")


@pytest.fixture
def job(tmp_path: Path, stand_in: StandIn) -> Iterator[Job]:
    """One of GitHub's documentation, on a runner with the stand-in on PATH."""
    path = f"{stand_in.path.parent}:{os.environ.get('PATH', os.defpath)}"
    with Job(tmp_path, {**environment("github"), "PATH": path}) as job:
        yield job


def test_without_inputs_it_traces_the_machine_and_writes_files_only(job: Job, stand_in: StandIn) -> None:
    assert job.use(ROOT).status == 0
    folder = job.temp / "ci-egress"
    assert stand_in.given["argv"] == [
        *("--host", "--json-log", f"--otlp-dir={folder}/otlp"),
        *(f"--report={folder}/report.html", f"--summary={folder}/summary.md"),
    ]


def test_each_input_becomes_an_option(job: Job, stand_in: StandIn) -> None:
    inputs = {
        "mode": "enforce",
        "policy": "ci/policy.yaml",
        "allowed-endpoints": "registry.example:443\n  *.wheels.example:443\n",
        "baseline": "/etc/ci-egress/baseline.yaml",
        "fail-on": "novel,deny",
        "trace-url": "https://jaeger.example/trace/{trace_id}",
        "otlp-endpoint": "https://collector.example:4318",
        "check-run-id": "4711",
    }
    assert job.use(ROOT, inputs, OTEL_EXPORTER_OTLP_HEADERS="authorization=hidden").status == 0
    assert stand_in.given["argv"][5:] == [
        f"--policy={job.workspace}/ci/policy.yaml",
        "--allowed-endpoints=registry.example:443 *.wheels.example:443",
        "--enforce",
        "--host-enforce",
        "--baseline=/etc/ci-egress/baseline.yaml",
        "--fail-on=novel,deny",
        "--trace-url=https://jaeger.example/trace/{trace_id}",
    ]
    env = stand_in.given["env"]
    assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://collector.example:4318"
    assert env["OTEL_EXPORTER_OTLP_HEADERS"] == "authorization=hidden"
    assert env["CI_EGRESS_CHECK_RUN_ID"] == "4711"


def test_its_options_are_those_of_watch(job: Job, stand_in: StandIn) -> None:
    every = dict.fromkeys(INPUTS_OF_ANY_TEXT, "x")
    job.use(ROOT, {**every, "mode": "enforce"})
    known = {option for parameter in watch_command.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in stand_in.given["argv"]} <= known


def test_watch_gets_what_names_the_job_and_no_token(job: Job, stand_in: StandIn) -> None:
    job.use(ROOT, LD_PRELOAD="/nowhere.so", PYTHONPATH="/nowhere", OTHER="hidden")
    env = stand_in.given["env"]
    named = {name: value for name, value in env.items() if name.startswith(("GITHUB_", "RUNNER_"))}
    of_a_step = {
        "GITHUB_TOKEN",
        *(f"GITHUB_{it}" for it in ("ENV", "OUTPUT", "PATH", "STATE", "STEP_SUMMARY")),
    }
    documented = {name for name in job.variables if name.startswith(("GITHUB_", "RUNNER_"))}
    assert named.keys() == documented - of_a_step
    assert not {"LD_PRELOAD", "PYTHONPATH", "OTHER", *of_a_step} & env.keys()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_value_is_never_an_option_a_shell_word_or_a_command(text: str, job: Job, stand_in: StandIn) -> None:
    step = job.use(ROOT, dict.fromkeys(INPUTS_OF_ANY_TEXT, text) | {"ci-egress": str(stand_in.path)})
    assert step.status == 0
    argv = stand_in.given["argv"]
    assert {word.partition("=")[0] for word in argv} <= {
        *("--host", "--json-log", "--otlp-dir", "--report", "--summary"),
        *("--policy", "--allowed-endpoints", "--host-enforce", "--baseline", "--fail-on", "--trace-url"),
    }
    assert f"--fail-on={text}" in argv
    assert not list(job.workspace.iterdir())
    assert step.annotations("error") == []
    assert [command.name for command in step.commands if command.name == "add-mask"] == []


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"mode": "block"}, "mode is none of trace, audit and enforce"),
        ({"mode": "trace", "policy": "p"}, "mode is trace, and a policy is given; write `mode: audit`"),
        ({"mode": "audit"}, "mode is audit, and no policy is given; add `policy: FILE`"),
        ({"mode": "enforce"}, "mode is enforce, and no policy is given"),
        ({"summary": "maybe"}, "summary is neither true nor false"),
        ({"ci-egress": "/nowhere/ci-egress"}, "/nowhere/ci-egress is no program"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(
    inputs: dict[str, str], says: str, job: Job, stand_in: StandIn
) -> None:
    step = job.use(ROOT, inputs)
    assert step.status == 1
    (error,) = step.annotations("error")
    assert says in error
    assert stand_in.given is None
    (post,) = job.finish()
    assert (post.status, post.annotations("error")) == (0, [])


def test_a_runner_that_cannot_trace_fails_the_job_at_once(job: Job, stand_in: StandIn) -> None:
    stand_in.says(doctor=91)
    step = job.use(ROOT)
    assert step.status == 1
    (error,) = step.annotations("error")
    assert error.startswith("ci-egress can't trace on this runner; ")
    assert stand_in.given is None


def test_a_job_is_traced_once(job: Job) -> None:
    assert job.use(ROOT).status == 0
    again = job.use(ROOT)
    assert again.status == 1
    assert again.annotations("error")[0].startswith("this job has begun to be traced already; ")
    assert [post.status for post in job.finish()] == [0, 0]


def test_what_it_said_is_shown_and_none_of_it_is_a_command(job: Job, stand_in: StandIn) -> None:
    denied = {
        "level": "error",
        "message": "blocked: sh → evil.example:443\n::error::owned",
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


def test_a_flood_of_acts_leaves_room_for_the_reason(job: Job, stand_in: StandIn) -> None:
    acts = [{"level": "error", "message": f"blocked: {n}", "event": "cicd.egress.denied"} for n in range(40)]
    why = {"level": "error", "message": "--fail-on deny: 40 attempts denied, first: 0"}
    stand_in.says(*acts, why, watch=90)
    job.use(ROOT)
    (post,) = job.finish()
    assert len(post.annotations("error")) <= 10  # all that GitHub shows
    assert post.annotations("error")[-1] == why["message"]


class Results:
    """GitHub's service for artifacts, and the storage behind it."""

    def __init__(self, refusal: int = 0) -> None:
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        results = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._take()
                link = f"{results.url}/container/blob?sig=hidden"
                self._answer(refusal or 200, {"ok": True, "signed_upload_url": link, "artifact_id": "815"})

            def do_PUT(self) -> None:
                self._take()
                self._answer(201, {})

            def _take(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                results.asked.append((self.path, headers, self.rfile.read(int(headers["content-length"]))))

            def _answer(self, status: int, message: dict[str, object]) -> None:
                body = json.dumps(message).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def runtime(self) -> dict[str, str]:
        """What the runner gives an action so that it can use them."""
        claims = {"scp": "Actions.Example Actions.Results:run-1:job-2"}
        middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return {"ACTIONS_RESULTS_URL": f"{self.url}/", "ACTIONS_RUNTIME_TOKEN": f"head.{middle}.hidden"}


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
    assert "hidden" not in post.output


def test_a_report_that_is_not_taken_costs_the_job_nothing(job: Job) -> None:
    results = Results(refusal=403)
    with serving(results.server):
        job.use(ROOT, {}, **results.runtime)
        (post,) = job.finish()
    assert (post.status, post.summary) == (0, "a summary\n")
    assert post.annotations("warning") == ["the report was not kept as an artifact: POST was answered 403"]


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


def test_a_start_that_is_cancelled_is_ended_with_the_job(job: Job, stand_in: StandIn) -> None:
    (stand_in.path.parent / "cancels").touch()
    assert job.use(ROOT).status == -signal.SIGKILL
    (post,) = job.finish()
    assert (post.status, post.annotations("error")) == (0, [])
    assert "what had been started is ended" in post.output
    record = (job.temp / "ci-egress" / "record").read_text().split()
    assert record[::2] == ["pid", "status"]
    assert is_gone(int(record[1]))


def test_another_process_of_the_same_pid_is_left_alone(job: Job) -> None:
    job.use(ROOT)
    kept = json.loads((job.temp / "ci-egress" / "state.json").read_text())
    post = job.posts[-1]
    mine = {"pid": os.getpid(), "started": "1", "hasSummary": False}
    post.state["watch"] = json.dumps(mine)
    assert job.finish()[0].annotations("error")[0].startswith("ci-egress ended before the job did")
    os.kill(kept["pid"], signal.SIGTERM)
    record = job.temp / "ci-egress" / "record"
    wait_for(lambda: "status" in record.read_text())


def test_the_action_stop_ends_it_early_and_post_has_nothing_left_to_do(job: Job, stand_in: StandIn) -> None:
    stand_in.says({"level": "error", "message": "--fail-on novel: 1 attempt"}, watch=90)
    job.use(ROOT)
    stopped = job.use(ROOT / "stop")
    folder = job.temp / "ci-egress"
    assert stopped.status == 1
    assert stopped.outputs == {
        "status": "90",
        "report": f"{folder}/report.html",
        "otlp-dir": f"{folder}/otlp",
    }
    assert stopped.summary == "a summary\n"
    (post,) = job.finish()
    assert (post.status, post.summary, post.annotations("error")) == (0, "", [])


def test_the_action_stop_alone_says_what_is_missing(job: Job) -> None:
    stopped = job.use(ROOT / "stop")
    assert stopped.status == 1
    assert stopped.annotations("error") == [
        "nothing traces this job; use the ci-egress action in an earlier step"
    ]


def test_where_none_is_installed_the_actions_own_is_set_up(tmp_path: Path, stand_in: StandIn) -> None:
    checkout = tmp_path / "action of somebody"
    for name in ("action", "action.yml", "stop"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, checkout / name)
    setup = checkout / "tools" / "setup.sh"
    setup.parent.mkdir()
    setup.write_text(
        f'#!/bin/sh\ncd "${{0%/*}}/.."\necho "$@" >>asked\n'
        f'[ "$1" = --system-only ] || {{ mkdir -p .venv/bin; ln -s {stand_in.path} .venv/bin/; }}\n'
    )
    setup.chmod(0o755)
    with Job(_made(tmp_path / "job"), {**environment("github"), "PATH": "/usr/bin:/bin"}) as job:
        begun = job.use(checkout)
    assert begun.status == 0, begun.output
    assert (checkout / "asked").read_text().splitlines() == ["--system-only", "--no-system"]
    assert begun.outputs["ci-egress"] == str(checkout / ".venv" / "bin" / "ci-egress")
    assert job.ended[0].status == 0


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
