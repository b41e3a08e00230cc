"""Who starts jobs, and what they are marked by, as the kernel's programs compare it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from exporter.common.bounded import beginning_of
from exporter.common.errors import UsageError
from exporter.events import wire
from exporter.jobs.providers import PROVIDERS
from exporter.session.watch.agents import (
    KNOWN,
    NUMBERED,
    Above,
    Agent,
    above,
    agent_named,
    agent_of,
    marks,
    number_of,
    system_of,
)
from tests.unit.started_processes import wait_until_executed


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("gitlab-runner.service", Agent(wire.AGENT_UNIT, b"gitlab-runner.service")),
        ("session-3.scope", Agent(wire.AGENT_UNIT, b"session-3.scope")),
        ("/opt/ci/bin/Runner.Worker", Agent(wire.AGENT_PROGRAM, b"Runner.Worker")),
        ("gitlab-runner", Agent(wire.AGENT_PROGRAM, b"gitlab-runner")),
        ("user:4711", Agent(wire.AGENT_USER, user=4711)),
        ("x" * 80, Agent(wire.AGENT_PROGRAM, b"x" * 55)),
    ],
)
def test_what_is_named_is_a_unit_an_executable_or_a_user(text: str, meant: Agent) -> None:
    assert agent_named(text) == meant
    assert len(meant.key) == wire.AGENT_KEY.size


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/opt/ci/", "names nothing"),
        ("user:nobody-has-this-name", "there is no such user"),
        ("user:root", "all that the host does is root's"),
        ("user:0", "all that the host does is root's"),
    ],
)
def test_what_can_be_no_agent_is_said(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        agent_named(text)


def test_each_mark_that_a_job_is_known_by_is_looked_for() -> None:
    found = [wire.MarkKey.unpack(mark) for mark in marks("BUILD_OF_MINE_WITH_A_LONG_NAME")]
    texts = {mark.text[: mark.prefix_bits // 8].decode() for mark in found}
    for provider in PROVIDERS:
        assert any(f"{mark.partition('=')[0]}=" in texts for mark in provider.present), provider.name
    assert "BUILD_ID=" not in texts  # others have it, too
    assert "CI=" not in texts
    assert {"GITHUB_ACTIONS=", "CI_SYSTEM_NAME=", "GITLAB_CI=", "BUILD_OF_MINE_WITH_A_LONG_N"} <= texts
    assert max(map(len, texts)) < wire.MARK_ROOM  # of what is compared with it, the last byte is a NUL
    assert len(found) == len(texts) <= 64


def test_a_process_that_runs_is_known_by_its_executable_or_its_user(tmp_path: Path) -> None:
    name = tmp_path / "agent"
    shutil.copy("/bin/sleep", name)
    other, user = agent_named("other"), Agent(wire.AGENT_USER, user=os.getuid())
    with subprocess.Popen([name, "100"]) as process:
        assert agent_of(process.pid, {agent_named("agent"), other}, {}) == agent_named("agent")
        assert agent_of(process.pid, {user}, {}) == user
        assert agent_of(process.pid, {other}, {}) is None
        name.unlink()
        assert agent_of(process.pid, {agent_named("agent")}, {})
        process.kill()


@pytest.mark.parametrize(
    ("name", "variable", "is_agent"),
    [
        ("gitlab-runner", "TF_BUILD", False),
        ("gitlab-runner", "BUILD_OF_MINE", False),
        ("gitlab-runner", "GITLAB_CI", True),
        ("gitlab-runner", "OTHER", True),
        ("agent", "GITLAB_CI", False),
        ("Runner.Worker", "CODEBUILD_BUILD_ARN", True),  # in which GitHub's runner can be
    ],
)
def test_a_jobs_variables_count_for_more_than_an_agents_name(
    name: str, variable: str, is_agent: bool, tmp_path: Path
) -> None:
    tool = tmp_path / name
    shutil.copy("/bin/sleep", tool)
    user = Agent(wire.AGENT_USER, user=os.getuid())
    with subprocess.Popen([tool, "100"], env={variable: "1"}) as process:
        wait_until_executed(process.pid)
        found = agent_of(process.pid, {agent_named(name)}, marks("BUILD_OF_MINE"))
        by_user = agent_of(process.pid, {agent_named(name), user}, marks("BUILD_OF_MINE"))
        process.kill()
    assert found == (agent_named(name) if is_agent else None)
    assert by_user == (agent_named(name) if is_agent else user), "whose user is an agent's is one anyway"


def test_who_keeps_his_variables_from_being_read_is_no_agent_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(path: Path, most: int) -> bytes:
        if path.name == "environ":
            raise OSError
        return beginning_of(path, most)

    tool = tmp_path / "gitlab-runner"
    shutil.copy("/bin/sleep", tool)
    monkeypatch.setattr("exporter.session.watch.agents.beginning_of", unreadable)
    with subprocess.Popen([tool, "100"]) as process:
        assert agent_of(process.pid, {agent_named(tool.name)}, marks(None)) is None
        process.kill()


def test_the_nearest_of_what_started_it_that_is_an_agent_by_its_executable_is_the_jobs(
    tmp_path: Path,
) -> None:
    """Whose user is an agent's may be its step."""
    user = Agent(wire.AGENT_USER, user=os.getuid())
    for name in ("gitlab-runner", "Runner.Listener", "Runner.Worker"):
        shutil.copy("/bin/sh", tmp_path / name)
    script = "echo $$; sleep 100; :"
    for name in ("sh", "./Runner.Worker", "./Runner.Listener"):
        script = f"{shlex.join([name, '-c', script])}; :"
    with subprocess.Popen(
        ["./gitlab-runner", "-c", script],
        cwd=tmp_path,
        env={},
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as runner:
        assert runner.stdout
        pid = int(runner.stdout.readline())
        found, unknown = above(pid, (*KNOWN, user), {}), above(pid, (user,), {})
        os.killpg(runner.pid, signal.SIGKILL)
    assert [process.pid for process in found.everyone].index(runner.pid) == 2
    assert found.agent == found.everyone[0]
    assert found.up_to_agent == found.everyone[:1]
    assert unknown == Above(found.everyone)
    assert unknown.up_to_agent == unknown.everyone


def test_of_agents_that_are_known_it_is_known_whose_steps_they_start() -> None:
    assert {system_of(number_of(agent)) for agent in KNOWN} == set(KNOWN.values())
    assert set(KNOWN.values()) <= {provider.name for provider in PROVIDERS}
    assert (number_of(agent_named("another")), system_of(0), system_of(99)) == (0, None, None)


def test_the_number_of_a_system_stays_as_long_as_there_are_instances_to_adopt() -> None:
    """Of this list only the end may change."""
    known = ("", "buildkite", "forgejo", "gitea", "github", "gitlab", "jenkins", "woodpecker")
    assert NUMBERED[: len(known)] == known
