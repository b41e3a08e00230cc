"""docs/tutorial.md, done: its commands, typed into a shell with the demo's pipeline, a week in seconds."""

from __future__ import annotations

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from demo.job import CI_EGRESS, FIRST_RUN, environment
from demo.names import PIPELINE
from demo.network import network
from demo.sites import Beacon, UnreachableBeacon
from tests.docs.pages import DOCS
from tests.integration.receivers import wait_until
from tests.launch import DEADLINE_S
from tests.turns import turn, turn_left

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from demo.network import Build

TUTORIAL = DOCS / "tutorial.md"
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = ("PATH", "HOME", "LANG")
"""What a terminal has, of a job's variables."""
FIRST = "Type it yourself"
"""The section of what is typed before all else."""
COUNT = "((++CI_PIPELINE_ID, ++CI_JOB_ID))"
"""What the page has typed before each run but the first."""
POISONED = frozenset({"Friday: be told what is new", "Tuesday: enforce one pipeline", "And back"})
"""Days on which the registry has the poisoned release."""
ENFORCED = "Tuesday: enforce one pipeline"
TURNED = "And back"
WITHIN_S = 600
"""For the first test that wants it, which waits for all of it: a dozen runs of the pipeline."""


class Step(NamedTuple):
    """A block of commands, and what the page shows of what they print."""

    day: str
    commands: str
    shown: str


class Done(NamedTuple):
    """The same, done."""

    step: Step
    status: int
    output: str
    requests: int
    """That the beacon got."""


def steps() -> list[Step]:
    """Those of the page's days, in its order; what isn't in a block of `sh` is not typed."""
    return [step for step in _blocks() if step.day != FIRST]


def terminal(number: int) -> str:
    """What a reader has typed by the run `number`, from 0: the job's variables, of a pipeline `nightly`.

    No other test has one of that name: `enforce off --job` is about all jobs of the host.
    """
    variables = "".join(step.commands for step in _blocks() if step.day == FIRST)
    return variables + f"{COUNT}\n" * number


def _blocks() -> Iterator[Step]:
    _, *parts = _SECTION.split(TUTORIAL.read_text(encoding="utf-8"))
    for day, text in zip(parts[::2], parts[1::2], strict=True):
        blocks = _FENCE.findall(text)
        for number, (language, commands) in enumerate(blocks):
            if language == "sh":
                follows = blocks[number + 1 : number + 2]
                yield Step(day, commands, follows[0][1] if follows and not follows[0][0] else "")


def do(scratch: Path) -> list[Done]:
    """All of it, in the workspace `scratch/workspace`."""
    workspace, programs = scratch / "workspace", scratch / "bin"
    workspace.mkdir()
    programs.mkdir()
    (programs / "ci-egress").symlink_to(CI_EGRESS)
    shutil.copy(PIPELINE / "ci.sh", workspace)
    done = []
    for number, step in enumerate(steps()):
        with _alone() if step.day == TURNED else nullcontext():
            done.append(_done(step, number, scratch))
    return done


@contextmanager
def _alone() -> Iterator[None]:
    """No other test's watch of the host, without a policy to turn off, has the job, too."""
    with turn_left(), turn(alone=True):
        yield


def _done(step: Step, number: int, scratch: Path) -> Done:
    """A run of the pipeline of its own for each: a runner clears the checkout before it."""
    workspace, files = scratch / "workspace", scratch / f"step-{number}"
    files.mkdir()
    shutil.rmtree(workspace / "checkout", ignore_errors=True)
    told = {name: value for name, value in environment(FIRST_RUN).items() if name in SHELL}
    told |= {"PATH": f"{scratch / 'bin'}:{told['PATH']}", "STATE_DIRECTORY": str(scratch / "state")}
    beacon = _beacon(step, workspace / "runs" / str(1 + number) / "logs.jsonl")
    typed = terminal(number)
    log = files / "output"
    with network(beacon, files) as build:
        during = _enforced_job(build, workspace, told, typed) if step.day == TURNED else nullcontext()
        with during:
            script = f"exec >{log} 2>&1\n{typed}{step.commands}"
            status = build.run(["bash", "-euc", script], directory=workspace, environment=told)
    return Done(step, status, log.read_text(encoding="utf-8"), len(beacon.requests) if beacon else 0)


def _beacon(step: Step, logs: Path) -> Beacon | None:
    if step.day == ENFORCED:
        return UnreachableBeacon(logs)
    return Beacon() if step.day in POISONED else None


@contextmanager
def _enforced_job(build: Build, workspace: Path, told: Mapping[str, str], typed: str) -> Iterator[None]:
    """In another terminal, a job that is enforced and waits before its script until the context is over."""
    started, goes_on = workspace / "started", workspace / "goes-on"
    os.mkfifo(goes_on)
    waiting = f"touch {started}; read -r _ <{goes_on}; ./ci.sh"
    run = f"exec ci-egress run --policy policy.yaml --enforce -- sh -c '{waiting}'"
    command = ["bash", "-euc", f"exec >{workspace.parent}/enforced-job 2>&1\n{typed}{run}"]
    with ThreadPoolExecutor(1) as thread:
        ended = thread.submit(build.run, command, directory=workspace, environment=told)
        turn = os.open(goes_on, os.O_RDWR)  # both ends, so that nobody waits for the other to open it
        try:
            wait_until(lambda: started.exists() or ended.done(), within_s=DEADLINE_S)
            assert not ended.done(), (workspace.parent / "enforced-job").read_text(encoding="utf-8")
            yield
        finally:
            os.write(turn, b"on\n")
            wait([ended])
            os.close(turn)
        ended.result()


def find(done: list[Done], words: str) -> Done:
    """The step whose commands have these words."""
    (found,) = (each for each in done if words in each.step.commands)
    return found


def lines(text: str) -> list[str]:
    """Those of an output, without what differs from run to run."""
    text = re.sub(r"\b[0-9a-f]{16,32}\b", "ID", text)
    text = re.sub(r"\d[\d,.]*", "N", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]
