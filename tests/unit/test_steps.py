"""What a watch tells the kernel of who executed with something: whose it is, or that it is nobody's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from exporter.cli.steps import Steps
from exporter.events import HOST, Environment, ProcessKey
from exporter.wire import STANDING_MARKED, STANDING_MARKED_STEP, STANDING_NONE, STANDING_STEP

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


def decided(event: Environment, scope: int, *, undecided: int) -> list[tuple[object, ...]]:
    """What the kernel is told."""
    said = list[tuple[object, ...]]()
    scopes = SimpleNamespace(
        adopt=lambda *given: said.append(("adopt", *given)),
        release=lambda *given: said.append(("release", *given)),
    )
    tracer: Any = SimpleNamespace(scopes=scopes, frames=SimpleNamespace(undecided=undecided))
    Steps(tracer, (), None, ()).decide(event, scope)
    return said
