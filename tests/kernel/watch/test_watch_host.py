"""`watch --host`: the whole machine belongs to the one job that the watch's own environment names."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporter.jobs.detect import detect
from tests.checkout import ROOT
from tests.kernel.baselines import baseline
from tests.kernel.containers import container
from tests.kernel.host_watches import ALL_BUT_THAT, DENIED, FILE, fails_with
from tests.kernel.lab import PORT, V4
from tests.kernel.policy_runs import policy
from tests.kernel.running_exporter import in_session, nothing_left, wait_for
from tests.kernel.tracing import environment, spans
from tests.kernel.watching import Runner, Watched, watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab
    from tests.kernel.tracing import Span

pytestmark = pytest.mark.kernel

PATH = {"PATH": os.environ.get("PATH", os.defpath)}
"""Strangers go on meanwhile."""


@pytest.fixture
def blocked(lab: Lab, programs: Programs) -> list[str]:
    """A command that connects to what the policy denies, and where there is no way to."""
    return [str(part) for part in lab.command(programs.act("connect", DENIED, PORT))]


def step(name: str, run: str = "") -> dict[str, str]:
    """The variables of a step of a job of GitHub's."""
    run = run or f"host-{os.getpid()}"
    ids = {"GITHUB_RUN_ID": run, "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "build", "RUNNER_NAME": "hosted-7"}
    return {**PATH, "GITHUB_ACTIONS": "true", **ids, "GITHUB_WORKFLOW": "ci", "GITHUB_ACTION": name}


def denied_soon(command: list[str]) -> list[str]:
    """A step that repeats it until it is denied: what comes before the kernel knows the step isn't."""
    again = f"{shlex.join(command)}; test $? = {errno.EPERM} && exit; sleep 0.01"
    return ["sh", "-c", f"for try in $(seq 5000); do {again}; done; exit 1"]


def of(seen: Watched, program: list[str], address: str = V4.peer) -> list[Span]:
    """What a program of this test did to an address, in order: strangers have copies of their own.

    They may also have looked up a name that has the address, which then names it for all of the machine.
    """
    path = next(part for part in program if part.endswith("/act"))
    mine = (span for span in seen.spans if path in str(span.attributes.get("process.command_line")))
    acts = (span for span in mine if span.attributes.get("network.peer.address") == address)
    return sorted(acts, key=lambda span: span.started_ns)


def remarks(seen: Watched) -> list[str]:
    """What the job's summary says beside its table."""
    (ended,) = (line for line in seen.said if " ended: " in line["message"])
    return list(ended["summary"]["notes"])


def test_all_that_happens_on_the_machine_is_the_jobs(runner: Runner, act: list[str], tmp_path: Path) -> None:
    stay = "until test -e over; do sleep 0.01; done"
    before = ["sh", "-c", f"cd {tmp_path}; until test -e go; do sleep 0.01; done; {shlex.join(act)}; {stay}"]
    runner.start((step("checkout"), before))  # in the middle of the job
    with watching(tmp_path, "--host", env=step("egress")) as watch:
        (tmp_path / "go").touch()
        runner.run((step("__run"), ["sh", "-c", f"{shlex.join(act)}; {shlex.join(act)}"]))
        runner.run((PATH, act))
        runner.run((step("of-another", run="another"), act))
        watch.wait_for(lambda: len(of(watch.so_far(), act)) == 5)
        seen = watch.stop()
        (tmp_path / "over").touch()
    told = [(one.attributes.get("egress.job.step"), one["egress.attribution"]) for one in of(seen, act)]
    assert sorted(told, key=str) == [
        ("__run", "lineage"),
        ("__run", "lineage"),
        ("checkout", "lineage"),
        ("of-another", "lineage"),
        (None, "host"),
    ]
    (job,) = (span for span in seen.spans if "process.pid" not in span.attributes)
    ids = detect(step("egress")).ids
    assert (job.trace_id, job.span_id) == (f"{ids.trace_id:032x}", f"{ids.job_span_id:016x}")
    assert {span.trace_id for span in seen.spans} == {job.trace_id}
    assert {span.resource["cicd.worker.name"] for span in seen.spans} == {"hosted-7"}
    assert job.name == "build"
    assert seen.status == 0


MAIN = """
import subprocess, sys, time
from pathlib import Path
session, pid_file, log, *command = sys.argv[1:]
shell = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=open(log, "wb"), start_new_session=True)
Path(session).write_text(str(shell.pid))
while not Path(pid_file).exists():
    time.sleep(0.01)
"""
"""What a CI system's integration starts it with, in a first step."""
POST = 'cd {folder}; kill "$(cat pid)"; while test -e pid; do sleep 0.01; done'
"""And ends it with, in the last one."""


@pytest.mark.alone  # others' steps may leave something behind
@pytest.mark.parametrize("in_front", [["sudo", "-E"], []], ids=["sudo", "root"])
def test_a_first_step_starts_it_and_the_last_one_ends_it(
    runner: Runner, blocked: list[str], act: list[str], tmp_path: Path, in_front: list[str]
) -> None:
    status = tmp_path / "status"
    shell = ["sh", "-c", '"$@"; echo $? > "$0"', str(status)]
    watch = [*shell, *in_front, sys.executable, "-m", "exporter", "watch", "--host", "--json-log"]
    options = ["--pid-file", str(tmp_path / "pid"), "--otlp-dir", str(tmp_path / "otlp")]
    held = ["--policy", policy(tmp_path, ALL_BUT_THAT)]
    mine = environment({**step("egress"), "STATE_DIRECTORY": str(tmp_path / "state")})
    files = [str(tmp_path / name) for name in ("session", "pid", "log")]
    main = [sys.executable, "-c", MAIN, *files, *watch]
    with nothing_left(), ended(tmp_path / "session"):
        runner.run((mine, ["sh", "-c", f"cd {ROOT}; {shlex.join([*main, *options, *held])}"]))
        assert int((tmp_path / "pid").read_text()) > 1
        runner.run((step("__run"), act), (step("__run_2"), denied_soon(blocked)))
        with Runner() as machine:  # no agent: its own are never denied
            machine.run((PATH, fails_with(errno.ENETUNREACH, blocked)))
        runner.run((step("__post_egress"), ["sh", "-c", POST.format(folder=tmp_path)]))
        wait_for(lambda: status.exists() and bool(status.read_text()))
    seen = Watched(0, read_log(tmp_path / "log"), spans(tmp_path / "otlp/traces.jsonl"), {})
    assert status.read_text() == "0\n"
    assert [one["egress.job.step"] for one in of(seen, act)] == ["__run"]
    (denied,) = (one for one in of(seen, blocked, DENIED) if one.is_error)
    assert denied["egress.job.step"] == "__run_2"
    assert not [line for line in remarks(seen) if "left behind" in line]
    assert seen.account.endswith("+ dropped 0 + pending 0")


@contextmanager
def ended(session: Path) -> Iterator[None]:
    """After the block it doesn't run any more, whatever failed, and however far it had come."""
    try:
        yield
    finally:
        if session.exists():
            number = int(session.read_text())
            for pid in in_session(number):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            wait_for(lambda: in_session(number) == [])


def read_log(path: Path) -> list[dict[str, Any]]:
    """What was said, a line each."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.alone  # of what steps left behind, the first ten are said
def test_what_its_step_left_behind_is_said(runner: Runner, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "end")
    leave = f"cd {tmp_path}; (read -r _ <end) & :"  # one process, which makes no others
    going_on = f"cd {tmp_path}; touch goes-on; until test -e over; do sleep 0.02; done"
    with watching(tmp_path, "--host", env=step("egress")) as watch:
        runner.run((step("__run"), ["sh", "-c", leave]))
        runner.start((step("__run_2"), ["sh", "-c", going_on]))
        wait_for((tmp_path / "goes-on").exists)
        seen = watch.stop()
        (tmp_path / "over").touch()
        (tmp_path / "end").write_text("\n")
    mine = [line for line in remarks(seen) if str(tmp_path) in line]
    assert len(mine) == 1
    assert "goes-on" not in mine[0]


def test_containers_are_held_to_the_jobs_policy_if_asked_for(
    runner: Runner, lab: Lab, programs: Programs, blocked: list[str], tmp_path: Path
) -> None:
    sections = 'version: 1\nmode: audit\nallow: ["any://0.0.0.0/0", "any://[::/0]"]\njobs:\n  "ci/build":\n'
    file = tmp_path / "policy.yaml"
    file.write_text(f'{sections}    mode: enforce\n    deny: ["{DENIED}"]\n')
    inside = fails_with(errno.EPERM, [str(part) for part in programs.act("connect", DENIED, PORT)])
    options = ["--host", "--policy", str(file), "--host-enforce"]
    bundle, shown = tmp_path / "bundle", [programs.directory]
    with (
        container(inside, bundle, network=lab.build.path, shown=shown) as made,
        watching(tmp_path, *options, env=step("egress")) as watch,
    ):
        runner.run((PATH, made.command))
        runner.run((PATH, fails_with(errno.ENETUNREACH, blocked)))
        seen = watch.stop()
    path = str(programs.directory)
    mine = [one for one in seen.spans if path in str(one.attributes.get("process.executable.path"))]
    denied = [one for one in mine if one.attributes.get("network.peer.address") == DENIED]
    told = {(one["egress.attribution"], one["egress.verdict"]) for one in denied}
    assert told == {("container", "deny"), ("host", "allow")}


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--fail-on", "audit,deny", "--enforce"], 90, "--fail-on deny: 1 attempt denied, first: in job "),
        (["--fail-on", "audit"], 90, "--fail-on audit: 1 attempt would be denied, first: in job "),
        (["--fail-on", "deny"], 0, "--fail-on deny: the policy isn't enforced, so nothing is denied; "),
        (["--enforce"], 0, "job build of ci ended: "),
    ],
    ids=["denied", "would-be-denied", "in-vain", "not-asked"],
)
def test_what_was_denied_is_a_failure_if_asked_for(
    runner: Runner, blocked: list[str], tmp_path: Path, options: list[str], status: int, said: str
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(FILE.replace("enforce", "audit"))
    command = denied_soon(blocked) if "--enforce" in options else fails_with(errno.ENETUNREACH, blocked)
    with watching(tmp_path, "--host", "--policy", str(file), *options, env=step("egress")) as watch:
        runner.run((step("__run"), command))
        seen = watch.stop()
    assert seen.status == status, seen.said
    assert any(said in line["message"] for line in seen.said)


def test_without_host_what_any_job_does_that_is_new_is_a_failure(
    runner: Runner, act: list[str], tmp_path: Path
) -> None:
    known = baseline(tmp_path / "baseline.yaml")
    options = ["--baseline", known, "--fail-on", "novel"]
    with watching(tmp_path, *options) as watch:
        runner.run((step("__run"), act))
        seen = watch.stop()
    assert seen.status == 90
    (line,) = (line["message"] for line in seen.said if line["message"].startswith("--fail-on"))
    assert " to what the baseline doesn't have, first: in job " in line


def test_what_no_job_does_is_no_failure(runner: Runner, blocked: list[str], tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(FILE)
    with watching(tmp_path, "--policy", str(file), "--fail-on", "deny") as watch:
        runner.run((PATH, fails_with(errno.ENETUNREACH, blocked)))
        seen = watch.stop()
    assert seen.status == 0, seen.said


@pytest.mark.parametrize(
    ("options", "env", "said"),
    [
        (["--host"], {}, "--host: the environment names no CI job"),
        (["--host", "--job-env", "BUILD"], {}, "--job-env BUILD: this variable is not set"),
        (["--host", "--adopt"], step("egress"), "--adopt and --host are both given"),
        (["--fail-on", "novel"], {}, "--fail-on novel needs a baseline"),
        (["--fail-on", "audit"], {}, "--fail-on audit needs a policy"),
        (["--pid-file", "/nowhere/at/all"], {}, "cannot write /nowhere/at/all: No such file or directory"),
        (["--agent", "user:root"], {}, "--agent user:root: all that the host does is root's"),
    ],
    ids=["no-job", "no-variable", "adopt", "no-baseline", "no-policy", "no-folder", "no-agent"],
)
def test_what_it_cannot_do_is_said_before_anything_is_loaded(
    tmp_path: Path, options: list[str], env: dict[str, str], said: str
) -> None:
    with nothing_left():
        done = subprocess.run(
            [sys.executable, "-m", "exporter", "watch", "--otlp-dir", str(tmp_path), *options],
            capture_output=True,
            text=True,
            env=environment(env),
            cwd=ROOT,
            check=False,
        )
    assert done.returncode == 2
    assert said in done.stderr
    assert "\n  " in done.stderr or "; " in done.stderr  # how to go on


def test_it_reads_policy_and_baseline_again(runner: Runner, blocked: list[str], tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(FILE.replace("enforce", "audit"))
    known = baseline(tmp_path / "baseline.yaml")
    options = ["--host", "--host-enforce", "--policy", str(file), "--baseline", known]
    with watching(tmp_path, *options, env=step("egress")) as watch:
        runner.run((step("__run"), fails_with(errno.ENETUNREACH, blocked)))
        file.write_text(FILE)
        watch.process.send_signal(signal.SIGHUP)
        watch.wait_until_said("read the policy again, 1 job goes by it")
        watch.wait_until_said("read the baseline again, 1 job goes by it")
        runner.run((step("__run"), denied_soon(blocked)))
        seen = watch.stop()
    assert seen.status == 0
