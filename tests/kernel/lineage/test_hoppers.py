"""Processes that are others before anybody has looked: a scope isn't empty because a walk met nobody."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from exporter.events.facts import ProcessKey
from exporter.kernel.instances.loading import loading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.kernel.tracer import Tracer
    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

HOPS_S, LEAST_HOPS_S = 4, 3
"""`hop` counts seconds of the clock, the first of which may be nearly over."""
SCOPE, OTHER = 7, 8
_WAITING = 'echo $$ && read -r _ && exec "$@"'


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    with ExitStack() as stack:
        yield stack.enter_context(loading()).ready()


@contextmanager
def hopping(programs: Programs, tracer: Tracer) -> Iterator[None]:
    """During the block, and HOPS_S at most, SCOPE is one process that goes on as another all the time."""
    hopper = programs.lineage("hop", HOPS_S, "127.0.0.1", 9)
    with subprocess.Popen(
        [*programs.lineage("reap"), "sh", "-c", _WAITING, "sh", *hopper],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reaping:
        assert reaping.stdin is not None
        assert reaping.stdout is not None
        pid = int(reaping.stdout.readline())
        tracer.scopes.open(SCOPE)
        tracer.processes.follow(ProcessKey(pid, time.clock_gettime_ns(time.CLOCK_BOOTTIME)), SCOPE)
        reaping.stdin.write("\n")
        reaping.stdin.flush()
        assert not reaping.stdout.readline()  # it has closed that
        yield


def test_a_scope_is_not_empty_while_somebody_goes_on_as_somebody_else(
    programs: Programs, tracer: Tracer
) -> None:
    begun_s = time.monotonic()
    with hopping(programs, tracer):
        while not tracer.scopes.is_empty(SCOPE):
            pass
        assert time.monotonic() - begun_s > LEAST_HOPS_S


def test_a_scope_is_empty_whatever_others_fork(programs: Programs, tracer: Tracer) -> None:
    tracer.scopes.open(OTHER)
    with hopping(programs, tracer):
        assert tracer.scopes.is_empty(OTHER)


def test_who_had_ended_before_it_was_entered_keeps_no_scope_open(tracer: Tracer) -> None:
    """It was listed while it ran; nothing takes it out of the table then."""
    with subprocess.Popen(["true"]) as ended:
        process = ProcessKey(ended.pid, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as running:
        for scope, entered in ((SCOPE, process), (OTHER, ProcessKey(running.pid, process.started_ns))):
            tracer.scopes.open(scope)
            tracer.processes.find(entered)
            tracer.scopes.adopt(entered, 0, scope)
        assert (tracer.scopes.is_empty(SCOPE), tracer.scopes.is_empty(OTHER)) == (True, False)
