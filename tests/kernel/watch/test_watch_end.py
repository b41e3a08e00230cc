"""Whose end of a watch is no tampering: who has a job's token; of a service's, who runs the host."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import signal
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.command_process import is_gone
from tests.kernel.host_watches import CI_EGRESS, HOST, WORKFLOW, leaves, step, watching_a_job
from tests.kernel.running_exporter import wait_for
from tests.kernel.tamper_records import told
from tests.kernel.tracing import RUN_LIMIT_S
from tests.kernel.watching import Runner, watching

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.kernel

JOB = f"{WORKFLOW}/build"
MANY = 6000
"""Processes whose records are more than a watch takes in at once."""
POLICY = 'version: 1\nallow: ["any://0.0.0.0/0", "any://[::/0]"]\n'


@pytest.mark.alone  # what others' jobs do to programs would head the summary, too
def test_who_has_the_token_ends_it_and_nothing_is_told(runner: Runner, tmp_path: Path) -> None:
    with watching_a_job(tmp_path) as mine:
        runner.run((step("__run"), ["true"]), (step("__post_egress"), mine.ask()))
        summary = mine.ended()
    assert mine.is_clean(summary), summary


@pytest.mark.alone  # strangers' jobs are this one's here, and what they left behind
@pytest.mark.parametrize(
    ("mode", "asked", "is_ended"),
    [
        *(("enforce", "token", True), ("enforce", "signal", True)),
        *(("enforce", "secret", False), ("audit", "token", False)),
    ],
)
def test_what_a_job_left_behind_is_ended_with_it_where_its_policy_is_enforced(
    runner: Runner, tmp_path: Path, mode: str, asked: str, is_ended: bool
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"{POLICY}mode: {mode}\n")
    with watching_a_job(tmp_path, "--policy", str(file)) as mine:
        runner.run((step("__run"), ["sh", "-c", leaves(tmp_path)]))
        ask = shlex.join(mine.kill("TERM") if asked == "signal" else mine.ask(getattr(mine, asked)))
        goes_on = f"while test -e /proc/{mine.watch.process.pid}/exe; do sleep 0.05; done"
        runner.start((step("__post_egress"), ["sh", "-c", f"{ask}; {goes_on}; touch {tmp_path}/went-on"]))
        mine.ended()
    pid = int((tmp_path / "left").read_text())
    if is_ended:
        assert is_gone(pid)
    else:
        os.kill(pid, signal.SIGKILL)  # it is there
    wait_for((tmp_path / "went-on").exists)
    told = (
        f"ended 1 process that the job left behind, since nothing would hold it to the policy: sleep ({pid})"
    )
    assert mine.watch.has_said(told) == is_ended


@pytest.mark.alone  # as above
def test_what_looks_like_a_step_below_what_was_left_behind_is_ended_too(tmp_path: Path) -> None:
    """It has the job's variables, and its parent runs: but no agent made that one."""
    file = tmp_path / "policy.yaml"
    file.write_text(f"{POLICY}mode: enforce\n")
    name = f"agent-of-{os.getpid()}"
    shutil.copy(Path(sys.executable).resolve(), tmp_path / name)
    variables = " ".join(f"{key}={value}" for key, value in step("__run").items())
    poses = f"env -i {variables} sh -c 'echo $$ >{tmp_path}/left; exec sleep 600'"
    left = f'setsid sh -c "{poses} & exec sleep 600" & until test -s {tmp_path}/left; do :; done'
    options = ("--policy", str(file), "--agent", str(tmp_path / name))
    with Runner(python=str(tmp_path / name)) as agent, watching_a_job(tmp_path, *options) as mine:
        agent.run((HOST, ["sh", "-c", left]))
        agent.run((step("__post_egress"), mine.ask()))
        mine.ended()
        assert is_gone(int((tmp_path / "left").read_text()))
    assert mine.watch.has_said("ended 2 processes that the job left behind, ")


@pytest.mark.alone  # as above
def test_what_was_left_behind_a_moment_before_the_end_is_ended_too(runner: Runner, tmp_path: Path) -> None:
    """The watch may have thousands of records to take in, before those that say whose it is."""
    file = tmp_path / "policy.yaml"
    file.write_text(f"{POLICY}mode: enforce\n")
    many = f"n=0; while test $n -lt {MANY}; do (:); n=$((n + 1)); done"
    with watching_a_job(tmp_path, "--policy", str(file)) as mine:
        mine.watch.process.send_signal(signal.SIGSTOP)
        runner.run((step("__run"), ["sh", "-c", f"{many}; {leaves(tmp_path)}"]))
        ask = shlex.join(mine.ask())
        runner.start((step("__post_egress"), ["sh", "-c", f"{ask}; sleep 1; touch {tmp_path}/went-on"]))
        wait_for((tmp_path / "end" / mine.token).exists)
        mine.watch.process.send_signal(signal.SIGCONT)
        mine.ended()
    assert is_gone(int((tmp_path / "left").read_text()))
    wait_for((tmp_path / "went-on").exists)


@pytest.mark.alone  # as above
def test_a_storm_of_forks_keeps_nothing_that_a_job_left_behind_from_its_end(
    runner: Runner, tmp_path: Path
) -> None:
    """Records of processes wait then, or are lost: what runs is asked of the kernel."""
    file = tmp_path / "policy.yaml"
    file.write_text(f"{POLICY}mode: enforce\n")
    storm = "while :; do (:) & (:) & wait; done"
    storms = " ".join([f"setsid sh -c '{storm}' &"] * 4)
    with watching_a_job(tmp_path, "--policy", str(file)) as mine:
        runner.run((step("__run"), ["sh", "-c", f"{leaves(tmp_path)}; {storms} sleep 1"]))
        runner.run((step("__post_egress"), mine.ask()))
        mine.ended()
    assert is_gone(int((tmp_path / "left").read_text()))
    assert mine.watch.has_said("that the job left behind, since nothing would hold them to the policy: ")
    assert not mine.watch.has_said("can't be ended")
    assert not mine.watch.has_said("faster than they can be ended")


@pytest.mark.parametrize(
    ("env", "script"),
    [
        (step("__run"), "(setsid {kill} &) ; sleep 0.2"),
        (HOST, "{kill}"),  # as systemd-run has it done, or an engine's daemon
    ],
    ids=["left-by-a-step", "the-hosts-own"],
)
def test_a_signal_is_tampering_whoever_sends_it(
    runner: Runner, tmp_path: Path, env: dict[str, str], script: str
) -> None:
    with watching_a_job(tmp_path) as mine:
        runner.run((env, ["sh", "-c", script.format(kill=shlex.join(mine.kill("TERM")))]))
        summary = mine.ended()
    (words,) = mine.told()
    assert words.endswith(" sent SIGTERM to ci-egress")
    assert "⛔" in summary
    assert words.partition(" ")[2] in summary  # after the chain of programs


def test_a_signal_before_an_end_by_the_token_is_told_all_the_same(runner: Runner, tmp_path: Path) -> None:
    with watching_a_job(tmp_path) as mine:
        as_nobody = shlex.join(["setpriv", "--reuid=65534", "--clear-groups", *mine.kill("TERM")])
        runner.run((step("__run"), ["sh", "-c", f"! {as_nobody}"]))  # it isn't even sent
        runner.run((step("__run"), mine.kill("HUP")))
        runner.run((step("__post_egress"), mine.ask()))
        summary = mine.ended()
    (words,) = mine.told()
    assert words.endswith(" sent SIGHUP to ci-egress")
    assert "⛔" in summary


def test_an_end_that_is_asked_for_without_the_token_is_told_once_and_none(
    runner: Runner, tmp_path: Path
) -> None:
    with watching_a_job(tmp_path) as mine:
        runner.run((step("__run"), mine.ask(sha256(mine.token.encode()).hexdigest())))  # all that it can read
        mine.watch.wait_until_said("the end was asked for without the token")
        runner.run((step("__run"), mine.ask("-" + mine.token)))
        runner.run((step("__run"), ["mkdir", str(tmp_path / "end" / secrets.token_hex(32))]))
        assert mine.watch.process.poll() is None
        runner.run((step("__post_egress"), mine.ask()))
        summary = mine.ended()
    (words,) = mine.told()
    assert words.startswith("the end was asked for without the token")
    assert "⛔" in summary
    assert words in summary


def test_what_the_hosts_own_do_by_commands_of_ci_egress_is_tampering_too(
    runner: Runner, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    with watching_a_job(tmp_path, "--policy", str(tmp_path / "policy.yaml"), "--enforce") as mine:
        runner.run((HOST, [CI_EGRESS, "enforce", "off", "--job", JOB]))
        mine.watch.wait_until_said(f"enforcement turned off for {JOB} by root")
        (instance,) = (row["instance"] for row in status(runner, tmp_path) if row["job"] == JOB)
        runner.run((HOST, [CI_EGRESS, "stop", instance]))
        mine.watch.wait_until_said("root called `ci-egress stop`")
        runner.run((step("__post_egress"), mine.ask()))
        summary = mine.ended()
    off, stopped = mine.told()
    assert off in summary
    assert stopped in summary


def status(runner: Runner, folder: Path) -> list[dict[str, str]]:
    """What is in force, as somebody sees it who is of no job."""
    asked = shlex.join([CI_EGRESS, "enforce", "status", "--json"])
    runner.run((HOST, ["sh", "-c", f"{asked} > {folder}/status"]))
    rows: list[dict[str, str]] = json.loads((folder / "status").read_text())
    return rows


def test_what_the_hosts_own_do_to_a_service_is_no_tampering_and_the_same_of_a_job_is(
    runner: Runner, tmp_path: Path
) -> None:
    """As `systemctl reload` and `stop` do, and somebody who turns enforcement off."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    with watching(tmp_path, "--policy", str(tmp_path / "policy.yaml"), "--enforce") as watch:
        (stay,) = runner.start((step("__run"), ["sleep", "600"]))
        watch.wait_until_said(f"job build of {WORKFLOW} began")  # others' jobs do, too
        runner.run((HOST, [CI_EGRESS, "enforce", "off", "--job", JOB]))
        watch.wait_until_said(f"enforcement turned off for {JOB} by root")
        runner.run((HOST, ["sh", "-c", f"kill -HUP {watch.process.pid}"]))
        watch.wait_until_said("read the policy again")
        runner.run((step("__run_2"), ["sh", "-c", f"kill -HUP {watch.process.pid}"]))
        watch.wait_until_said("read the policy again", times=2)
        runner.run((HOST, ["sh", "-c", f"kill {stay}; kill {watch.process.pid}"]))
        assert watch.process.wait(RUN_LIMIT_S) == 0
    (words,) = told(watch.otlp_dir)
    assert words.endswith(" sent SIGHUP to ci-egress")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--host --end-folder {folder}", "--end-folder and --end-digest belong together"),
        ("--host --end-digest {digest}", "--end-folder and --end-digest belong together"),
        ("--end-folder {folder} --end-digest {digest}", "--end-folder is given without --host"),
        ("--host --end-folder {folder} --end-digest ab", "isn't 64 hexadecimal digits"),
        ("--host --end-folder {folder}/x --end-digest {digest}", "cannot open {folder}/x: No such"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    runner: Runner, tmp_path: Path, options: str, said: str
) -> None:
    given = options.format(folder=tmp_path, digest="ab" * 32)
    command = f"{CI_EGRESS} watch {given} > {tmp_path}/out 2>&1; test $? = 2"
    runner.run((step("egress"), ["sh", "-c", command]))
    assert said.format(folder=tmp_path) in " ".join((tmp_path / "out").read_text().split())
