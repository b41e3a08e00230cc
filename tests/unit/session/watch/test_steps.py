"""What a watch tells the kernel of who executed with something: whose it is, or that it is nobody's."""

from __future__ import annotations

import os
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from exporter.events.facts import HOST, Environment, ProcessKey
from exporter.events.wire import (
    STANDING_AGENT,
    STANDING_MARKED,
    STANDING_MARKED_STEP,
    STANDING_NONE,
    STANDING_STEP,
)
from exporter.session.watch.agents import Above
from exporter.session.watch.steps import NOBODY, Standing, Steps

ROOT = ProcessKey(10, 1)
JOB = 2
EXECUTED = Environment(1, ROOT, 3, b"A=1\0", False, STANDING_MARKED)


@pytest.mark.parametrize(
    ("event", "scope", "told"),
    [
        (EXECUTED, HOST, [("release", ROOT, 3)]),
        (EXECUTED._replace(standing=STANDING_MARKED_STEP), HOST, [("release", ROOT, 3)]),
        (EXECUTED._replace(standing=STANDING_STEP), HOST, []),
        (EXECUTED._replace(standing=STANDING_NONE), HOST, []),
        (EXECUTED._replace(is_cut=True), HOST, []),
        (EXECUTED._replace(is_from_proc=True), HOST, []),
        (EXECUTED, JOB, [("adopt", ROOT, 3, JOB)]),
        (EXECUTED._replace(is_from_proc=True), JOB, [("adopt", ROOT, 3, JOB)]),
    ],
)
def test_only_what_the_kernel_saw_as_a_whole_is_let_go_of(
    event: Environment, scope: int, told: list[tuple[object, ...]]
) -> None:
    assert decided(event, scope, undecided=JOB) == told


@pytest.mark.parametrize("event", [EXECUTED._replace(is_cut=True), EXECUTED._replace(is_from_proc=True)])
def test_where_steps_are_held_to_nothing_all_are_let_go_of(event: Environment) -> None:
    """What they execute next may show their job."""
    assert decided(event, HOST, undecided=HOST) == [("release", ROOT, 3)]


ABOVE = SHELL, SUDO, WORKER, LISTENER, INIT = (
    *(ProcessKey(1 << 23 | number, 1) for number in range(4)),
    ProcessKey(1, 1),
)
"""What starts a watch, the nearest first; all but one with pids that no process has."""


def test_what_started_the_watch_for_the_job_is_an_agent_and_what_starts_others_is_none() -> None:
    """What that makes next is a job's own agent: an agent by its name, unless it is somebody's step."""
    steps = Steps(SimpleNamespace(), (), None, Above(ABOVE, WORKER))  # type: ignore[arg-type]
    found = {process: steps.standing(process, parent_pid=0) for process in reversed(ABOVE)}
    assert found == {
        **dict.fromkeys((SHELL, SUDO, WORKER), Standing(STANDING_AGENT)),
        **dict.fromkeys((LISTENER, INIT), NOBODY),
    }
    assert steps.standing(ProcessKey(1 << 23 | 9, 2), LISTENER.pid) == NOBODY


def test_where_no_agent_is_known_all_that_started_the_watch_is_one() -> None:
    steps = Steps(SimpleNamespace(), (), None, Above(ABOVE))  # type: ignore[arg-type]
    found = [steps.standing(process, parent_pid=0).standing for process in reversed(ABOVE)]
    assert found == [STANDING_NONE, *[STANDING_AGENT] * 4]


@pytest.mark.parametrize("is_adopted", [False, True])
def test_everybody_is_entered_before_the_programs_are_attached_unless_they_are(*, is_adopted: bool) -> None:
    """Twice, since some are made during the first time; this process is none of them."""
    said = list[str]()
    entered = Counter[int]()
    processes = SimpleNamespace(
        know_steps=lambda *_: said.append("steps"),
        find=lambda process, *_: entered.update([process.pid]),
        all_are_found=lambda: said.append(f"all {entered[os.getppid()]} times"),
    )
    tracer: Any = SimpleNamespace(processes=processes, is_adopted=is_adopted)
    Steps(tracer, (), None, Above()).begin()
    assert said == (["steps"] if is_adopted else ["steps", "all 2 times"])
    assert os.getpid() not in entered


def decided(event: Environment, scope: int, *, undecided: int) -> list[tuple[object, ...]]:
    """What the kernel is told."""
    said = list[tuple[object, ...]]()
    scopes = SimpleNamespace(
        adopt=lambda *given: said.append(("adopt", *given)),
        release=lambda *given: said.append(("release", *given)),
    )
    tracer: Any = SimpleNamespace(scopes=scopes, frames=SimpleNamespace(undecided=undecided))
    Steps(tracer, (), None, Above()).decide(event, scope)
    return said
