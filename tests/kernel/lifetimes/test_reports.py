"""`--report` and `--summary` of real runs and watches: what they hold, whose they are, what goes wrong."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.lab import PORT, V4, Lab
from tests.kernel.running_exporter import running, target_of
from tests.kernel.tracing import RUN_LIMIT_S, Trace, copy_of_the_program, environment, logs, trace
from tests.kernel.watching import Runner, watching
from tests.launch import ci_egress, plain
from tests.unit.watched_host import gitlab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

NOBODY = pwd.getpwnam("nobody")
UNDER_SUDO = {"SUDO_UID": str(NOBODY.pw_uid), "SUDO_GID": str(NOBODY.pw_gid), "SUDO_USER": "nobody"}
CONNECT = "exec 3<>/dev/tcp/127.0.0.1/9"
"""In bash; nobody listens there."""
TRACE_URL = "https://traces.example/{trace_id}"


@pytest.fixture
def workspace() -> Iterator[Path]:
    """A folder that belongs to somebody else, as a runner's does."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    shutil.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def private() -> Iterator[Path]:
    """A folder of root's alone, on the same file system."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder)


def test_what_a_job_puts_in_the_programs_place_is_not_run(tmp_path: Path) -> None:
    """As it may where that belongs to its user: an action's checkout, a virtual environment."""
    copy, owned, page = tmp_path / "copy", tmp_path / "owned", tmp_path / "report.html"
    spoiled = shlex.quote(f"import pathlib; pathlib.Path({str(owned)!r}).touch()")
    script = f'find {copy} -type f | while read -r file; do echo {spoiled} > "$file"; done'
    written = ("--report", str(page), "--summary", str(tmp_path / "summary.md"))
    env, command = copy_of_the_program(copy), ["sh", "-c", script]
    seen = trace(None, command, tmp_path / "otlp", *written, env=env, cwd=tmp_path)
    assert (seen.status, seen.stdout) == (0, "")
    assert not owned.exists()
    assert page.read_text().startswith("<!doctype html>")
    assert "import pathlib" not in page.read_text().partition("</head>")[0]
    assert (tmp_path / "summary.md").read_text()


def run_as_nobody(script: str, folder: Path, *options: str, **env: str) -> Trace:
    """A step under sudo, whose COMMAND is `script`."""
    command = ["bash", "-c", f"{script}; exit 3"]
    own = {"STATE_DIRECTORY": str(folder / "state"), **UNDER_SUDO, **env}
    return trace(None, command, folder / "otlp", *options, env=own, cwd=Path("/"))


def test_a_run_leaves_a_page_and_a_step_s_summary(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    page, step = tmp_path / "report.html", tmp_path / "step_summary"
    step.write_text("# Written before\n")
    done = trace(
        lab,
        programs.act("connect", V4.peer, PORT),
        tmp_path / "otlp",
        *("--report", str(page), "--trace-url", TRACE_URL, "--record", str(tmp_path / "rec")),
        env={"GITHUB_STEP_SUMMARY": str(step)},
    )
    assert done.status == 0, done.stderr
    (egress,) = done.egress
    html = page.read_text()
    assert V4.peer in html
    assert egress.span_id
    assert "traces.example" in html
    appended = step.read_text()
    assert appended.startswith("# Written before\n")
    assert f'href="{TRACE_URL.replace("{trace_id}", egress.trace_id)}"' in appended
    assert V4.peer in appended
    assert "1 attempt, 1 accounted for." in appended
    assert done.account == "attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0"
    assert {each.name for each in tmp_path.iterdir()} == {"otlp", "rec", "report.html", "step_summary"}
    options = ["--otlp-dir", "again", "--report", "again.html", "--summary", "again.md"]
    replayed = ci_egress("replay", *options, "--trace-url", TRACE_URL, "rec", cwd=tmp_path)
    assert replayed.status == 0
    # A recording has no COMMAND.
    known = appended.removeprefix("# Written before\n").replace("nsenter", "run")
    assert (tmp_path / "again.md").read_text() == known
    assert V4.peer in (tmp_path / "again.html").read_text()


def test_under_sudo_they_are_the_caller_s_but_in_a_folder_of_root_s_alone(
    workspace: Path, private: Path
) -> None:
    page, step = private / "report.html", workspace / "step_summary"
    done = run_as_nobody(CONNECT, private, "--report", str(page), GITHUB_STEP_SUMMARY=str(step))
    assert done.status == 3, done.stderr
    assert [(path.stat().st_uid, path.stat().st_gid) for path in (step, page)] == [
        (NOBODY.pw_uid, NOBODY.pw_gid),
        (0, 0),
    ]
    assert "127.0.0.1" in page.read_text()
    assert "127.0.0.1" in step.read_text()


@pytest.mark.parametrize(
    "prepared",
    ['ln -s "$1" "$2"; ln -s "$1" "$3"', 'mkfifo "$2" "$3"'],
    ids=["links", "fifos"],
)
def test_a_job_cannot_have_root_write_elsewhere_nor_wait(
    workspace: Path, private: Path, prepared: str
) -> None:
    victim, page, step = private / "victim", workspace / "report.html", workspace / "step_summary"
    victim.write_text("precious")
    script = f'set -- "{victim}" "{page}" "{step}"; {prepared}'
    done = run_as_nobody(script, private, "--report", str(page), GITHUB_STEP_SUMMARY=str(step))
    assert victim.read_text() == "precious"
    assert (done.status, done.account[:9]) == (3, "attempts ")
    for what, path in (("report", page), ("summary", step)):
        assert f"warning: the {what} can't be written to {path}: " in done.stderr


@pytest.mark.parametrize("moved", ["out", "."], ids=["itself", "the one above"])
def test_a_job_cannot_move_its_folder_away_either(workspace: Path, private: Path, moved: str) -> None:
    above, out = workspace / "above", workspace / "above" / "out"
    (private / "out").mkdir()
    for folder in (above, out):
        folder.mkdir()
        shutil.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
    script = f'mv "{above / moved}" "{workspace}/away"; ln -s "{private / moved}" "{above / moved}"'
    done = run_as_nobody(script, private, "--report", str(out / "report.html"))
    assert (done.status, (workspace / "away").is_dir()) == (3, True), done.stderr
    assert not list((private / "out").iterdir())
    assert "the report can't be written to" in done.stderr


def test_a_folder_of_its_own_that_a_job_puts_in_the_place_of_the_telemetry_s_is_told(
    workspace: Path, private: Path
) -> None:
    """The file is followed, but of what stands there now a baseline could be learnt."""
    out, away = workspace / "ci-egress", workspace / "away"
    script = (
        f"cd {workspace}; ({CONNECT}); mv ci-egress away; mkdir ci-egress; echo {{}} > ci-egress/traces.jsonl"
    )
    env = environment({"STATE_DIRECTORY": str(private), **UNDER_SUDO})
    done = ci_egress("run", "--otlp-dir", str(out), "--", "bash", "-c", script, cwd=Path("/"), env=env)
    told = f"files of telemetry were moved away from {out}: what is there now may be somebody else's"
    lines = done.stderr.splitlines()
    assert done.status == 0, done.stderr
    assert [line for line in lines if told in line] == [
        f"ci-egress: error: {told}",
        f"warning: tampering: {told}",
    ]
    assert (out / "traces.jsonl").read_text() == "{}\n"
    assert [
        (record["severityText"], plain(record["attributes"])["egress.tamper.kind"])
        for record in logs(away)
        if record["body"]["stringValue"] == told
    ] == [("ERROR", "moved")]


def test_what_cannot_be_written_is_told_and_changes_no_status(tmp_path: Path) -> None:
    page, step, full = tmp_path / "nowhere" / "report.html", tmp_path / "step_summary", (1 << 20) - 100
    step.write_bytes(bytes(full))
    env = {"GITHUB_STEP_SUMMARY": str(step)}
    done = trace(None, ["sh", "-c", "exit 3"], tmp_path / "otlp", "--report", str(page), env=env)
    assert done.status == 3
    assert f"warning: the report can't be written to {page} now (No such file or directory); " in done.stderr
    assert step.stat().st_size == full
    assert f"warning: the report can't be written to {page}: No such file or directory; " in done.stderr
    room = "of 1,048,576 bytes it has room for 99 more; name a file in a folder that you can write to"
    assert f"warning: the summary can't be written to {step}: {room}" in done.stderr
    assert done.account == "attempts 0 = exported 0 + aggregated 0 + dropped 0 + pending 0"


def test_a_full_disk_is_told_and_what_stood_there_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4096", "tmpfs", disk], check=True)
    try:
        (disk / "report.html").write_text("old")
        done = trace(None, ["true"], tmp_path / "otlp", "--report", str(disk / "report.html"))
        assert (disk / "report.html").read_text() == "old"
        assert [each.name for each in disk.iterdir()] == ["report.html"]
    finally:
        subprocess.run(["umount", disk], check=True)
    assert done.status == 0
    assert f"the report can't be written to {disk}/report.html: No space left on device" in done.stderr


def test_one_that_is_killed_leaves_no_file(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    options = ["--report", str(tmp_path / "report.html"), "--on-exporter-death", "open"]
    command, own = ["sh", "-c", "echo begun; read go"], {"TMPDIR": str(kept)}
    with running(command, tmp_path / "otlp", *options, env=own) as run:
        assert run.next_line() == "begun"
        opened = [target_of(each) for each in Path(f"/proc/{run.pid}/fd").iterdir()]
        assert any(kept in each.parents for each in opened)
        os.kill(run.pid, signal.SIGKILL)
        run.process.wait(RUN_LIMIT_S)
    assert [*kept.iterdir()] == []
    assert not (tmp_path / "report.html").exists()


def test_a_watch_appends_each_job_as_it_ends_and_leaves_a_page(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    page, summary = tmp_path / "report.html", tmp_path / "summary.md"
    connect = [str(part) for part in lab.command(programs.act("connect", V4.peer, PORT))]
    first, second = (f"{os.getpid()}{number}" for number in (1, 2))
    with watching(tmp_path, "--report", str(page), "--summary", str(summary)) as watch:
        with Runner() as runner:
            runner.run((step_of(first), connect))
            watch.wait_until_said(" began", run_id=first)
        watch.wait_for_end(first)
        watch.wait_for(lambda: summary.exists() and f"job-of-{first}" in summary.read_text())
        assert not page.exists()
        with Runner() as runner:
            runner.run((step_of(second), connect))
            watch.wait_until_said(" began", run_id=second)
            seen = watch.stop()
    assert seen.status == 0
    appended, html = summary.read_text(), page.read_text()
    for run in (first, second):
        (job,) = seen.jobs(run)
        assert job.trace_id in html
        assert f"job-of-{run}" in appended


def step_of(run: str) -> dict[str, str]:
    """The variables of a step of a job of that run."""
    return {**environment(), **gitlab(run=run), "CI_JOB_NAME": f"job-of-{run}"}
