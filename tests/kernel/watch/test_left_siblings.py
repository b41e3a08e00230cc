"""What a step leaves behind as a child of its agent, by CLONE_PARENT, is ended with the job, too."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import signal
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.command_process import is_gone
from tests.kernel.host_watches import (
    ALL_BUT_THAT,
    FILE,
    WORKER,
    called,
    ended,
    is_ready,
    step,
    watch_command,
    watch_environment,
    watching_a_job,
)
from tests.kernel.policy_runs import policy
from tests.kernel.running_exporter import wait_for
from tests.kernel.watching import Runner

if TYPE_CHECKING:
    from tests.kernel.conftest import Programs

pytestmark = [pytest.mark.kernel, pytest.mark.alone]  # strangers' jobs are these tests' here

UNREAD = {f"FILLER_{number}": "x" * 100_000 for number in range(3)}
"""Variables of the author's, which come first: the job's own aren't among those that are read."""


def stays(file: Path, *under: str) -> list[str]:
    """A command that writes its pid into `file`, and stays."""
    return [*under, "sh", "-c", f"echo $$ >{file}; exec sleep 100"]


def pid_in(file: Path) -> int:
    """What such a command has written."""
    wait_for(lambda: file.exists() and file.read_text().endswith("\n"))
    return int(file.read_text())


def parent_of(pid: int) -> int:
    """The kernel's parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def asks_and_goes_on(folder: Path, ask: list[str], watch: int) -> list[str]:
    """The last step: once the watch has ended, it writes that it went on; so does what it left to init."""
    over = f"while test -e /proc/{watch}/exe; do sleep 0.05; done"
    left = f"(sh -c '{over}; touch {folder}/went-on-below-init' &)"
    return ["sh", "-c", f"{left}; {shlex.join(ask)}; {over}; sleep 0.2; touch {folder}/went-on"]


@pytest.mark.parametrize("env", [UNREAD, {}], ids=["unread", "read"])
@pytest.mark.parametrize("is_known", [True, False], ids=["agent", "no-agent"])
def test_what_a_step_made_its_agents_child_is_ended_and_a_running_step_goes_on(
    programs: Programs, tmp_path: Path, env: dict[str, str], *, is_known: bool
) -> None:
    (tmp_path / "policy.yaml").write_text(FILE)
    name = f"agent-of-{os.getpid()}"
    python = called(name, tmp_path)
    options = ["--policy", str(tmp_path / "policy.yaml"), *(["--agent", name] if is_known else [])]
    sibling = programs.lineage("leave-sibling")
    variables = [f"{key}={value}" for key, value in step("__run").items()]
    lefts = {
        "once": sibling,
        "twice": [*sibling, *sibling],
        "as-a-step": [*sibling, "env", "-i", *variables],
    }
    with Runner(python=python) as agent, watching_a_job(tmp_path, *options) as mine:
        mine.watch.process.send_signal(signal.SIGSTOP)  # it knows of no step before all are over
        for way, under in lefts.items():
            agent.run(({**env, **step("__run")}, stays(tmp_path / way, *under)))
        left = {way: pid_in(tmp_path / way) for way in lefts}
        assert {parent_of(pid) for pid in left.values()} == {agent.pid}
        mine.watch.process.send_signal(signal.SIGCONT)
        last = asks_and_goes_on(tmp_path, mine.ask(), mine.watch.process.pid)
        agent.start(({**env, **step("__post_egress")}, last))
        mine.ended()
        gone = {way: is_gone(pid) for way, pid in left.items()}
        assert gone == dict.fromkeys(lefts, True)
        wait_for((tmp_path / "went-on").exists)
        wait_for((tmp_path / "went-on-below-init").exists)
    (ending,) = [line["message"] for line in mine.watch.said() if "left behind" in line["message"]]
    assert "that the job left behind, since nothing would hold them to the policy: " in ending
    # Also what other tests have left of a job: a machine that is watched in this way has only one.
    assert set(left.values()) <= {int(pid) for pid in re.findall(r"sleep \((\d+)\)", ending)}


def test_below_the_agent_that_started_the_watch_only_what_is_known_to_be_of_a_running_step_goes_on(
    programs: Programs, tmp_path: Path
) -> None:
    """Also of what ran before the watch, whose makers nobody saw: who started the watch keeps its own."""
    sibling, token = programs.lineage("leave-sibling"), secrets.token_hex(32)
    ends = ["--end-digest", sha256(token.encode()).hexdigest(), "--end-folder", str(tmp_path / "end")]
    watch = watch_command(tmp_path, "--policy", policy(tmp_path, ALL_BUT_THAT), *ends)
    beside = shlex.join(stays(tmp_path / "beside"))
    with Runner(python=called(WORKER, tmp_path)) as worker:
        worker.run((step("checkout"), stays(tmp_path / "before", *sibling)))
        before = pid_in(tmp_path / "before")
        with ended(tmp_path):
            worker.start((watch_environment(tmp_path), ["sh", "-c", f"{beside} & {shlex.join(watch)}; wait"]))
            wait_for(lambda: is_ready(tmp_path))
            worker.run(({**UNREAD, **step("__run")}, stays(tmp_path / "left", *sibling)))
            left = pid_in(tmp_path / "left")
            assert {parent_of(pid) for pid in (before, left)} == {worker.pid}
            watched = int((tmp_path / "pid").read_text())
            ask = ["touch", str(tmp_path / "end" / token)]
            worker.start(({**UNREAD, **step("__post")}, asks_and_goes_on(tmp_path, ask, watched)))
            assert is_gone(watched), (tmp_path / "log").read_text()
        assert (is_gone(before), is_gone(left)) == (True, True)
        os.kill(pid_in(tmp_path / "beside"), signal.SIGKILL)  # it is there
        wait_for((tmp_path / "went-on").exists)
        wait_for((tmp_path / "went-on-below-init").exists)
