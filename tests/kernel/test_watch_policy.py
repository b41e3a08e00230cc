"""`ci-egress watch` under a policy: each job of the host is held to its own part of it."""

from __future__ import annotations

import os
import shlex
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.watches import gitlab

from .attached import wait_for
from .lab import PORT, V4
from .watching import Runner, Watch, watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Programs
    from .lab import Lab

pytestmark = pytest.mark.kernel

PATH = {"PATH": os.environ.get("PATH", os.defpath)}
PEER, EVIL = f"{V4.peer}:{PORT}", f"{V4.evil}:{PORT}"


@pytest.fixture
def runner() -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


def job(run: str, task: str, **more: str) -> dict[str, str]:
    """The variables of the job `task` of the run `run`; its pipeline is group/app."""
    return {**PATH, **gitlab(run=run, job=f"{task}-of-{run}", CI_JOB_NAME=task), **more}


def run_id(name: str) -> str:
    """One that no other test of this host has."""
    return f"{name}-{os.getpid()}"


class Steps:
    """Steps of jobs that act once their job is known, and again whenever they are told to."""

    def __init__(self, folder: Path, lab: Lab, programs: Programs, runner: Runner) -> None:
        self.folder, self._lab, self._programs, self._runner = folder, lab, programs, runner

    def act(self, address: str) -> str:
        """The words of a connect to `address`, on the build side."""
        command = self._lab.command(self._programs.act("connect", address, PORT))
        return shlex.join([os.fsdecode(part) for part in command])

    def start(self, environ: dict[str, str], *rounds: str) -> Path:
        """A step that does the next of `rounds` each time that `go` is called with what this returns."""
        name = f"{environ['CI_JOB_ID']}-{len(list(self.folder.iterdir()))}"
        place = self.folder / name
        place.mkdir()
        lines = []
        for number, words in enumerate(rounds):
            lines.append(f"until test -e {place}/go{number}; do sleep 0.02; done")
            lines.append(
                f"{{ {words}; }} > {place}/out{number} 2>&1; mv {place}/out{number} {place}/done{number}"
            )
        self._runner.start((environ, ["sh", "-c", "; ".join([*lines, "true"])]))
        return place

    def go(self, place: Path, number: int = 0) -> str:
        """Let the step do its round `number`; what that printed."""
        (place / f"go{number}").touch()
        done = place / f"done{number}"
        wait_for(done.exists)
        return done.read_text()


@pytest.fixture
def steps(lab: Lab, programs: Programs, runner: Runner, tmp_path: Path) -> Steps:
    folder = tmp_path / "steps"
    folder.mkdir()
    return Steps(folder, lab, programs, runner)


def policy(tmp_path: Path, text: str) -> Path:
    """A file of that policy."""
    path = tmp_path / "policy.yaml"
    path.write_text(f"version: 1\n{text}")
    return path


def known(watch: Watch, *runs: str) -> None:
    """Wait until the jobs have begun."""
    for run in runs:
        watch.wait_until_said(" began", run_id=run)


SECTIONS = f"""
jobs:
  "*/strict": {{mode: enforce, allow: ["{PEER}"]}}
  "*/lax": {{allow: ["{EVIL}"]}}
"""


def test_jobs_at_once_are_each_held_to_their_own_part_and_mode(
    steps: Steps, lab: Lab, tmp_path: Path
) -> None:
    file, run = policy(tmp_path, SECTIONS), run_id("parts")
    both = f"{steps.act(V4.peer)}; {steps.act(V4.evil)}"
    with watching(tmp_path, "--policy", str(file)) as watch, lab.watch() as arrivals:
        jobs = {task: steps.start(job(run, task), both) for task in ("strict", "lax", "other")}
        watch.wait_until_said(" began", run_id=run, times=3)
        assert {task: steps.go(place) for task, place in jobs.items()} == {
            "strict": "ok\nEPERM\n",
            "lax": "ok\nok\n",
            "other": "ok\nok\n",
        }
        seen = watch.stop()
    assert arrivals.arrivals.packets_to(V4.evil) > 0
    told = Counter(
        (
            span.resource["cicd.pipeline.task.name"],
            span["network.peer.address"],
            span["egress.verdict"],
            span["egress.mode"],
            span["egress.rule"],
        )
        for span in seen.egress(run)
    )
    assert told == {
        ("strict", V4.peer, "allow", "enforce", PEER): 1,
        ("strict", V4.evil, "deny", "enforce", "default"): 1,
        ("lax", V4.peer, "audit", "audit", "default"): 1,
        ("lax", V4.evil, "allow", "audit", EVIL): 1,
        ("other", V4.peer, "audit", "audit", "default"): 1,
        ("other", V4.evil, "audit", "audit", "default"): 1,
    }
