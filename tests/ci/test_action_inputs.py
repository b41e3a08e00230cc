"""What the action makes of its inputs and of what it is told, hostile ones included."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.cli.watch import command as watch_command
from exporter.otlp.environment import resolve_destinations
from tests.checkout import ROOT
from tests.integration.command_process import is_gone
from tests.unit.jobs.provider_environments import environment

from . import limits
from .actions_runner import Command, Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .conftest import User
    from .stand_ins import StandIn

pytestmark = [pytest.mark.integration, pytest.mark.kernel, pytest.mark.timeout(limits.TEST_S)]

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


def test_without_inputs_it_traces_the_machine_and_writes_files_only(job: Job, stand_in: StandIn) -> None:
    assert job.use(ROOT).status == 0
    folder = job.temp / "ci-egress"
    token = job.posts[-1].state["token"]
    assert stand_in.given["argv"] == [
        *("--host", "--json-log", f"--otlp-dir={folder}/otlp"),
        *(f"--report={folder}/report.html", f"--summary={folder}/summary.md"),
        *(f"--end-folder={folder}/end", f"--end-digest={hashlib.sha256(token.encode()).hexdigest()}"),
    ]


def test_the_token_that_ends_it_is_in_no_file_and_no_step_gets_it(job: Job) -> None:
    begun = job.use(ROOT)
    secret, token = begun.outputs["token"], job.posts[-1].state["token"]
    assert hashlib.sha256(secret.encode()).hexdigest() == token
    assert re.fullmatch("[0-9a-f]{64}", secret)
    for told in (secret, token):
        assert Command("add-mask", {}, told) in begun.commands
    files = [path for path in job.temp.rglob("*") if path.is_file()]
    processes = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
    of_processes = [path / name for path in processes for name in ("cmdline", "environ")]
    for told in (secret, token):
        assert [path for path in (*files, *of_processes) if told.encode() in contents(path)] == []
    (post,) = job.finish()
    assert token not in post.output + post.errors


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
    assert stand_in.given["argv"][7:] == [
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


ELSEWHERE = {
    "OTEL_SDK_DISABLED": "true",
    "OTEL_SERVICE_NAME": "other",
    "OTEL_METRIC_EXPORT_INTERVAL": "999999999",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://evil.example",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://evil.example",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "authorization=other",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
    "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE": "/nowhere.pem",
    "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "1",
    "STATE_DIRECTORY": "/elsewhere",
}
"""What an earlier step can set, and the action's step does not."""


def test_where_the_input_says_to_send_to_no_earlier_step_can_change(job: Job, stand_in: StandIn) -> None:
    own = {
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=hidden",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_RESOURCE_ATTRIBUTES": "team=a",
    }
    job.variables |= ELSEWHERE | dict.fromkeys(own, "x=y")
    collector = "https://collector.example:4318"
    assert job.use(ROOT, {"otlp-endpoint": collector}, **own).status == 0
    env, meant = stand_in.given["env"], {**own, "OTEL_EXPORTER_OTLP_ENDPOINT": collector}
    assert {name: env[name] for name in env if name.startswith("OTEL_") or name in ELSEWHERE} == meant
    assert resolve_destinations(env, otlp_dir=None) == resolve_destinations(meant, otlp_dir=None)


def test_without_the_input_the_variables_of_the_specification_hold(job: Job, stand_in: StandIn) -> None:
    job.use(ROOT, {}, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="https://collector.example/traces")
    traces = resolve_destinations(stand_in.given["env"], otlp_dir=None).traces
    assert traces.endpoint is not None
    assert traces.endpoint.url == "https://collector.example/traces"


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
        *("--host", "--json-log", "--otlp-dir", "--report", "--summary", "--end-folder", "--end-digest"),
        *("--policy", "--allowed-endpoints", "--host-enforce", "--baseline", "--fail-on", "--trace-url"),
    }
    assert f"--fail-on={text}" in argv
    assert not list(job.workspace.iterdir())
    assert step.annotations("error") == []
    masked = [command.data for command in step.commands if command.name == "add-mask"]
    assert masked == [step.outputs["token"], job.posts[-1].state["token"]]


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


def test_a_user_who_may_watch_no_more_files_is_told_the_limit(tmp_path: Path, stand_in: StandIn) -> None:
    # By bash, as in conftest.py.
    limited = 'echo 0 >/proc/sys/user/max_inotify_instances; exec "$@"'
    under = ("unshare", "--user", "--map-root-user", "bash", "-euc", limited, "bash")
    path = f"{stand_in.path.parent}:/usr/bin:/bin"
    with Job(_made(tmp_path / "job"), {**environment("github"), "PATH": path}, under) as job:
        begun = job.use(ROOT)
    assert begun.status == 1
    (error,) = begun.annotations("error")
    assert error.startswith("nobody can empty the files that the runner reads: ")
    assert "; raise the limit fs.inotify.max_user_instances, " in error
    assert stand_in.given is None


def test_an_older_one_that_knows_no_such_option_is_told_in_its_own_words(job: Job, stand_in: StandIn) -> None:
    stand_in.refuses("Usage: ci-egress watch [OPTIONS]", "Error: No such option: --host ::error::owned")
    step = job.use(ROOT)
    assert step.status == 1
    (error,) = step.annotations("error")
    assert error.startswith("tracing did not start; it ended with 2\nUsage: ")
    assert error.endswith("\nError: No such option: --host ::error::owned")
    (post,) = job.finish()
    assert (post.status, post.annotations("error")) == (0, [])


def test_a_job_is_traced_once(job: Job) -> None:
    assert job.use(ROOT).status == 0
    again = job.use(ROOT)
    assert again.status == 1
    assert again.annotations("error")[0].startswith("this job has begun to be traced already; ")
    assert [post.status for post in job.finish()] == [0, 0]


def action_that_sets_up(folder: Path, script: str) -> Path:
    """A checkout of the action whose own `tools/setup.sh` is `script`, run in it."""
    checkout = folder / "action of somebody"
    for name in ("action", "action.yml", "stop"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, checkout / name)
    setup = checkout / "tools" / "setup.sh"
    setup.parent.mkdir()
    setup.write_text(f'#!/bin/sh\ncd "${{0%/*}}/.."\necho "$@" >>asked\n{script}\n')
    setup.chmod(0o755)
    return checkout


def linking(stand_in: StandIn) -> str:
    """What such a script does to install it."""
    return f'[ "$1" = --system-only ] || {{ mkdir -p .venv/bin; ln -s {stand_in.path} .venv/bin/; }}'


def on_a_new_runner(folder: Path, user: User | None = None, under: Sequence[str] = ()) -> Job:
    """A job where no ci-egress is installed."""
    job = Job(
        _made(folder),
        {**environment("github"), "PATH": "/usr/bin:/bin"},
        under or (user.under if user else ()),
    )
    if user:
        user.give(folder, job.workspace, job.temp)
    return job


def test_where_none_is_installed_the_actions_own_is_set_up(tmp_path: Path, stand_in: StandIn) -> None:
    checkout = action_that_sets_up(tmp_path, linking(stand_in))
    with on_a_new_runner(tmp_path / "job") as job:
        begun = job.use(checkout)
    assert begun.status == 0, begun.output
    assert (checkout / "asked").read_text().splitlines() == ["--system-only", "--no-system"]
    assert begun.outputs["ci-egress"] == str(checkout / ".venv" / "bin" / "ci-egress")
    assert job.ended[0].status == 0


@pytest.mark.parametrize("link", [False, True], ids=["a file", "a link"])
def test_a_ci_egress_that_a_job_could_have_put_on_path_is_not_what_root_runs(
    tmp_path: Path, stand_in: StandIn, sudoer: User, *, link: bool
) -> None:
    checkout = action_that_sets_up(tmp_path, linking(stand_in))
    own = _made(tmp_path / "own")
    left = own / "ci-egress"
    left.write_text(f'#!/bin/sh\nid -u >>"{own}/owned-by"\n')
    left.chmod(0o555)
    sudoer.give(checkout, own, left)
    own.chmod(0o555)
    path = own
    if link:
        path = _made(tmp_path / "others")
        (path / "ci-egress").symlink_to(left)
    with on_a_new_runner(tmp_path / "job", sudoer) as job:
        job.variables["PATH"] = f"{path}:/usr/bin:/bin"
        begun = job.use(checkout)
    assert begun.status == 0, begun.output
    assert not (own / "owned-by").exists()
    assert f"{path}/ci-egress isn't used, " in begun.output
    assert begun.outputs["ci-egress"] == str(checkout / ".venv" / "bin" / "ci-egress")


def test_one_that_no_job_can_replace_is_used(tmp_path: Path, stand_in: StandIn, sudoer: User) -> None:
    checkout = action_that_sets_up(tmp_path, "exit 1")
    folder = _made(tmp_path / "linked")
    (folder / "ci-egress").symlink_to(stand_in.path)
    with on_a_new_runner(tmp_path / "job", sudoer) as job:
        job.variables["PATH"] = f"{folder}:/usr/bin:/bin"
        begun = job.use(checkout)
    assert begun.status == 0, begun.output
    assert begun.outputs["ci-egress"] == str(stand_in.path)


def test_nothing_that_a_set_up_says_is_a_command(tmp_path: Path, stand_in: StandIn) -> None:
    says = "echo ::error::owned; echo ::error::owned >&2"
    checkout = action_that_sets_up(tmp_path, f"{says}; {linking(stand_in)}")
    with on_a_new_runner(tmp_path / "job") as job:
        begun = job.use(checkout)
    assert (begun.status, begun.errors) == (0, "")
    assert begun.annotations("error") == []
    assert begun.output.count("::error::owned\n") == 4


@pytest.mark.parametrize("is_root", [True, False], ids=["root", "sudo"])
def test_a_set_up_goes_through_the_runners_proxy_and_the_watch_does_not(
    tmp_path: Path, stand_in: StandIn, sudoer: User, *, is_root: bool
) -> None:
    proxies = {
        "http_proxy": "http://proxy.example:3128",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "no_proxy": "10.0.0.0/8,.example",
    }
    checkout = action_that_sets_up(tmp_path, f'env >"given$1"; {linking(stand_in)}')
    sudoer.give(checkout)
    with on_a_new_runner(tmp_path / "job", None if is_root else sudoer) as job:
        job.variables |= proxies
        begun = job.use(checkout)
    assert begun.status == 0, begun.output
    for part in ("--system-only", "--no-system"):
        given = (checkout / f"given{part}").read_text().splitlines()
        assert {f"{name}={value}" for name, value in proxies.items()} <= {*given}, part
    assert not proxies.keys() & stand_in.given["env"].keys()


@pytest.mark.parametrize("is_root", [True, False], ids=["root", "sudo"])
def test_a_set_up_that_waits_says_for_what_and_ends_in_time(
    tmp_path: Path, sudoer: User, *, is_root: bool
) -> None:
    """As apt and pip do where packets go nowhere: within a line, and without heeding a signal."""
    waits = "printf 'setup: ::error::waits'; trap '' TERM; echo $$ >waiting; sleep 90 & wait; wait"
    checkout = action_that_sets_up(tmp_path, waits)
    with_limit(checkout / "action" / "install.mjs", limit_s=6, grace_s=1)  # enough to begin
    sudoer.give(checkout)
    with on_a_new_runner(tmp_path / "job", None if is_root else sudoer) as job:
        begun = job.use(checkout)
    assert begun.status == 1
    assert begun.annotations("error") == [
        "ci-egress could not be set up within 6 s; the last of the lines above says what it waited for; "
        "without a network, install it on the runner beforehand"
    ]
    said = [command.name for command in begun.commands]
    assert said == ["group", "endgroup", "error"]
    assert "setup: ::error::waits\n" in begun.output
    assert is_gone(int((checkout / "waiting").read_text()))
    assert (checkout / "asked").read_text() == "--system-only\n"
    assert (job.ended[0].status, job.ended[0].annotations("error")) == (0, [])


def test_a_job_in_a_container_is_told_so_before_anything_is_set_up(tmp_path: Path) -> None:
    checkout = action_that_sets_up(tmp_path, "sleep 90")
    container = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    with on_a_new_runner(tmp_path / "job", under=container) as job:
        begun = job.use(checkout)
    (error,) = begun.annotations("error")
    assert begun.status == 1
    assert error.startswith(
        "ci-egress can't trace from within this job's container, which has pids of its own "
    )
    assert "; run such commands by `docker run` in a job without `container:`, or " in error
    (guide,) = re.findall(r"in a pod, on its node \((\S+)\)$", error)
    assert "DaemonSet" in (ROOT / guide).read_text()
    assert not (checkout / "asked").exists()
    assert (job.ended[0].status, job.ended[0].annotations("error")) == (0, [])


def with_limit(script: Path, *, limit_s: int, grace_s: int) -> None:
    """Have it wait less long."""
    text = script.read_text()
    for name, value in (
        ("SETUP_LIMIT_S = 300", f"SETUP_LIMIT_S = {limit_s}"),
        ("after=10'", f"after={grace_s}'"),
    ):
        assert text.count(name) == 1
        text = text.replace(name, value)
    script.write_text(text)


def contents(path: Path) -> bytes:
    """What is in it; nothing, of a process that has ended, or that not even root may look at."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
