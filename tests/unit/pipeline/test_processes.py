"""The process table: who created whom, whatever the order, whatever got lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given

from exporter.events.arguments import arguments_of
from exporter.events.facts import (
    Exited,
    Forked,
    ProcessKey,
)
from exporter.events.programs import CHAIN_MAX, DEPTH_MAX, Facts, Image, Program, mark_egress
from exporter.pipeline.processes import ProcessTable
from exporter.pipeline.procfs import Proc, container_id, started_ns, user_name
from tests.fuzz import process_table
from tests.fuzz.draw import Draw
from tests.fuzz.strategies import draws
from tests.unit.pipelines import NothingKnown
from tests.unit.records import ACT, EXEC

ROOT = ProcessKey(10, 100)
SCOPE = 1


class Known(NothingKnown):
    """What /proc would still know, as a table; counts how often it is asked."""

    def __init__(self, images: dict[ProcessKey, Image] | None = None) -> None:
        self.images = images or {}
        self.asked: Counter[ProcessKey] = Counter()

    def facts(self, process: ProcessKey) -> Facts:
        self.asked[process] += 1
        return Facts(working_directory=f"/work/{process.pid}")

    def image(self, process: ProcessKey) -> Image:
        return self.images.get(process, Image())


class Life:
    """A table with a root, events in short form, and a log of what ended."""

    def __init__(self, lookup: Known | None = None) -> None:
        self.ended: list[Program] = []
        self.lookup = lookup or Known()
        self.table = ProcessTable(self.lookup, on_end=self.ended.append)
        self.table.seed(ROOT, SCOPE, 100)

    def fork(
        self, child: ProcessKey, creator: ProcessKey, creator_exec_id: int = 0, parent_pid: int = 0
    ) -> Program:
        parent_pid = parent_pid or creator.pid
        return self.table.forked(Forked(child.started_ns, child, creator, creator_exec_id, parent_pid, SCOPE))

    def exec(self, process: ProcessKey, exec_id: int, path: str, parent_pid: int = 0) -> Program:
        event = EXEC._replace(
            at_ns=process.started_ns + exec_id,
            process=process,
            exec_id=exec_id,
            path=path,
            parent_pid=parent_pid,
        )
        return self.table.execed(event)

    def exit(self, process: ProcessKey, wait_status: int = 0) -> None:
        self.table.exited(Exited(process.started_ns + 50, process, wait_status))

    def act(self, process: ProcessKey, exec_id: int = 0) -> Program:
        return self.table.acted(ACT._replace(process=process, exec_id=exec_id))


def names(program: Program) -> list[str | None]:
    return [above.name for above in program.chain]


CHILD, GRANDCHILD = ProcessKey(11, 200), ProcessKey(12, 300)


def test_a_chain_goes_from_the_root_to_the_program() -> None:
    life = Life()
    life.exec(ROOT, 1, "/bin/bash")
    life.fork(CHILD, ROOT, 1)
    life.exec(CHILD, 1, "/usr/bin/npm")
    life.fork(GRANDCHILD, CHILD, 1)
    life.exec(GRANDCHILD, 1, "/usr/bin/curl")
    assert names(life.act(GRANDCHILD, 1)) == ["bash", "npm", "curl"]


def test_a_child_that_never_execs_is_its_creators_program_again() -> None:
    life = Life()
    life.exec(ROOT, 1, "/bin/bash")
    child = life.fork(CHILD, ROOT, 1)
    assert (child.exec_id, child.path, child.arguments) == (0, "/bin/bash", EXEC.arguments)
    assert names(life.act(CHILD)) == ["bash", "bash"]


def test_an_exec_ends_the_program_before_it_and_keeps_its_creator() -> None:
    life = Life()
    life.exec(ROOT, 1, "/bin/bash")
    life.fork(CHILD, ROOT, 1)
    first = life.exec(CHILD, 1, "/usr/bin/env")
    second = life.exec(CHILD, 2, "/usr/bin/curl")
    assert first.ended_ns == second.started_ns
    assert first.wait_status is None
    assert names(second) == ["bash", "curl"]
    assert life.table.live({SCOPE})[-1] is second


def test_an_ancestor_may_exit_and_another_program_take_its_process() -> None:
    """A double fork: the kernel gives the grandchild to init, its creator stays who it was."""
    life = Life()
    life.exec(ROOT, 1, "/bin/bash")
    life.fork(CHILD, ROOT, 1)
    life.fork(GRANDCHILD, CHILD)
    life.exit(CHILD)
    life.exec(ROOT, 2, "/bin/sleep")
    program = life.exec(GRANDCHILD, 1, "/usr/sbin/daemon", parent_pid=1)
    assert names(life.act(GRANDCHILD, 1)) == ["bash", "bash", "daemon"]
    assert program.parent_pid == 1


def test_the_creator_counts_not_the_kernels_parent() -> None:
    life = Life()
    life.exec(ROOT, 1, "/bin/bash")
    life.fork(CHILD, ROOT, 1)
    life.exec(CHILD, 1, "/usr/bin/clone-parent")
    sibling = life.fork(GRANDCHILD, CHILD, 1, parent_pid=ROOT.pid)
    assert names(sibling) == ["bash", "clone-parent", "clone-parent"]
    assert sibling.parent_pid == ROOT.pid


def test_a_reused_pid_is_another_process() -> None:
    life = Life()
    life.exec(ROOT, 1, "/bin/bash")
    life.fork(CHILD, ROOT, 1)
    old = life.exec(CHILD, 1, "/usr/bin/npm")
    life.exit(CHILD, 3 << 8)
    again = ProcessKey(CHILD.pid, 900)
    life.fork(again, ROOT, 1)
    new = life.exec(again, 1, "/usr/bin/curl")
    assert life.act(again, 1) is new
    assert names(new) == ["bash", "curl"]
    assert (old.ended_ns, old.wait_status) == (250, 3 << 8)


def test_a_reused_pid_whose_old_exit_was_lost_ends_the_old_process() -> None:
    life = Life()
    life.fork(CHILD, ROOT)
    old = life.exec(CHILD, 1, "/usr/bin/npm")
    new = life.fork(ProcessKey(CHILD.pid, 900), ROOT)
    assert (old.ended_ns, old.wait_status) == (900, None)
    assert len(life.table.live({SCOPE})) == 2
    assert new.parent is not old


def test_a_late_exit_of_the_old_process_does_not_end_the_new_one() -> None:
    life = Life()
    life.fork(CHILD, ROOT)
    new = life.fork(ProcessKey(CHILD.pid, 900), ROOT)
    life.exit(CHILD)
    assert new.ended_ns is None
    assert new in life.table.live({SCOPE})


@pytest.mark.parametrize("seen", ["exec", "act"])
def test_a_reused_pid_whose_fork_was_lost_does_not_inherit_the_old_creator(seen: str) -> None:
    life = Life()
    life.exec(ROOT, 1, "/bin/bash")
    life.fork(CHILD, ROOT, 1)
    again = ProcessKey(CHILD.pid, 900)
    program = life.exec(again, 1, "/usr/bin/curl") if seen == "exec" else life.act(again, 1)
    assert program.parent is None


def test_a_lost_exec_is_recovered_from_what_proc_still_knows() -> None:
    life = Life(Known({CHILD: Image("/usr/bin/wget", arguments_of(["wget", "mirror.example"]))}))
    life.exec(ROOT, 1, "/bin/bash")
    life.fork(CHILD, ROOT, 1)
    program = life.act(CHILD, 1)
    assert (program.exec_id, program.is_recovered) == (1, True)
    assert program.arguments == ["wget", "mirror.example"]
    assert names(program) == ["bash", "wget"]
    assert life.act(CHILD, 1) is program


def test_an_act_of_a_program_whose_exec_was_lost_is_not_the_next_programs() -> None:
    life = Life(Known({CHILD: Image("/usr/bin/true", arguments_of(["true"]))}))
    life.exec(ROOT, 1, "/bin/bash")
    life.fork(CHILD, ROOT, 1)
    after = life.exec(CHILD, 2, "/usr/bin/true")
    program = life.act(CHILD, 1)
    assert (program.exec_id, program.name, program.is_recovered) == (1, None, True)
    assert [above.process for above in program.chain] == [ROOT, CHILD]
    assert life.act(CHILD, 1) is program
    assert life.act(CHILD, 2) is after


def test_a_lost_fork_leaves_the_creator_unknown_never_guessed() -> None:
    life = Life()
    program = life.exec(GRANDCHILD, 1, "/usr/bin/curl")
    assert program.parent is None
    assert names(life.act(GRANDCHILD, 1)) == ["curl"]


def test_a_process_nothing_is_known_of_still_has_its_act() -> None:
    program = Life().act(GRANDCHILD, 3)
    assert (program.process, program.exec_id, program.name, program.is_recovered) == (
        GRANDCHILD,
        3,
        None,
        True,
    )


def test_a_creator_whose_exec_was_lost_is_recovered_for_its_child() -> None:
    life = Life(Known({CHILD: Image("/usr/bin/make", arguments_of(["make"]))}))
    life.exec(ROOT, 1, "/bin/bash")
    life.fork(CHILD, ROOT, 1)
    grandchild = life.fork(GRANDCHILD, CHILD, 1)
    assert names(grandchild) == ["bash", "make", "make"]


def test_facts_are_asked_for_at_the_first_act_of_a_program_alone() -> None:
    life = Life()
    life.fork(CHILD, ROOT)
    assert life.act(CHILD).facts == Facts("/work/11")
    life.act(CHILD)
    assert life.lookup.asked == {CHILD: 1}


def test_what_still_runs_at_the_end_ends_then() -> None:
    life = Life()
    life.fork(CHILD, ROOT)
    life.table.end_all({SCOPE}, 777)
    assert life.table.live({SCOPE}) == []
    assert [(program.process, program.ended_ns) for program in life.ended] == [(ROOT, 777), (CHILD, 777)]


def test_egress_marks_the_ancestors_root_first_and_each_once() -> None:
    life = Life()
    life.exec(ROOT, 1, "/bin/bash")
    child = life.fork(CHILD, ROOT, 1)
    grandchild = life.fork(GRANDCHILD, CHILD)
    assert [program.process for program in mark_egress(child)] == [ROOT, CHILD]
    assert mark_egress(grandchild) == [grandchild]
    assert mark_egress(grandchild) == []


def fork_without_end(generations: int) -> tuple[Life, Program]:
    """Each process makes the next one and exits."""
    life = Life()
    life.exec(ROOT, 1, "/bin/bash")
    creator, exec_id = ROOT, 1
    for number in range(1, generations + 1):
        child = ProcessKey(20 + number % 7, 1000 + number)
        life.fork(child, creator, exec_id)
        if creator != ROOT:
            life.exit(creator)
        creator, exec_id = child, 0
    return life, life.act(creator)


@pytest.mark.parametrize("generations", [CHAIN_MAX - 1, CHAIN_MAX, DEPTH_MAX + 10, 3 * DEPTH_MAX])
def test_a_job_that_forks_without_end_has_a_bounded_chain_from_its_root(generations: int) -> None:
    life, program = fork_without_end(generations)
    above, program_above = 0, program
    while program_above.parent is not None:
        above, program_above = above + 1, program_above.parent
    assert above <= DEPTH_MAX
    assert len(program.chain) <= CHAIN_MAX
    assert (program.chain[0].process, program.chain[-1]) == (ROOT, program)
    assert program.is_chain_whole == (generations < CHAIN_MAX)
    assert len(life.table.live({SCOPE})) == 2


def test_a_program_executed_behind_a_gap_in_its_chain_has_it_too() -> None:
    life, program = fork_without_end(DEPTH_MAX + 1)
    assert (program.lineage, program.known_lineage) == (("bash", "bash"), None)
    life.exec(program.process, 1, "/usr/bin/curl")
    curl = life.act(program.process, 1)
    assert (curl.lineage, curl.known_lineage, curl.is_chain_whole) == (("bash", "curl"), None, False)


def test_a_program_whose_creator_is_not_known_has_no_chain_to_be_compared() -> None:
    life = Life()
    program = life.act(CHILD)
    assert (program.parent, program.is_recovered, program.known_lineage) == (None, True, None)
    assert life.act(ROOT).known_lineage is not None


@given(draws())
def test_under_any_order_an_event_finds_its_own_process_and_the_table_stays_small(draw: Draw) -> None:
    process_table.in_disorder(draw)


@given(draws())
def test_a_complete_history_gives_every_act_its_true_chain(draw: Draw) -> None:
    process_table.complete(draw)


@given(draws())
def test_with_records_lost_a_chain_may_end_early_but_holds_no_stranger(draw: Draw) -> None:
    process_table.with_losses(draw)


def test_proc_tells_facts_and_image_of_a_live_process(tmp_path: Path) -> None:
    script = "print('ready', flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, cwd=tmp_path) as child:
        assert child.stdout is not None
        child.stdout.readline()  # an exec under way has no argv yet
        started = started_ns(child.pid)
        assert started is not None
        process = ProcessKey(child.pid, started)
        facts, image = Proc().facts(process), Proc().image(process)
        stranger = ProcessKey(child.pid, started - 10**9)
        strangers = Proc().facts(stranger), Proc().image(stranger)
        child.communicate(b"\n")
    assert facts.working_directory == str(tmp_path)
    assert image.path is not None
    assert Path(image.path).samefile(sys.executable)
    assert image.arguments == (sys.executable, "-c", script)
    assert strangers == (Facts(), Image()), "the pid was another process's by then"
    assert (Proc().facts(process), Proc().image(process)) == (Facts(), Image()), "it is gone"


def test_a_process_that_is_gone_has_no_start_and_no_container() -> None:
    with subprocess.Popen(["true"]) as child:
        pass
    assert started_ns(child.pid) is None
    assert container_id(child.pid) is None


def test_users_without_a_name_are_shown_by_number() -> None:
    assert user_name(os.getuid()) == (subprocess.check_output(["id", "-un"], text=True).strip())
    assert user_name(4_000_001) == "4000001"
