"""What an exporter takes over of the kernel's tables: the same programs, looked at by two tracers in turn."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.events import wire
from exporter.events.facts import Acted, ProcessKey
from exporter.kernel.maps.policies import name_key
from exporter.kernel.maps.windows import Coverage
from exporter.kernel.tracer import Tracer
from tests.kernel.held_job import compiled
from tests.kernel.kernel_side import KernelSide, attempts, kernel_side
from tests.kernel.lab import PORT, V4, Lab
from tests.kernel.lineage_policies import policy
from tests.kernel.running_exporter import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

SCOPE, OTHER = 1001, 1002
FIRST = 'allow: ["192.0.2.7:443", "one.example:443"]'
SECOND = 'allow: ["192.0.2.8:443", "two.example:443"]'
SAME = f"mode: enforce\n{FIRST}"


@pytest.fixture
def kernel() -> Iterator[KernelSide]:
    with kernel_side() as side:
        yield side


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def adopted(kernel: KernelSide, stack: ExitStack) -> Tracer:
    """Another one, which takes over; the one before isn't to be used any more."""
    return Tracer(kernel.tracer.directory, stack, Coverage(), is_adopted=True)


def policies(tracer: Tracer) -> set[int]:
    """Numbers of those that the kernel has entries of."""
    keys = (key for key, _ in tracer.maps["policy"].items())
    return {wire.PolicyKey.unpack(key).policy for key in keys}


def held(tracer: Tracer, scope: int) -> wire.ModeValue:
    """What the kernel has of a scope."""
    value = tracer.maps["modes"].lookup(scope.to_bytes(4, "little"))
    assert value is not None
    return wire.ModeValue.unpack(value)


def test_a_policy_that_is_the_same_keeps_its_number_and_another_gets_its_own(
    kernel: KernelSide, stack: ExitStack
) -> None:
    same, changed = (
        kernel.hold(SCOPE, compiled(FIRST)),
        kernel.hold(OTHER, compiled(SECOND)),
    )
    tracer = adopted(kernel, stack)
    assert tracer.scopes.write(compiled(SAME), SCOPE).number == same
    number = tracer.scopes.write(compiled(FIRST), OTHER).number
    assert number not in (same, changed)
    tracer.scopes.hold(OTHER, number, compiled(FIRST))
    assert policies(tracer) == {same, changed, number}
    tracer.scopes.forget_earlier()
    assert policies(tracer) == {same, number}
    tracer.scopes.remove(same)
    tracer.scopes.remove(number)
    assert policies(tracer) == set()
    assert not [key for name in ("names", "rule_ports", "policies") for key, _ in tracer.maps[name].items()]


def test_what_was_in_the_middle_of_a_change_is_brought_to_an_end(
    kernel: KernelSide, stack: ExitStack
) -> None:
    before = kernel.hold(SCOPE, compiled(FIRST))
    after = kernel.tracer.scopes.write(compiled(SECOND)).number
    kernel.tracer.scopes.prepare(SCOPE, after, compiled(SECOND))
    tracer = adopted(kernel, stack)
    assert tracer.scopes.write(compiled(SECOND), SCOPE).number == after
    tracer.scopes.hold(SCOPE, after, compiled(SECOND))
    mode = held(tracer, SCOPE)
    assert (mode.policy, mode.next_policy) == (after, 0)
    tracer.scopes.forget_earlier()
    assert policies(tracer) == {after}
    assert before != after


def test_what_a_cname_led_to_goes_with_its_policy(kernel: KernelSide, stack: ExitStack) -> None:
    stays, goes = (
        kernel.hold(SCOPE, compiled(FIRST)),
        kernel.tracer.scopes.write(compiled(SECOND)).number,
    )
    (name,) = compiled(FIRST).names
    further = kernel.tracer.maps["further_names"]
    further.update_all((name_key(name, number), b"\1\0\0\0") for number in (stays, goes))
    kernel.tracer.scopes.remove(goes)
    tracer = adopted(kernel, stack)
    assert tracer.scopes.write(compiled(SECOND)).number == goes, "it is another's now"
    assert list(tracer.maps["further_names"]) == [name_key(name, stays)]


def test_executables_keep_their_bits(kernel: KernelSide, stack: ExitStack) -> None:
    before = kernel.tracer.scopes.write(policy("sh", "env")).policy.executables
    tracer = adopted(kernel, stack)
    after = tracer.scopes.write(policy("timeout", "env", "sh")).policy.executables
    assert {name: after[name] for name in before} == before
    assert sorted(after.values()) == [0, 1, 2]


def test_what_waits_is_told_once_and_adds_up(
    lab: Lab, programs: Programs, kernel: KernelSide, stack: ExitStack
) -> None:
    told = kernel.run(lab, programs.act("connect", V4.peer, PORT))
    kernel.tracer.note(len(told.acts))
    with kernel.beginning(lab, programs.flood("sends", 1000, V4.peer, PORT)) as (child, _):
        child.communicate("\n")
    tracer = adopted(kernel, stack)
    assert tracer.before.settled == 1
    assert tracer.before.gone == 0
    assert tracer.before.waiting == 1000
    following = KernelSide(tracer)
    events = following.drain()
    assert not [event for event in events if isinstance(event, Acted) and event.process == told.process]
    assert sum(attempts([*events, *following.finish()]).values()) == 1000


def test_what_was_taken_and_never_told_is_known_to_be_missing(
    lab: Lab, programs: Programs, kernel: KernelSide, stack: ExitStack
) -> None:
    kernel.run(lab, programs.act("connect", V4.peer, PORT))
    kernel.tracer.note(0)
    assert adopted(kernel, stack).before[:3] == (0, 0, 1)


def test_a_process_is_as_it_was_before_the_records_that_wait(lab: Lab, kernel: KernelSide) -> None:
    tracer = kernel.tracer

    def seen(process: ProcessKey) -> tuple[int, bool]:
        (found,) = (each for each in tracer.processes.running() if each.process == process)
        return found.exec_id, found.is_past

    def kernels_exec_id() -> int | None:
        entry = tracer.scopes.entry(process)
        return entry.exec_id if entry else None

    with kernel.beginning(lab, ["sleep", "1000"]) as (child, process):
        name = Path(f"/proc/{process.pid}/comm")
        wait_for(lambda: name.read_text() == "sh\n")
        kernel.drain()
        exec_id, is_past = seen(process)
        assert not is_past
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
        wait_for(lambda: name.read_text() == "sleep\n" and kernels_exec_id() != exec_id)
        assert seen(process) == (exec_id, True)
        kernel.drain()
        assert seen(process) == (exec_id + 1, False)
        child.kill()
    kernel.drain()
    assert process not in {each.process for each in tracer.processes.running()}


def test_who_was_forked_by_a_record_that_waits_is_told_by_that(lab: Lab, kernel: KernelSide) -> None:
    with kernel.beginning(lab, ["sh", "-c", "sleep 1000 & echo $!; wait"]) as (child, process):
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("\n")
        child.stdin.flush()
        pid = int(child.stdout.readline())
        try:
            assert pid in kernel.tracer.processes.live_pids(kernel.scope)
            assert {each.process for each in kernel.tracer.processes.running()} == {process}
            kernel.drain()
            assert {each.process.pid for each in kernel.tracer.processes.running()} == {process.pid, pid}
        finally:
            os.kill(pid, signal.SIGKILL)
