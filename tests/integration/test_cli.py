"""The command line as its users meet it: bad input, hostile text, COMMAND's streams, record and replay."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.command_process import SEIZE_PARENT
from tests.integration.receivers import wait_until
from tests.integration.terminals import in_a_terminal
from tests.kernel.watching import watching
from tests.launch import CI_EGRESS, DEADLINE_S, PLAIN_ENVIRONMENT, Done, JsonObject, ci_egress, spans_in
from tests.unit.jobs.provider_environments import environment

pytestmark = pytest.mark.kernel

NOBODY = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
)
"""Without any right but to read the checkout, which may stand where only root gets to."""
TRACING = ",".join(f"+{name}" for name in ("bpf", "perfmon", "net_admin", "sys_ptrace", "dac_read_search"))
LIMITED_USER = (
    # A bpffs that the user may write to, whatever this host's lets it.
    *("unshare", "--mount", "sh", "-c", 'mount -t bpf -o mode=1777 bpf /sys/fs/bpf && exec "$@"', "sh"),
    *("setpriv", "--reuid=61234", "--regid=61234", "--clear-groups"),
    *(f"--inh-caps=-all,{TRACING}", f"--ambient-caps=-all,{TRACING}"),
)
"""May trace, and has no other processes; the limit of those isn't for root."""

OF_SUDO = {"SUDO_UID": "0", "SUDO_GID": "0", "SUDO_USER": "root"}

CONNECT = ("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/1 || true")
UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
HOSTILE = "\x1b]0;owned\x07\x1b[31m[bold]x\n\rci-egress: all is well\x9b2J\u202e"
"""Sets a terminal's title and colour, is markup to rich, fakes a message, and reverses what follows."""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may use: those of pytest are its user's alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of a job with one connect; its spans stand beside it in `out`."""
    folder = tmp_path_factory.mktemp("recording")
    done = ci_egress("run", "--otlp-dir", "out", "--record", "job.rec", "--", *CONNECT, cwd=folder)
    assert done.status == 0, done.stderr
    return folder / "job.rec"


def assert_is_one_line(done: Done, pattern: str) -> None:
    """A clear line on stderr, and nothing else."""
    assert re.fullmatch(f"ci-egress: error: .*{pattern}.*\n", done.stderr), done.stderr
    assert done.stdout == b""


REFUSED_COMMAND_LINES = [
    pytest.param(["run", "--bogus", "touch", "started"], 2, "No such option '--bogus'", id="unknown-option"),
    pytest.param(["run"], 2, "COMMAND", id="no-command"),
    pytest.param(["run", "--"], 2, "COMMAND", id="no-command-after-dashes"),
    pytest.param(["run", "--process-spans", "few", "touch", "started"], 2, "few", id="unknown-choice"),
    pytest.param(["run", "--otlp-dir", "file", "touch", "started"], 2, "is a file", id="otlp-dir-is-a-file"),
    pytest.param(
        ["run", "--otlp-dir", "file/below", "touch", "started"], 91, "file/below", id="otlp-dir-below-a-file"
    ),
    pytest.param(
        ["run", "--otlp-dir", "/proc/below", "touch", "started"], 91, "/proc/below", id="otlp-dir-in-proc"
    ),
    pytest.param(["run", "--record", "gone/rec", "touch", "started"], 2, "gone/rec", id="record-nowhere"),
    pytest.param(["run", "--record", "link", "touch", "started"], 2, "link.*symbolic", id="record-to-link"),
    pytest.param(["run", "--record", ".", "touch", "started"], 2, "is a directory", id="record-to-folder"),
    pytest.param(
        ["run", "--user", "nobody-at-all", "touch", "started"], 2, "nobody-at-all", id="no-such-user"
    ),
    pytest.param(["run", "--job-env", "NOT_SET", "touch", "started"], 2, "NOT_SET", id="job-env-unset"),
    pytest.param(
        ["run", "--fail-on", "novel", "touch", "started"],
        2,
        "--fail-on novel needs a baseline; name one with --baseline FILE",
        id="fail-on-novel-without-a-baseline",
    ),
    pytest.param(
        ["run", "--fail-on", "deny,novel", "--allowed-endpoints", "a.example", "touch", "started"],
        2,
        "--fail-on novel needs a baseline; name one with --baseline FILE",
        id="fail-on-novel-with-a-policy",
    ),
    pytest.param(
        ["run", "--fail-on", "novel,audit", "--baseline", "file", "touch", "started"],
        2,
        "--fail-on audit needs a policy; name one with --policy FILE or --allowed-endpoints TEXT",
        id="fail-on-audit-with-a-baseline",
    ),
    pytest.param(
        ["run", "--fail-on", "deny,", "touch", "started"],
        2,
        "'--fail-on': `` is none of `novel`, `audit`, `deny`, with commas between",
        id="fail-on-nothing",
    ),
    pytest.param(
        ["run", "--fail-on", "denied", "touch", "started"],
        2,
        "'--fail-on': `denied` is none of `novel`, `audit`, `deny`",
        id="fail-on-unknown",
    ),
    pytest.param(
        ["run", "--fail-on", "deny", "touch", "started"],
        2,
        "--fail-on deny needs a policy; name one with --policy FILE or --allowed-endpoints TEXT",
        id="fail-on-without-a-policy",
    ),
    pytest.param(["run", "no-such-program"], 127, "'no-such-program'", id="not-found"),
    pytest.param(["run", "./no-such-program"], 127, "'./no-such-program'", id="path-not-found"),
    pytest.param(
        ["run", "echo a && false"], 127, "for a shell to read: `ci-egress run -- sh -c", id="script"
    ),
    pytest.param(["run", "./file"], 126, r"chmod \+x", id="not-executable"),
    pytest.param(["run", "./folder"], 126, "it is a directory", id="a-directory"),
    *[
        pytest.param([*command, option, value], 2, f"'{option}': {what} is missing: ", id=f"{option}-{why}")
        for option, what in (
            ("--otlp-dir", "DIR"),
            ("--record", "FILE"),
            ("--job-env", "NAME"),
            ("--fail-on", "novel,audit,deny"),
            ("--baseline", "FILE"),
        )
        for value, why in (("", "empty"), ("--", "forgotten"))
        for command in (["run"],)
    ],
    pytest.param(["watch", "--job-env", ""], 2, "'--job-env': NAME is missing", id="watch-for-no-name"),
    pytest.param(["watch", "--otlp-dir-limit", "abc"], 2, "not a valid number of MiB", id="limit-no-number"),
    pytest.param(
        ["watch", "--otlp-dir-limit", "24"],
        2,
        "without --otlp-dir; add --otlp-dir DIR",
        id="limit-of-nothing",
    ),
    pytest.param(["stop", ""], 2, "INSTANCE is missing: it is empty", id="stop-from-an-empty-variable"),
    pytest.param(["walk"], 2, "No such command 'walk'; `ci-egress --help` shows", id="unknown-command"),
    pytest.param(["touch", "started"], 2, "'touch'; to trace .*: `ci-egress run -- touch …`", id="no-run"),
    pytest.param(["--", "touch", "started"], 2, "`ci-egress run -- touch …`", id="no-run-after-dashes"),
    pytest.param(
        ["--policy", "p.yaml", "run", "touch", "started"],
        2,
        "No such option '--policy'; it stands behind the command: `ci-egress run --policy …`",
        id="option-in-front-of-the-command",
    ),
    pytest.param(
        ["enforce", "--job", "a", "on"], 2, "`ci-egress enforce COMMAND --job …`", id="option-in-front-of-on"
    ),
    pytest.param(
        ["run", "-j4", "touch", "started"],
        2,
        "'-j'; if it is COMMAND's, put `--` in front of COMMAND: `ci-egress run -- …`",
        id="option-of-command-without-dashes",
    ),
    pytest.param(["run", "--polcy", "p", "true"], 2, "Did you mean '--policy'", id="almost-an-option"),
    pytest.param(
        ["run", "--", "--report", "r.html", "touch", "started"],
        127,
        "not found: '--report'; options of ci-egress stand before `--`",
        id="option-behind-dashes",
    ),
    pytest.param(["help", "walk"], 2, "No such command 'walk'; ", id="help-of-an-unknown-command"),
    pytest.param(["run", "--"], 2, "say what to trace, as in `ci-egress run -- make test`", id="nothing"),
    pytest.param(["completion"], 2, "Choose from: bash, zsh, fish; ", id="completion-of-no-shell"),
    pytest.param(["completion", "csh"], 2, "'csh' is not one of", id="completion-of-an-unknown-shell"),
    pytest.param(["wach"], 2, "No such command 'wach', did you mean `watch`\\?; ", id="almost-a-command"),
    pytest.param(["baseline", "learm"], 2, "'learm', did you mean `learn`\\?; ", id="almost-a-command-below"),
    pytest.param(["policy", "checks"], 2, "'checks', did you mean `check`\\?; ", id="almost-of-policy"),
    pytest.param(["replay"], 2, "FILE", id="no-recording"),
    *[
        pytest.param([*command, "--baseline", file, *what], 2, why, id=f"{command[0]}-{file}-as-baseline")
        for command, what in ((["run"], ["touch", "started"]), (["watch"], []), (["replay"], ["file"]))
        for file, why in (
            ("gone", "cannot read the baseline gone: No such file"),
            ("folder", "'--baseline': File 'folder' is a directory"),
        )
    ],
    pytest.param(["replay", "gone"], 2, "gone: No such file", id="recording-is-missing"),
    pytest.param(["replay", "folder"], 2, "is a directory", id="recording-is-a-directory"),
]


@pytest.mark.parametrize(("arguments", "status", "pattern"), REFUSED_COMMAND_LINES)
def test_bad_input_is_one_clear_line_and_nothing_is_started(
    arguments: list[str], status: int, pattern: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch(mode=0o644)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("target")
    done = ci_egress(*arguments, cwd=tmp_path)
    assert done.status == status
    assert_is_one_line(done, pattern)
    assert not (tmp_path / "started").exists()
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector.example"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:99999"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://collector.example"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "gone.pem"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named_and_nothing_is_started(
    variable: str, value: str, tmp_path: Path
) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    env = PLAIN_ENVIRONMENT | endpoint | {variable: value}
    done = ci_egress("run", "touch", "started", cwd=tmp_path, env=env)
    assert done.status == 2
    assert_is_one_line(done, variable)
    assert list(tmp_path.iterdir()) == []


def test_without_rights_nothing_is_started(open_folder: Path) -> None:
    done = ci_egress("run", "touch", "started", cwd=open_folder, under=NOBODY)
    assert done.status == 91
    assert_is_one_line(done, "CAP_BPF.*; run it as root: `sudo -E ci-egress …`, or with CAP_")
    assert list(open_folder.iterdir()) == []


@pytest.mark.parametrize(
    "limit", ["-n 6", "-n 12", "-n 18", "-n 185", "-u 1", "-u 2", "-u 3", "-u 4"], ids=lambda limit: limit[1:]
)
def test_a_limit_that_is_too_low_is_named_and_nothing_is_started(limit: str, open_folder: Path) -> None:
    limited = (*LIMITED_USER, "bash", "-c", f'ulimit {limit}; exec "$@"', "bash")
    done = ci_egress("run", "--otlp-dir", "out", "touch", "started", cwd=open_folder, under=limited)
    first_line = done.stderr.partition("\n")[0]
    assert done.status == 91
    assert re.fullmatch(rf"ci-egress: error: .*; .*\(ulimit {limit[:2]}.*\)", first_line), done.stderr
    assert "Traceback" not in done.stderr
    assert not (open_folder / "started").exists()


def test_a_command_that_only_the_callers_path_has_is_found_again_under_sudo(tmp_path: Path) -> None:
    done = ci_egress("run", "no-such-program", cwd=tmp_path, env=PLAIN_ENVIRONMENT | OF_SUDO)
    assert done.status == 127
    assert_is_one_line(
        done, 'give COMMAND yours: `sudo -E ci-egress run -- env "PATH=\\$PATH" no-such-program …`'
    )


CLEARED = ("env", "-i", *(f"{name}={value}" for name, value in (PLAIN_ENVIRONMENT | OF_SUDO).items()))
AS_SUDO = ("sh", "-c", f'{shlex.join(CLEARED)} "$@"; exit $?', "sh")
"""Does with variables as sudo does, and waits for what it starts."""


def test_a_job_whose_variables_sudo_kept_is_traced_and_that_is_told(tmp_path: Path) -> None:
    done = ci_egress(
        "run", "true", cwd=tmp_path, env=PLAIN_ENVIRONMENT | environment("gitlab"), under=AS_SUDO
    )
    assert done.status == 0
    told = (
        "warning: sudo kept back the variables of gitlab, by which the job would be known; hand them on by "
    )
    assert f"ci-egress: {told}" in done.stderr


def test_a_policy_with_sections_for_jobs_is_refused_where_sudo_kept_their_variables(tmp_path: Path) -> None:
    sections = 'version: 1\nmode: audit\njobs:\n  "release/*": {mode: enforce, deny: [203.0.113.1]}\n'
    (tmp_path / "policy.yaml").write_text(sections)
    command = ("run", "--policy", "policy.yaml", "touch", "started")
    env = PLAIN_ENVIRONMENT | environment("gitlab")
    done = ci_egress(*command, cwd=tmp_path, env=env, under=AS_SUDO)
    assert done.status == 2
    assert_is_one_line(
        done, "sudo kept back the variables of gitlab, .*, and the policy has sections for jobs; "
    )
    assert not (tmp_path / "started").exists()


def test_an_option_behind_command_is_told_and_is_commands_own(tmp_path: Path) -> None:
    done = ci_egress("run", "touch", "--baseline", cwd=tmp_path)
    warning, *_ = done.stderr.splitlines()
    assert warning == (
        "ci-egress: warning: --baseline behind COMMAND: touch gets that, ci-egress doesn't; put it before "
        "COMMAND, or say that it is touch's: ci-egress run -- touch …"
    )
    assert "touch: unrecognized option '--baseline'" in done.stderr
    assert done.status == 1


@pytest.mark.parametrize(
    ("command", "is_told"), [(["ls", "--report", "a"], True), (["--", "ls", "--report", "a"], False)]
)
def test_an_option_that_may_be_commands_own_is_told_once_it_has_failed(
    command: list[str], is_told: bool, tmp_path: Path
) -> None:
    done = ci_egress("run", *command, cwd=tmp_path)
    warning = (
        "ci-egress: warning: ls failed, which got --report; if that was meant for ci-egress, put it before "
        "COMMAND: ci-egress run --report … -- ls …"
    )
    assert (done.status, warning in done.stderr.splitlines()) == (2, is_told), done.stderr
    assert done.stderr.splitlines()[-1].startswith("attempts ")


def test_a_command_that_cannot_start_leaves_no_job_in_the_metrics(tmp_path: Path) -> None:
    assert ci_egress("run", "--otlp-dir", "out", "no-such-program", cwd=tmp_path).status == 127
    assert "cicd.egress.jobs" not in (tmp_path / "out/metrics.jsonl").read_text()


def test_the_status_is_commands_own_also_when_a_debugger_holds_its_end(tmp_path: Path) -> None:
    seized = f"{shlex.join([sys.executable, '-c', SEIZE_PARENT])}; exit 7"
    assert ci_egress("run", "sh", "-c", seized, cwd=tmp_path).status == 7


@pytest.mark.parametrize("options", [[], ["--json-log"]], ids=["plain", "json"])
@pytest.mark.parametrize(
    "redirection",
    ["2>&-", ">&- 2>&-", "2>/dev/full", "2> >(exec true)", "2>stderr; ulimit -f 0"],
    ids=["closed", "both-closed", "full", "pipe-without-reader", "no-file-may-grow"],
)
def test_a_stderr_in_trouble_leaves_the_status_commands_own(
    redirection: str, options: list[str], tmp_path: Path
) -> None:
    under = ("bash", "-c", f'exec {redirection}; exec "$@"', "bash")
    for command, status in (("exit 7", 7), ("kill -9 $$", 137)):
        assert ci_egress("run", *options, "sh", "-c", command, cwd=tmp_path, under=under).status == status
    assert ci_egress("run", *options, "no-such-program", cwd=tmp_path, under=under).status == 127


def test_a_full_stderr_that_nobody_reads_and_that_does_not_block_is_given_up(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writer, b"x" * 4096):
            pass
    argv = [*CI_EGRESS, "run", "sh", "-c", "exit 7"]
    done = subprocess.run(
        argv, cwd=tmp_path, env=PLAIN_ENVIRONMENT, stderr=writer, timeout=DEADLINE_S, check=False
    )
    os.close(reader)
    os.close(writer)
    assert done.returncode == 7


def test_an_interrupt_while_it_starts_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    env = PLAIN_ENVIRONMENT | {"PYTHONPATH": f"{tmp_path}:{PLAIN_ENVIRONMENT['PYTHONPATH']}"}
    done = ci_egress("run", "true", cwd=tmp_path, env=env)
    assert (done.status, done.stderr) == (-signal.SIGINT, "")


def test_a_deleted_working_directory_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    in_deleted = ("sh", "-c", f'rmdir {folder}; exec "$@"', "sh")
    done = ci_egress("run", "--otlp-dir", str(tmp_path / "out"), "true", cwd=folder, under=in_deleted)
    assert (done.status, folder.exists()) == (0, False), done.stderr


def test_without_arguments_it_shows_how_to_use_it(tmp_path: Path) -> None:
    done = ci_egress(cwd=tmp_path)
    assert (done.status, done.stdout) == (2, b"")
    assert done.stderr.startswith("Usage: ci-egress ")
    assert "\n  ci-egress run -- make test " in done.stderr


@pytest.mark.parametrize("command", [[], ["run"], ["baseline", "learn"]], ids="-".join)
def test_help_is_a_command_too(command: list[str], tmp_path: Path) -> None:
    done, by_option = ci_egress("help", *command, cwd=tmp_path), ci_egress(*command, "--help", cwd=tmp_path)
    assert (done.status, done.stdout) == (0, by_option.stdout)
    assert done.stdout.startswith(b"Usage: ")


@pytest.mark.parametrize("command", [[], ["run"], ["replay"], ["doctor"]], ids="-".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_shows_examples_as_one_types_them(command: list[str], option: str, tmp_path: Path) -> None:
    done = ci_egress(*command, option, cwd=tmp_path)
    assert (done.status, done.stderr) == (0, "")
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith(" ".join(["Usage: ci-egress", *command]))
    assert any(line.startswith(" ".join(["  ci-egress", *command])) for line in lines[1:])
    assert "\b" not in done.stdout.decode()
    assert r"\b" not in done.stdout.decode()


@pytest.mark.parametrize("command", ["", "run", "watch", "enforce", "stop", "policy", "replay", "doctor"])
def test_an_example_of_the_help_can_be_pasted_with_its_remark(command: str, tmp_path: Path) -> None:
    shown = ci_egress(*command.split(), "--help", cwd=tmp_path).stdout.decode()
    before_options = shown.partition("\nOptions:")[0].splitlines()
    examples = [line.strip() for line in before_options if re.match(r"  (\S+=\S+ |sudo .*)?ci-egress ", line)]
    assert examples
    for example in examples:
        assert "   " not in example.partition(" # ")[0].rstrip(), example


@pytest.mark.parametrize("redirection", [">/dev/full", "> >(exec true)", ">&-", "2>/dev/full"])
@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--help"], 0), (["run", "--help"], 0), (["--version"], 0), (["doctor", "--json"], 0), ([], 2)],
    ids=["help", "help-of-run", "version", "doctor", "nothing"],
)
def test_an_output_in_trouble_is_no_traceback(
    arguments: list[str], status: int, redirection: str, tmp_path: Path
) -> None:
    under = ("bash", "-c", f'exec {redirection}; exec "$@"', "bash")
    done = ci_egress(*arguments, cwd=tmp_path, under=under)
    assert done.status == status
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_cgroup_v2_that_another_mount_covers_is_told_and_nothing_is_started(tmp_path: Path) -> None:
    covered = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh")
    done = ci_egress("run", "touch", "started", cwd=tmp_path, under=covered)
    assert done.status == 91
    assert_is_one_line(done, "cgroup v2 is mounted at .*, but another mount covers it; .*mount -t cgroup2")
    assert not (tmp_path / "started").exists()
    doctors = ci_egress("doctor", cwd=tmp_path, under=covered)
    assert (doctors.status, doctors.stderr) == (91, "")
    assert b"another mount covers it" in doctors.stdout


def test_it_says_its_version(tmp_path: Path) -> None:
    done = ci_egress("--version", cwd=tmp_path)
    assert (done.status, done.stderr) == (0, "")
    assert re.fullmatch(rb"ci-egress \d+\.\d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize("dashes", [[], ["--"]], ids=["bare", "after-dashes"])
def test_options_behind_command_are_its_own(dashes: list[str], tmp_path: Path) -> None:
    done = ci_egress("run", *dashes, "printf", "%s,", "--help", "-v", "--", "--otlp-dir", cwd=tmp_path)
    assert (done.status, done.stdout) == (0, b"--help,-v,--,--otlp-dir,")


def test_the_output_of_command_passes_byte_by_byte_with_nothing_of_ours(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 300)
    done = ci_egress("run", "-v", "cat", "bytes", cwd=tmp_path)
    assert (done.status, done.stdout) == (0, bytes(range(256)) * 300)


@pytest.fixture
def hostile_command(tmp_path: Path) -> Iterator[list[str]]:
    """A program with a hostile name and hostile arguments that connects and leaves one like it behind."""
    shutil.copy("/bin/bash", tmp_path / HOSTILE)
    script = """
        exec >/dev/null 2>&1
        (exec -a "$0" sleep 1000) &
        echo $! >left
        exec 3<>/dev/tcp/127.0.0.1/1 || true
    """
    yield [f"./{HOSTILE}", "-c", script, HOSTILE]
    with contextlib.suppress(FileNotFoundError):
        os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("options", [[], ["--json-log"]], ids=["plain", "json"])
def test_a_hostile_command_is_shown_without_effect(
    options: list[str], hostile_command: list[str], tmp_path: Path
) -> None:
    env = PLAIN_ENVIRONMENT | {"GITLAB_CI": "true", "CI_PROJECT_PATH": f"g/{HOSTILE}", "FORCE_COLOR": "1"}
    run = ["run", "--otlp-dir", f"out{HOSTILE}", *options, "--", *hostile_command]
    done = ci_egress(*run, cwd=tmp_path, env=env)
    assert done.status == 0, done.stderr
    assert "127.0.0.1:1" in done.stderr
    assert done.stderr.count("owned") >= 2  # the chain, what was left behind
    assert UNPRINTABLE.findall(done.stderr) == []
    assert not re.search("^ci-egress: all is well", done.stderr, re.MULTILINE)


def test_a_hostile_command_does_nothing_to_a_terminal(hostile_command: list[str], tmp_path: Path) -> None:
    shown = in_a_terminal("run", "--", *hostile_command, cwd=tmp_path)
    styles_left_out = re.sub(r"\x1b\[[0-9;]*m", "", shown).replace("\r\n", "\n")
    assert "127.0.0.1:1" in styles_left_out
    assert "left behind" in styles_left_out
    assert styles_left_out.count("owned") >= 2  # the chain, what was left behind
    assert UNPRINTABLE.findall(styles_left_out) == []
    assert "\x1b[31m" not in shown
    assert not re.search("^ci-egress: all is well", styles_left_out, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", f"--{HOSTILE}", "true"],
        ["run", HOSTILE],
        ["run", f"./{HOSTILE}"],
        ["run", "--user", HOSTILE, "true"],
        ["run", "--job-env", HOSTILE, "true"],
        ["run", "--record", f"gone/{HOSTILE}", "true"],
        ["run", "--otlp-dir", f"/proc/{HOSTILE}", "true"],
        ["run", "--process-spans", HOSTILE, "true"],
        ["replay", HOSTILE],
        [HOSTILE],
    ],
    ids=lambda arguments: "-".join(arguments[:-1]).split("\x1b")[0],
)
def test_messages_quote_hostile_input_without_effect(arguments: list[str], tmp_path: Path) -> None:
    done = ci_egress(*arguments, cwd=tmp_path)
    assert done.status in (2, 91, 127)
    assert UNPRINTABLE.findall(done.stderr) == []
    assert done.stderr.count("\n") == 1
    assert "owned" in done.stderr


def test_a_failure_is_told_in_json_where_that_was_asked_for(tmp_path: Path) -> None:
    done = ci_egress("run", "--json-log", HOSTILE, cwd=tmp_path)
    told = json.loads(done.stderr)
    assert (done.status, told["level"], told["exit_status"]) == (127, "error", 127)


@pytest.mark.parametrize(
    ("command", "wrong"),
    [("run", "--host=yes"), ("enforce on", "--instance"), ("enforce", "--foo"), ("", "--version=1")],
)
def test_a_usage_error_names_the_help_of_its_own_command(command: str, wrong: str, tmp_path: Path) -> None:
    done = ci_egress(*command.split(), wrong, cwd=tmp_path)
    own = f"ci-egress {command}".rstrip()
    assert done.status == 2
    assert done.stderr.endswith(f"; `{own} --help` shows how to use it\n")


def test_a_usage_error_too_is_told_in_json_where_that_was_asked_for(tmp_path: Path) -> None:
    for arguments in (["--json-log", "--foo"], ["--foo", "--json-log"]):
        done = ci_egress("run", *arguments, "true", cwd=tmp_path)
        told = json.loads(done.stderr)
        assert (done.status, told["message"]) == (2, "No such option '--foo'")
    assert_is_one_line(ci_egress("run", "--foo", "--", "--json-log", cwd=tmp_path), "--foo")


BAD_LINES = [
    pytest.param("", r"1:\d+: ", id="empty-line"),
    pytest.param("\x00\x1b[31m garbage", r"1:\d+: ", id="garbage"),
    pytest.param("[" * 100_000, r"1:\d+: ", id="nested-without-end"),
    pytest.param('["recording", 99, {}, 0, [1, 1], 1, 1]', r"1:\d+: .*version", id="another-version"),
    pytest.param('["recording", 1, {"ids": {}}, 0, [1, 1], 1, 1]', r"1:\d+: ", id="no-ids"),
]
BAD_EVENTS = [
    pytest.param('["Rebooted", 1]', id="unknown-event"),
    pytest.param('["Exited", 1, [2, 3]]', id="field-missing"),
    pytest.param('["Exited", 1, [2, 3], "4"]', id="text-for-a-number"),
    pytest.param('["Exited", -1, [2, 3], 4]', id="negative"),
    pytest.param(f'["Exited", {"9" * 5000}, [2, 3], 4]', id="number-without-end"),
    pytest.param('["Exited", 1, [2', id="truncated"),
    pytest.param("[" * 100_000, id="nested-without-end"),
    pytest.param(f'["{"x" * 10_000_000}"]', id="10-MB"),
    pytest.param(f'["{"x" * 500_000}"]', id="half-a-MB"),
    pytest.param(json.dumps([HOSTILE]), id="hostile"),
]


@pytest.mark.parametrize(("line", "where"), BAD_LINES)
def test_a_file_that_is_no_recording_is_refused(line: str, where: str, tmp_path: Path) -> None:
    (tmp_path / "bad.rec").write_text(f"{line}\n")
    done = ci_egress("replay", "bad.rec", cwd=tmp_path)
    assert done.status == 2
    assert_is_one_line(done, f"bad.rec:{where}")
    assert list(tmp_path.iterdir()) == [tmp_path / "bad.rec"]


@pytest.mark.parametrize("line", BAD_EVENTS)
def test_a_bad_line_of_a_recording_is_named(line: str, recording: Path, tmp_path: Path) -> None:
    first_line = recording.read_text().partition("\n")[0]
    (tmp_path / "bad.rec").write_text(f"{first_line}\n{line}\n")
    done = ci_egress("replay", "--otlp-dir", "out", "bad.rec", cwd=tmp_path)
    assert done.status == 2
    assert_is_one_line(done, r"bad.rec:2:\d+: ")
    assert UNPRINTABLE.findall(done.stderr) == []
    assert len(done.stderr) < 2000


def told(directory: Path) -> list[str]:
    """The spans of a folder as sorted JSON."""
    return sorted(json.dumps(span, sort_keys=True) for span in spans_in(directory))


def test_a_replay_gives_the_same_spans_without_root(recording: Path, open_folder: Path) -> None:
    (open_folder / "job.rec").write_text(recording.read_text())
    done = ci_egress("replay", "--otlp-dir", "again", "job.rec", cwd=open_folder, under=NOBODY)
    assert (done.status, done.stdout) == (0, b"")
    assert done.stderr.endswith("attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0\n")
    again = told(open_folder / "again")
    assert again == told(recording.parent / "out")
    assert [name_of(span) for span in again].count("connect 127.0.0.1:1") == 1


def name_of(span: str) -> str:
    parsed: JsonObject = json.loads(span)
    return str(parsed["name"])


RENAMED = (
    *("unshare", "--uts", "--mount", sys.executable, "-c"),
    """
import os, pathlib, socket, subprocess, sys
socket.sethostname(b"ci\\xff")
pathlib.Path("passwd").write_bytes(b"build\\xff:x:4000001:0::/:/bin/sh\\n")
subprocess.run(["mount", "--bind", "passwd", "/etc/passwd"], check=True)
os.execvp(sys.argv[1], sys.argv[1:])
""",
)
"""A host and a user whose names aren't UTF-8."""


def test_names_of_host_and_user_that_are_not_utf_8_are_valid_text(recording: Path, tmp_path: Path) -> None:
    done = ci_egress("replay", "--otlp-dir", "out", str(recording), cwd=tmp_path, under=RENAMED)
    assert done.status == 0
    host = '{"key":"host.name","value":{"stringValue":"ci\\ufffd"}}'
    assert all(host in (tmp_path / "out" / name).read_text() for name in ("traces.jsonl", "metrics.jsonl"))
    look = "from exporter.pipeline.procfs import user_name; print(ascii(user_name(4000001)))"
    said = subprocess.check_output([*RENAMED, sys.executable, "-c", look], cwd=tmp_path)
    assert said == b"'build\\ufffd'\n"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.link(path.parent / "precious", path)])
def test_a_recording_neither_waits_for_a_fifo_nor_empties_a_file_of_two_names(
    open_folder: Path, make: Callable[[Path], None]
) -> None:
    (open_folder / "precious").write_text("precious")
    make(open_folder / "rec")
    done = ci_egress("run", "--record", "rec", "true", cwd=open_folder)
    assert done.status == 2
    assert_is_one_line(done, "cannot write rec")
    assert (open_folder / "precious").read_text() == "precious"


def test_a_recording_is_its_owners_to_write_and_everybodys_to_read(open_folder: Path) -> None:
    assert ci_egress("run", "--record", "rec", "true", cwd=open_folder).status == 0
    assert (open_folder / "rec").stat().st_mode & 0o777 == 0o644


def test_a_recording_that_cannot_be_read_is_an_error(open_folder: Path) -> None:
    (open_folder / "rec").write_text("theirs")
    (open_folder / "rec").chmod(0o600)
    os.chown(open_folder / "rec", 65534, 65534)
    without = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    done = ci_egress("replay", "rec", cwd=open_folder, under=without)
    assert done.status == 2
    assert_is_one_line(done, "'rec' is not readable")


def test_a_run_that_is_killed_leaves_a_recording_of_what_was_until_then(open_folder: Path) -> None:
    script = "exec 3<>/dev/tcp/127.0.0.1/1 || true; exec sleep 60"
    argv = [*CI_EGRESS, "run", "--record", "job.rec", "--", "bash", "-c", script]
    with subprocess.Popen(argv, cwd=open_folder, env=PLAIN_ENVIRONMENT, stderr=subprocess.PIPE) as running:
        try:
            wait_until(lambda: '"Acted"' in text_of(open_folder / "job.rec"))
        finally:
            group = children_of(running.pid)
            running.kill()
    for pid in group:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    done = ci_egress("replay", "--otlp-dir", "again", "job.rec", cwd=open_folder)
    assert done.status == 0
    assert "job.rec was broken off: its end is missing" in done.stderr
    assert "connect 127.0.0.1:1" in [span["name"] for span in spans_in(open_folder / "again")]
    assert ci_egress("run", "true", cwd=open_folder).status == 0  # sweeps what the killed one left attached


def test_the_account_is_the_last_line_also_after_trouble_with_the_recording(tmp_path: Path) -> None:
    done = ci_egress("run", "--record", "/dev/full", "true", cwd=tmp_path)
    assert done.status == 0
    assert "warning: the recording ends early: cannot write /dev/full: No space left" in done.stderr
    assert done.stderr.endswith("attempts 0 = exported 0 + aggregated 0 + dropped 0 + pending 0\n")


def test_a_flush_that_takes_long_is_told_once_and_for_how_long(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as never_answers:
        url = f"http://127.0.0.1:{never_answers.getsockname()[1]}"
        state = {"STATE_DIRECTORY": str(tmp_path / "state")}
        env = PLAIN_ENVIRONMENT | state | {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
        done = ci_egress("run", "true", cwd=tmp_path, env=env)
    assert done.status == 0
    assert done.stderr.count("ci-egress: sending the rest of the telemetry, for 10 s at most\n") == 1
    assert done.stderr.endswith("attempts 0 = exported 0 + aggregated 0 + dropped 0 + pending 0\n")


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def test_who_has_only_files_is_told_how_to_make_a_report_of_them(tmp_path: Path) -> None:
    told = "who started whom: ci-egress report 'my out' --report report.html"
    done = ci_egress("run", "--otlp-dir", "my out", "--", *CONNECT, cwd=tmp_path)
    line, trace, account = done.stderr.splitlines()[-3:]
    assert (line, trace.partition(" ")[0], account.partition(" ")[0]) == (told, "trace", "attempts")
    made = ci_egress(*shlex.split(told.partition(": ci-egress ")[2]), cwd=tmp_path)
    assert (made.status, (tmp_path / "report.html").is_file()) == (0, True), made.stderr
    for options in (["--report", "r.html"], ["--json-log"]):
        again = ci_egress("run", "--otlp-dir", "my out", *options, "--", *CONNECT, cwd=tmp_path)
        assert again.status == 0, again.stderr
        assert "who started whom" not in again.stderr


def test_a_hint_names_the_program_as_a_shell_finds_it(tmp_path: Path) -> None:
    program, bin_folder = Path(sys.executable).with_name("ci-egress"), tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "ci-egress").symlink_to(program)
    for path, name in (("", str(program)), (f"{bin_folder}:", "ci-egress")):
        env = {**PLAIN_ENVIRONMENT, "PATH": f"{path}/usr/sbin:/usr/bin:/sbin:/bin"}
        command = [str(program), "run", "--otlp-dir", "out", "--", *CONNECT]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        (told,) = re.findall(r"^who started whom: (.*)$", done.stderr, re.MULTILINE)
        assert told == f"{name} report out --report report.html"
        subprocess.run(["sh", "-c", told], cwd=tmp_path, env=env, capture_output=True, check=True)


def test_the_summary_tells_what_failed(tmp_path: Path) -> None:
    done = ci_egress("run", "--", *CONNECT, cwd=tmp_path)
    lines = [" ".join(line.split()) for line in done.stderr.splitlines()]
    assert "destination transport attempts failed sent received process chain" in lines
    assert "127.0.0.1:1 tcp 1 1 bash" in lines


def test_a_watch_that_may_not_export_says_so(tmp_path: Path) -> None:
    with watching(tmp_path, env={"OTEL_SDK_DISABLED": "true"}, to_files=False) as watch:
        watch.wait_until_said("OTEL_SDK_DISABLED is set: nothing is exported")
        watch.wait_until_said("watching, telemetry goes to nowhere")
        watch.process.terminate()
        assert watch.process.wait(timeout=DEADLINE_S) == 0
