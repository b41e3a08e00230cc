"""What processes of no job execute with is told, until it is known which job they are of."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exporter.events.environments import variables
from exporter.events.facts import Environment, Event, Forked, ProcessKey
from exporter.kernel.instances.loading import loading
from exporter.kernel.maps.windows import Coverage
from exporter.pipeline.procfs import started_ns
from tests.kernel.kernel_side import KernelSide
from tests.kernel.running_exporter import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCRIPT = "read go; MARK=1 /bin/true; (MARK=2 sh -c 'MARK=3 /bin/true; true'); true"


@contextmanager
def shell(kernel: KernelSide, env: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], ProcessKey]]:
    """One of no job that waits for a line; what it executed with has been told."""
    with subprocess.Popen(["/bin/sh", "-c", SCRIPT], env=env, stdin=subprocess.PIPE) as child:
        told: list[Environment] = []

        def is_told() -> bool:
            events = [event for event in kernel.drain() if isinstance(event, Environment)]
            told.extend(event for event in events if event.process.pid == child.pid)
            return bool(told)

        wait_for(is_told)
        assert variables(told[0].block) == env
        yield child, told[0].process


def go_on(kernel: KernelSide, child: subprocess.Popen[bytes]) -> list[Event]:
    """Let it, to its end; what was told meanwhile, taken as it comes: of a whole host that may be much."""
    assert child.stdin is not None
    child.stdin.write(b"go\n")
    child.stdin.close()
    events: list[Event] = []
    while child.poll() is None:
        events += kernel.drain()
        time.sleep(0.005)
    return events + kernel.drain()


def told_below(events: list[Event], process: ProcessKey) -> list[str | None]:
    """`MARK` of every environment that was told of a descendant of `process`; strangers execute, too."""
    family = {process}
    marks = []
    for event in events:
        if isinstance(event, Forked) and event.creator in family:
            family.add(event.process)
        elif isinstance(event, Environment) and event.process in family:
            marks.append(variables(event.block).get("MARK"))
    return marks


@contextmanager
def of_the_host() -> Iterator[KernelSide]:
    """As `watch` has it."""
    with loading() as kernel:
        yield KernelSide(kernel.ready(Coverage(is_host=True, reads_environments=True)))


def test_an_environment_is_told_at_each_exec_of_what_is_of_no_job() -> None:
    with of_the_host() as kernel, shell(kernel, {"PATH": "/bin"}) as (child, process):
        assert told_below(go_on(kernel, child), process) == ["1", "2", "3"]


def test_what_descends_from_a_job_is_spared() -> None:
    with of_the_host() as kernel, shell(kernel, {"PATH": "/bin"}) as (child, process):
        kernel.tracer.scopes.adopt(process, 1, 7)
        assert told_below(go_on(kernel, child), process) == []


def test_another_process_under_an_adopted_pid_is_not() -> None:
    with of_the_host() as kernel, shell(kernel, {"PATH": "/bin"}) as (child, process):
        kernel.tracer.scopes.adopt(process._replace(started_ns=process.started_ns - 1), 1, 7)
        assert told_below(go_on(kernel, child), process) == ["1", "2", "3"]


def test_a_long_environment_is_put_together() -> None:
    long = {f"FILL_{number:03}": "x" * 100 for number in range(200)}
    with of_the_host() as kernel, shell(kernel, {"PATH": "/bin", **long, "LAST": "1"}) as (child, process):
        assert told_below(go_on(kernel, child), process) == ["1", "2", "3"]


def test_what_ran_before_has_one_key_whether_it_acts_first_or_is_found_first() -> None:
    with subprocess.Popen(["/bin/sh", "-c", "read go; /bin/true; true"], stdin=subprocess.PIPE) as child:
        found = ProcessKey(child.pid, started_ns(child.pid) or 0)
        with of_the_host() as kernel:
            creators = {event.creator for event in go_on(kernel, child) if isinstance(event, Forked)}
    assert [creator for creator in creators if creator.pid == child.pid] == [found]
