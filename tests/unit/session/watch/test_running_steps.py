"""What may go on when a machine's only job is over: what is known to be of a step that still runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from exporter.events import wire
from exporter.events.facts import HOST, ProcessKey
from exporter.events.wire import STANDING_AGENT, STANDING_MARKED, STANDING_NONE, STANDING_STEP
from exporter.kernel.bpf import U32
from exporter.kernel.maps.candidates import early_of, step_number
from exporter.kernel.processes import FollowedProcesses
from exporter.session.watch import running_steps
from exporter.session.watch.agents import Above
from exporter.session.watch.running_steps import RunningSteps

JOB = 2
TICK_NS = 10_000_000
INIT, LISTENER, WORKER, SHELL = (ProcessKey(pid, pid * TICK_NS) for pid in (1, 20, 30, 40))
"""What was there before the watch, each the parent of the next one."""
ABOVE, NO_AGENT = Above((SHELL, WORKER, LISTENER, INIT), WORKER), Above((SHELL, WORKER, LISTENER, INIT))


@dataclass
class Machine:
    """The processes of a machine, as the kernel and /proc have them."""

    above: Above = ABOVE
    entries: dict[int, wire.ProcValue] = field(default_factory=dict)
    parents: dict[int, ProcessKey | None] = field(default_factory=dict)
    ran_before: set[ProcessKey] = field(default_factory=set)
    walks = 0

    def __post_init__(self) -> None:
        """The agent, and what started the watch."""
        for process, parent in ((INIT, None), (LISTENER, INIT), (WORKER, LISTENER), (SHELL, WORKER)):
            is_agent = process in self.above.up_to_agent and process != INIT
            self.enter(process, STANDING_AGENT if is_agent else STANDING_NONE, 0, parent)
            self.ran_before.add(process)

    def enter(
        self, process: ProcessKey, standing: int, early: int, parent: ProcessKey | None, scope: int = HOST
    ) -> ProcessKey:
        """As it is, whoever made it."""
        facts = dict.fromkeys(wire.ProcValue._fields, 0)
        facts |= {"started_ns": process.started_ns, "standing": standing, "early": early, "scope": scope}
        self.entries[process.pid] = wire.ProcValue(**facts)
        self.parents[process.pid] = parent
        return process

    def fork(self, by: ProcessKey, parent: ProcessKey | None = None) -> ProcessKey:
        """A fork that the kernel's programs see; its parent is another one's by CLONE_PARENT."""
        pid = max(self.entries) + 1
        process = ProcessKey(pid, pid * TICK_NS + 7)
        creator = self.entries[by.pid]
        early, standing = creator.early, creator.standing
        if standing == STANDING_AGENT:
            early, standing = step_number(process), STANDING_STEP
        return self.enter(process, standing, early, parent or by, creator.scope)

    def find(self, pid: int, parent: ProcessKey, *, is_jobs: bool = True) -> ProcessKey:
        """A process that ran before the watch; where no agent is known, its variables show whose it is."""
        process = ProcessKey(pid, pid * TICK_NS)
        standing = STANDING_STEP if is_jobs and self.above.agent else STANDING_NONE
        self.ran_before.add(process)
        return self.enter(process, standing, early_of(process, standing), parent, JOB if is_jobs else HOST)

    def end(self, process: ProcessKey) -> None:
        """Its children become init's."""
        del self.entries[process.pid], self.parents[process.pid]
        for child, parent in self.parents.items():
            if parent == process:
                self.parents[child] = INIT

    def ancestors(self, pid: int) -> tuple[ProcessKey, ...]:
        """As of /proc."""
        parent = self.parents[pid]
        return (self._as_in_proc(parent), *self.ancestors(parent.pid)) if parent else ()

    def is_running(self, process: ProcessKey) -> bool:
        """As of /proc."""
        return process.pid in self.entries

    def started_ns(self, pid: int) -> int:
        """As of /proc."""
        return self.entries[pid].started_ns // TICK_NS * TICK_NS

    def items(self) -> list[tuple[bytes, bytes]]:
        """The kernel's map."""
        self.walks += 1
        return [(U32.pack(pid), wire.PROC_VALUE.pack(*entry)) for pid, entry in self.entries.items()]

    def steps(self) -> RunningSteps:
        """At the end of the job."""
        scopes = SimpleNamespace(
            entry=lambda process: self.entries.get(process.pid),
            entry_at=self.entries.get,
            held_as=lambda entry: entry.scope or (JOB if entry.standing >= STANDING_STEP else HOST),
        )
        procs: Any = SimpleNamespace(_procs=self)
        processes = SimpleNamespace(firsts_of_steps=lambda: FollowedProcesses.firsts_of_steps(procs))
        tracer: Any = SimpleNamespace(scopes=scopes, processes=processes)
        return RunningSteps(tracer, JOB, self.above, self.ran_before)

    def _as_in_proc(self, process: ProcessKey) -> ProcessKey:
        return ProcessKey(process.pid, self.started_ns(process.pid))


@pytest.fixture(params=[ABOVE, NO_AGENT], ids=["agent", "no-agent"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One whose /proc is asked."""
    made = Machine(request.param)
    for name in ("ancestors", "is_running", "started_ns"):
        monkeypatch.setattr(running_steps, name, getattr(made, name))
    return made


def test_a_step_goes_on_with_all_that_it_made(machine: Machine) -> None:
    step = machine.fork(WORKER)
    child = machine.fork(step)
    grandchild = machine.fork(child)
    sibling = machine.fork(child, parent=step)
    machine.end(child)
    steps = machine.steps()
    assert [steps.have(process) for process in (step, grandchild, sibling)] == [True] * 3


def test_nothing_goes_on_of_a_step_that_is_over_whoever_its_parent_is(machine: Machine) -> None:
    step = machine.fork(WORKER)
    agents = [machine.fork(step, parent=WORKER)]
    agents.append(machine.fork(agents[0], parent=WORKER))  # once more
    below = machine.fork(agents[1])
    inits = machine.fork(step)
    machine.end(step)
    going_on = machine.fork(WORKER)
    steps = machine.steps()
    assert not any(steps.have(process) for process in (*agents, below, inits))
    assert steps.have(going_on)
    assert machine.ancestors(below.pid)[:2] == tuple(
        ProcessKey(process.pid, machine.started_ns(process.pid)) for process in (agents[1], WORKER)
    )


def test_a_step_whose_agent_is_gone_does_not_go_on(machine: Machine) -> None:
    step = machine.fork(WORKER)
    machine.end(WORKER)
    assert not machine.steps().have(step)


def test_what_nobody_saw_being_made_is_of_no_step(machine: Machine) -> None:
    """There was no room for it at its fork: its parent was all that was known of it when it acted."""
    stray = ProcessKey(500, 500 * TICK_NS)
    machine.enter(stray, STANDING_STEP, step_number(stray), WORKER)
    assert not machine.steps().have(stray)
    machine.end(stray)
    assert not machine.steps().have(stray)


def test_what_ran_beside_those_that_started_the_watch_goes_on_with_them(machine: Machine) -> None:
    """As a shell's `tee`, whose end would end the shell."""
    beside = machine.find(60, SHELL)
    child = machine.find(61, beside)
    later = machine.fork(child)
    steps = machine.steps()
    assert all(steps.have(process) for process in (beside, child, later))
    machine.end(SHELL)
    assert not any(steps.have(process) for process in (beside, child, later))


def test_who_made_what_ran_before_below_the_agent_itself_is_not_known(machine: Machine) -> None:
    """Where the agent isn't known either, it may be any process above the watch."""
    child = machine.find(60, WORKER)
    later = machine.fork(child)
    sibling = machine.fork(child, parent=WORKER)
    steps = machine.steps()
    is_spared = machine.above.agent is None
    assert [steps.have(process) for process in (child, later, sibling)] == [is_spared, is_spared, False]


def test_a_step_of_an_unknown_agent_begins_where_it_gets_the_jobs_variables(machine: Machine) -> None:
    agent = machine.find(60, INIT, is_jobs=False)
    child = machine.fork(agent)
    step = machine.enter(child, STANDING_MARKED, step_number(child), agent)
    sibling = machine.fork(step, parent=agent)
    steps = machine.steps()
    is_known = machine.above.agent is None
    assert [steps.have(process) for process in (step, sibling)] == [is_known] * 2
    machine.end(step)
    assert not steps.have(sibling)


def test_the_table_is_walked_through_once_for_all_that_is_left(machine: Machine) -> None:
    going_on, step = machine.fork(WORKER), machine.fork(WORKER)
    left = [machine.fork(step) for _ in range(100)]
    machine.end(step)
    steps = machine.steps()
    assert not any(steps.have(process) for process in left)
    assert steps.have(machine.fork(going_on))
    assert machine.walks == 1
    assert steps.have(machine.fork(WORKER))  # a step that begins meanwhile
    assert machine.walks == 2
