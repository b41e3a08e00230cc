"""Buildkite's plugin: its hook, run as the agent runs a job's command hook."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.checkout import ROOT
from tests.kernel.lab import V4
from tests.unit.jobs.provider_environments import environment

from . import limits
from .conftest import SHOW_TAKEN, TAKEN_BY_SUDO, UNSET_AS_EVER
from .job_output import ALL_BUT_EVIL, EVIL, PEER, act, egress, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.integration.receivers import Collector
    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab

    from .conftest import User

pytestmark = [pytest.mark.integration, pytest.mark.kernel, pytest.mark.timeout(limits.TEST_S)]

PLUGIN = ROOT / "deploy" / "buildkite"
JOB = environment("buildkite")["BUILDKITE_JOB_ID"]
HOOK = PLUGIN / "hooks" / "command"
CANCEL_GRACE_S = 60
"""The agent's own is 10, on a machine that isn't busy with tests."""
PREFIX = "BUILDKITE_PLUGIN_CI_EGRESS_"

AGENT = """#!/bin/sh
{ printf '%s\\n' "$*"; [ "$1" != annotate ] || cat; } >>"${0%/*}/asked"
"""


def run_hook(
    checkout: Path,
    command: str,
    path: str,
    configuration: Mapping[str, str | Sequence[str]] | None = None,
    *,
    under: Sequence[str] = (),
    **env: str,
) -> subprocess.CompletedProcess[str]:
    """The hook with a step's command and what its plugin is given, by the agent's rules for variables."""
    known = yaml.safe_load((PLUGIN / "plugin.yml").read_text())["configuration"]["properties"]
    variables: dict[str, str] = {}
    for key, value in (configuration or {}).items():
        assert key in known, "the agent would refuse it"
        name = PREFIX + key.upper().replace("-", "_")
        each = {name: value} if isinstance(value, str) else {f"{name}_{n}": it for n, it in enumerate(value)}
        variables |= each
    return subprocess.run(
        [*under, str(HOOK)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=checkout,
        env={**environment("buildkite"), **variables, "PATH": path, "BUILDKITE_COMMAND": command, **env},
        timeout=limits.COMMAND_S,
        check=False,
    )


def cancelled(
    checkout: Path, command: str, path: str, user: User | None, *, has_terminal: bool = False
) -> int:
    """The status of the hook whose job is cancelled once its command has made the file `began`.

    As the agent does it: with a signal to the hook's process group, which is one of its own. Unless told
    otherwise, it gives it a terminal.
    """
    env = {**environment("buildkite"), "PATH": path, "BUILDKITE_COMMAND": command}
    with ExitStack() as stack:
        terminal = stack.enter_context(drained_terminal()) if has_terminal else None
        leading = ("setsid", "--ctty") if has_terminal else ("setsid",)
        under = user.under if user else ()
        hook = subprocess.Popen(
            [*leading, *under, str(HOOK)],
            cwd=checkout,
            env=env,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
        )
        try:
            until_there(checkout / "began", hook)
            ids = (f"--reuid={user.uid}", f"--regid={user.uid}", "--clear-groups") if user else ()
            subprocess.run(["setpriv", *ids, "kill", "-TERM", "--", f"-{hook.pid}"], check=True)
            return hook.wait(timeout=CANCEL_GRACE_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(hook.pid, signal.SIGKILL)
            hook.wait()


@contextmanager
def drained_terminal() -> Iterator[int]:
    """A terminal whose other end somebody reads."""
    ours, theirs = os.openpty()

    def drain() -> None:
        with suppress(OSError):  # when nobody has the other end any more
            while os.read(ours, 4096):
                pass

    reader = threading.Thread(target=drain)
    reader.start()
    try:
        yield theirs
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)


def until_there(path: Path, hook: subprocess.Popen[bytes]) -> None:
    """Wait for a file, for as long as the hook runs."""
    give_up = time.monotonic() + limits.COMMAND_S
    while not path.exists():
        assert hook.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.05)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    return folder


@pytest.fixture
def agent(path: str) -> Path:
    """What the agent's own command was asked to do, beside a stand-in for it."""
    program = Path(path.partition(":")[0]) / "buildkite-agent"
    program.write_text(AGENT)
    program.chmod(0o755)
    return program.with_name("asked")


def test_a_steps_command_is_traced_and_the_build_annotated(
    checkout: Path, path: str, agent: Path, lab: Lab, programs: Programs
) -> None:
    done = run_hook(checkout, f"{act(lab, programs)}\necho went on", path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "went on"), done.stderr
    (span,) = egress(checkout)
    assert span.resource["cicd.pipeline.task.run.id"] == JOB
    annotated, _, uploaded = agent.read_text().rpartition("artifact upload ")
    summary = (checkout / "ci-egress" / JOB / "summary.md").read_text()
    assert annotated == f"annotate --context ci-egress-{JOB} --style info\n{summary}"
    assert uploaded == f"ci-egress/{JOB}/**/*\n"
    assert (checkout / "ci-egress" / JOB / "report.html").exists()


@pytest.mark.parametrize("has_terminal", [False, True], ids=["no terminal", "a terminal"])
@pytest.mark.parametrize("is_root", [True, False], ids=["root", "sudo"])
def test_a_cancelled_job_keeps_its_report(
    checkout: Path,
    path: str,
    agent: Path,
    lab: Lab,
    programs: Programs,
    sudoer: User,
    *,
    is_root: bool,
    has_terminal: bool,
) -> None:
    sudoer.give(checkout, agent.parent)
    command = f"{'' if is_root else 'sudo -n '}{act(lab, programs)}\ntouch began\nsleep 90"
    status = cancelled(checkout, command, path, None if is_root else sudoer, has_terminal=has_terminal)
    assert status == 128 + signal.SIGTERM
    assert [span.name for span in egress(checkout)] == [PEER]
    asked = agent.read_text()
    assert f"annotate --context ci-egress-{JOB}" in asked
    assert V4.peer in text_of(asked)
    assert f"artifact upload ci-egress/{JOB}/**/*\n" in asked


def test_the_agent_is_asked_nothing_that_is_turned_off(checkout: Path, path: str, agent: Path) -> None:
    assert run_hook(checkout, "true", path, {"annotate": "false", "artifacts": "false"}).returncode == 0
    assert not agent.exists()


def test_a_failing_command_fails_the_step_as_ever(checkout: Path, path: str) -> None:
    assert run_hook(checkout, "false\necho went on; exit 0", path).returncode == 1
    assert run_hook(checkout, "exit 7", path).returncode == 7


def script_at(path: Path, text: str, mode: int) -> Path:
    """A script, with its folder."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_script_of_the_checkout_is_run_as_the_agent_does(checkout: Path, path: str) -> None:
    script_at(checkout / "scripts" / "build", "#!/usr/bin/env python3\nprint('by its interpreter')\n", 0o755)
    done = run_hook(checkout, "scripts/build", path, BUILDKITE_COMMAND_EVAL="false")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "by its interpreter"), done.stderr


def test_a_script_is_made_executable_where_the_agent_evaluates_commands(checkout: Path, path: str) -> None:
    script_at(checkout / "scripts" / "build", "#!/bin/sh\ntouch ran\n", 0o644)
    assert run_hook(checkout, "scripts/build", path).returncode == 0
    assert (checkout / "ran").exists()


def test_a_script_that_names_no_interpreter_is_the_shells(checkout: Path, path: str) -> None:
    script_at(checkout / "scripts" / "build", "[[ 1 ]] && echo ok\n", 0o755)
    done = run_hook(checkout, "scripts/build", path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "ok"), done.stderr


def test_the_newlines_of_a_pipelines_block_are_no_part_of_a_scripts_name(checkout: Path, path: str) -> None:
    script_at(checkout / "scripts" / "build", "#!/bin/sh\ntouch ran\n", 0o755)
    done = run_hook(checkout, "scripts/build\n", path, BUILDKITE_COMMAND_EVAL="false")
    assert done.returncode == 0, done.stderr
    assert (checkout / "ran").exists()


def test_a_program_of_the_machine_is_run_by_a_user_who_may_not_change_it(
    checkout: Path, path: str, sudoer: User
) -> None:
    sudoer.give(checkout)
    done = run_hook(checkout, "/usr/bin/true", path, under=sudoer.under)
    assert done.returncode == 0, done.stderr


def test_an_agent_without_command_eval_makes_nothing_executable(checkout: Path, path: str) -> None:
    script = script_at(checkout / "scripts" / "build", "#!/bin/sh\ntouch ran\n", 0o644)
    done = run_hook(checkout, "scripts/build", path, BUILDKITE_COMMAND_EVAL="false")
    assert done.returncode == 126, done.stderr
    assert script.stat().st_mode & 0o777 == 0o644
    assert not (checkout / "ran").exists()


@pytest.mark.parametrize("command", ["../outside", "scripts/../../outside", "{folder}/outside"])
def test_an_agent_without_command_eval_runs_scripts_of_the_checkout_only(
    command: str, checkout: Path, path: str
) -> None:
    script_at(checkout.parent / "outside", "#!/bin/sh\ntouch ran\n", 0o755)
    named = command.format(folder=checkout.parent)
    done = run_hook(checkout, named, path, BUILDKITE_COMMAND_EVAL="false")
    assert done.returncode == 2
    assert "scripts of the checkout only" in done.stderr
    assert not list(checkout.iterdir())


def test_an_agent_without_command_eval_evaluates_nothing(checkout: Path, path: str) -> None:
    done = run_hook(checkout, "touch ran", path, BUILDKITE_COMMAND_EVAL="false")
    assert done.returncode == 2
    assert "no-command-eval" in done.stderr
    assert not list(checkout.iterdir())


def test_a_policy_is_enforced_and_fails_the_step(
    checkout: Path, path: str, lab: Lab, programs: Programs
) -> None:
    (checkout / "policy.yaml").write_text(ALL_BUT_EVIL)
    command = f"{act(lab, programs, EVIL)} || test $? = {errno.EPERM}"
    given = {"mode": "enforce", "policy": "policy.yaml", "fail-on": ["audit", "deny"]}
    done = run_hook(checkout, command, path, given)
    assert done.returncode == 90, done.stderr
    assert EVIL in text_of((checkout / "ci-egress" / JOB / "summary.md").read_text())


def test_destinations_may_be_a_list(checkout: Path, path: str, lab: Lab, programs: Programs) -> None:
    given = {"allowed-endpoints": [PEER.split()[-1], "*.wheels.example:443"], "fail-on": "audit"}
    assert run_hook(checkout, act(lab, programs), path, given).returncode == 0


def test_a_step_whose_user_has_sudo_can_remove_what_it_leaves(
    checkout: Path, installed: str, lab: Lab, programs: Programs, sudoer: User, sudo_path: str
) -> None:
    sudoer.give(checkout)
    command = f"sudo -n {act(lab, programs)}\nid -u"
    done = run_hook(checkout, command, sudo_path + installed, under=sudoer.under)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, str(sudoer.uid)), done.stderr
    (span,) = egress(checkout)
    assert (span.name, span.resource["cicd.pipeline.task.run.id"]) == (PEER, JOB)
    subprocess.run([*sudoer.under, "rm", "-r", checkout / "ci-egress"], check=True)


def test_a_command_has_the_variables_that_it_would_have(
    checkout: Path, path: str, sudoer: User, sudo_path: str, collector: Collector
) -> None:
    """And root those that say where telemetry goes, but not where it waits."""
    sudoer.give(checkout)
    command = f"{UNSET_AS_EVER}; echo $OWN; {SHOW_TAKEN}"
    own = {"OWN": "a b", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    done = run_hook(checkout, command, sudo_path + path, {}, under=sudoer.under, **TAKEN_BY_SUDO, **own)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-len(TAKEN_BY_SUDO) - 1 :] == ["a b", *TAKEN_BY_SUDO.values()]
    assert [entry.name for entry in checkout.iterdir()] == ["ci-egress"]
    assert collector.taken


def test_root_does_not_run_what_a_job_put_on_path(
    checkout: Path, path: str, sudoer: User, left: Path, lab: Lab, programs: Programs
) -> None:
    sudoer.give(checkout)
    under = (*sudoer.under, "env", f"PATH={left}:{path}")
    done = run_hook(checkout, f"sudo -n {act(lab, programs)}", path, under=under)
    assert done.returncode == 0, done.stderr
    assert [entry.name for entry in left.iterdir()] == ["ci-egress"]
    assert [span.name for span in egress(checkout)] == [PEER]


def test_a_ci_egress_that_root_does_not_find_has_to_be_named(checkout: Path, path: str, sudoer: User) -> None:
    sudoer.give(checkout)
    under = (*sudoer.under, "env", f"PATH={path}")
    program = f"{path.partition(':')[0]}/ci-egress"
    done = run_hook(checkout, "touch ran", os.defpath, under=under)
    assert done.returncode == 91
    assert f"none is there; link it there, or give its path, as in ci-egress: {program}\n" in done.stderr
    assert not (checkout / "ran").exists()
    done = run_hook(checkout, "touch ran", os.defpath, {"ci-egress": program}, under=under)
    assert done.returncode == 0, done.stderr
    assert (checkout / "ran").exists()


@pytest.mark.parametrize(
    ("configuration", "says"),
    [
        ({"mode": "block"}, "mode is none of trace, audit and enforce"),
        ({"mode": "audit"}, "mode is audit, and no policy is given"),
        ({"mode": "trace", "policy": "p"}, "mode is trace, and a policy is given"),
        ({"fail-on": "--host'; touch owned; '"}, "is none of `novel`, `audit`, `deny`"),
        ({"policy": "--enforce"}, "--enforce"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_command_runs(
    configuration: Mapping[str, str], says: str, checkout: Path, path: str
) -> None:
    done = run_hook(checkout, "touch ran", path, configuration)
    assert done.returncode == 2
    assert says in done.stderr
    assert not {"ran", "owned"} & {shlex.quote(entry.name) for entry in checkout.iterdir()}
