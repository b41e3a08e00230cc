"""Sections of `jobs` under `ci-egress watch`: what a job says of itself alone gets it nothing."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.adopting_watches import Watches, kill
from tests.kernel.containers import container
from tests.kernel.job_steps import EVIL, PATH, PEER, Steps, known, policy, run_id
from tests.kernel.lab import PORT, V4
from tests.kernel.steered_runs import own_host
from tests.kernel.watching import Runner, watching
from tests.unit.jobs.provider_environments import environment as documented

if TYPE_CHECKING:
    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.alone]  # strangers' steps are held until they are known, too

TASK = "held-by-its-project"
OURS = f"""
jobs:
  "*/{TASK}": {{mode: enforce}}
  "github:github.com/octo/app:release/*": {{allow: ["{PEER}"]}}
  "release/*": {{allow: ["{EVIL}"]}}
"""


def github(run: str, **more: str) -> dict[str, str]:
    """The variables of a job of octo/app, whose workflow is called release."""
    named = {"GITHUB_REPOSITORY": "octo/app", "GITHUB_WORKFLOW": "release", "GITHUB_JOB": TASK}
    return {**documented("github"), **named, "GITHUB_RUN_ID": run, **more}


def exports(environ: Mapping[str, str]) -> str:
    """Words that give these to what follows."""
    return "; ".join(f"export {key}={shlex.quote(value)}" for key, value in environ.items())


class Agents:
    """Programs without a job's variables that make first processes of jobs; each is a shell."""

    def __init__(self, folder: Path, steps: Steps, runner: Runner) -> None:
        self._folder, self._steps, self._runner = folder, steps, runner

    def start(self, name: str, environ: Mapping[str, str], *rounds: str) -> str:
        """Have one called `name` make a job that does each of `rounds` when told to; what to tell."""
        agent = self._folder / name
        if not agent.exists():
            shutil.copy(Path("/bin/sh").resolve(), agent)
        step = f"step-{environ['GITHUB_RUN_ID']}"
        script = shlex.quote(self._steps.script(step, *rounds))
        self._runner.start((PATH, [str(agent), "-c", f"{exports(environ)}; sh -c {script}; true"]))
        return step


def test_the_section_of_a_project_is_for_jobs_that_its_agent_makes_and_for_no_others(
    lab: Lab, steps: Steps, runner: Runner, tmp_path: Path
) -> None:
    agents, file = Agents(tmp_path, steps, runner), policy(tmp_path, OURS)
    both = f"{steps.act(V4.peer)}; {steps.act(V4.evil)}"
    runs = {name: run_id(name) for name in ("ours", "theirs", "forged", "several")}
    with watching(tmp_path, "--policy", str(file)) as watch, lab.watch() as arrivals:
        jobs = {
            "ours": agents.start("Runner.Worker", github(runs["ours"]), both),
            "theirs": agents.start(
                "Runner.Worker", github(runs["theirs"], GITHUB_REPOSITORY="evil/app"), both
            ),
            "forged": agents.start("containerd-shim", github(runs["forged"]), both),
            "several": agents.start("Runner.Worker", github(runs["several"], GITLAB_CI=""), both),
        }
        known(watch, *runs.values())
        printed = {name: steps.go(step) for name, step in jobs.items()}
        watch.stop()
    denied = "EPERM\nEPERM\n"
    assert printed == {"ours": "ok\nEPERM\n", "theirs": denied, "forged": denied, "several": denied}
    assert arrivals.arrivals.packets_to(V4.evil) == 0
    assert watch.has_said(
        f"{file}:6:3: what `release/*` allows doesn't count: a job's author chooses this name"
    )


SQUATTERS: dict[str, tuple[bool, dict[str, str]]] = {
    "container": (False, {}),
    "task": (True, {"GITHUB_JOB": "another"}),
    "long": (True, {f"LONG{number}": "x" * 100_000 for number in range(3)}),
}
"""Who has the ids of a job of octo/app: whether its agent made it, and other variables."""


@pytest.mark.parametrize("squatter", SQUATTERS)
def test_who_has_a_jobs_ids_decides_nothing_of_it_and_gets_nothing_of_it(
    steps: Steps, runner: Runner, tmp_path: Path, squatter: str
) -> None:
    """Neither where it comes first, nor where it comes later."""
    agent, file = tmp_path / "Runner.Worker", policy(tmp_path, OURS)
    shutil.copy(Path(sys.executable).resolve(), agent)
    (is_agents, other), runs = SQUATTERS[squatter], [run_id(f"{squatter}-{one}") for one in ("a", "b")]
    act = f"for try in $(seq 60); do told=$({steps.act(V4.peer)}); test $told = ok && break; sleep 0.05; done"
    with Runner(python=str(agent)) as worker, watching(tmp_path, "--policy", str(file)) as watch:

        def step(run: str, *, is_ours: bool) -> str:
            name = f"{run}-{is_ours:d}"
            by = worker if is_ours or is_agents else runner
            environ = {**PATH, **github(run, **({} if is_ours else other))}
            by.start((environ, ["sh", "-c", steps.script(name, f"{act}; echo $told")]))
            return name

        started = [step(run, is_ours=is_ours) for run, is_ours in zip(runs, (False, True), strict=True)]
        known(watch, *runs)
        started += [step(run, is_ours=is_ours) for run, is_ours in zip(runs, (True, False), strict=True)]
        for run in runs:
            watch.wait_until_said(" began", run_id=run, times=2)
        for name in started:
            steps.begin(name)
        printed = [steps.done(name) for name in started]
        seen = watch.stop()
    theirs = "ok\n" if squatter == "task" else "EPERM\n"  # the section is for each task of the workflow
    assert printed == [theirs, "ok\n", "ok\n", theirs]
    for run in runs:
        jobs = seen.jobs(run)
        assert len(jobs) == len({job.span_id for job in jobs}) == 2, "each is told as what it says"
        assert len({job.trace_id for job in jobs}) == 1
        tasks = {job.resource["cicd.pipeline.task.name"] for job in jobs}
        assert tasks == {TASK, other.get("GITHUB_JOB", TASK)}


def test_who_is_called_like_an_agent_in_a_container_vouches_for_nobody(
    lab: Lab, programs: Programs, runner: Runner, tmp_path: Path
) -> None:
    run, turn, agent = run_id("contained"), tmp_path / "turn", tmp_path / "agents" / "Runner.Worker"
    for folder in (turn, agent.parent):
        folder.mkdir()
    shutil.copy(Path("/bin/sh").resolve(), agent)
    waits = (
        f"until test -e {turn}/go; do sleep 0.02; done; {shlex.join(programs.act('connect', V4.peer, PORT))}"
    )
    command = [str(agent), "-c", f"{exports(github(run))}; sh -c {shlex.quote(f'{waits}; true')}; true"]
    shown = [programs.directory, turn, agent.parent]
    with (
        container(command, tmp_path / "bundle", network=lab.build.path, shown=shown) as made,
        watching(tmp_path, "--policy", str(policy(tmp_path, OURS)), "--host-enforce") as watch,
    ):
        runner.start((PATH, made.command))
        known(watch, run)
        (turn / "go").touch()
        watch.wait_for(lambda: bool(watch.egress(run)))
        seen = watch.stop()
    assert [span["egress.verdict"] for span in seen.egress(run)] == ["deny"]


def test_what_a_project_may_it_may_under_the_next_watch_if_that_takes_over(
    steps: Steps, runner: Runner, tmp_path: Path
) -> None:
    """One that starts anew has but /proc to go by, which the job may have written."""
    agents, run, act = Agents(tmp_path, steps, runner), run_id("next"), steps.act(V4.peer)
    with own_host() as host:
        watches = Watches(host, tmp_path, "--policy", str(policy(tmp_path, OURS)))
        with watches.watching() as first:
            step = agents.start("Runner.Worker", github(run), act, act, act)
            known(first, run)
            assert steps.go(step) == "ok\n"
            kill(first)
        with watches.watching("--adopt") as second:
            second.wait_until_said("goes on", run_id=run)
            assert steps.go(step, 1) == "ok\n"
            second.stop()
        with watches.watching() as third:
            known(third, run)
            assert steps.go(step, 2) == "EPERM\n"
            third.stop()
