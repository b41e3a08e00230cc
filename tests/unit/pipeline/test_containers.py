"""Which container a program runs in: by its cgroup, as the kernel and /proc tell it."""

from __future__ import annotations

import pytest

from exporter.events.facts import Execed, Forked, ProcessKey
from exporter.events.programs import Facts
from exporter.pipeline.processes import ProcessTable
from exporter.pipeline.procfs import container_in
from tests.unit.pipelines import NothingKnown
from tests.unit.records import ACT, EXEC

ID, INNER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
ROOT, CHILD = ProcessKey(10, 100), ProcessKey(11, 200)


@pytest.mark.parametrize(
    "cgroup",
    [
        f"docker-{ID}.scope",
        f"0::/docker/{ID}",
        f"0::/system.slice/docker-{ID}.scope",
        f"0::/docker/{ID}/init.scope",
        f"0::/actions_job/{ID}",
        f"0::/{ID}",
        f"0::/kubepods/besteffort/pod8dbc5577-d0e2-4706-8787-57d52c03ddf2/{ID}",
        f"0::/kubepods.slice/kubepods-pod8dbc5577.slice/cri-containerd-{ID}.scope",
        f"0::/kubepods.slice/kubepods-pod8dbc5577.slice/crio-{ID}.scope/container",
        f"0::/machine.slice/libpod-{ID}.scope/container",
        f"12:pids:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/",
        f"0::/docker/{INNER}/docker/{ID}",
    ],
)
def test_the_id_is_found_wherever_an_engine_puts_it(cgroup: str) -> None:
    assert container_in(cgroup) == ID


@pytest.mark.parametrize(
    "cgroup", ["", "0::/", "0::/user.slice/user-0.slice", f"0::/a{ID}", f"0::/{ID}0", f"0::/{ID[:-1]}"]
)
def test_what_is_no_id_is_none(cgroup: str) -> None:
    assert container_in(cgroup) is None


class Seen(NothingKnown):
    """What /proc shows of any process."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def facts(self, _: ProcessKey) -> Facts:
        return self._facts


def execed(process: ProcessKey, cgroup: str) -> Execed:
    return EXEC._replace(process=process, cgroup=cgroup)


def table(facts: Facts) -> ProcessTable:
    made = ProcessTable(Seen(facts), on_end=lambda _: None)
    made.seed(ROOT, 1, 100)
    made.execed(execed(ROOT, f"docker-{ID}.scope"))
    return made


def test_a_program_that_is_gone_is_in_the_container_in_which_it_was_executed() -> None:
    assert table(Facts()).acted(ACT._replace(process=ROOT, exec_id=1)).container == ID


def test_of_a_program_that_lives_proc_knows_better() -> None:
    facts = Facts(container_id=INNER)
    assert table(facts).acted(ACT._replace(process=ROOT, exec_id=1)).container == INNER


def test_a_child_is_in_its_creators_container_until_it_executes_elsewhere() -> None:
    processes = table(Facts())
    child = processes.forked(Forked(200, CHILD, ROOT, 1, ROOT.pid, 1))
    assert child.container == ID
    assert processes.execed(execed(CHILD, "runner.slice")).container is None
