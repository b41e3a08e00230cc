"""A step reads the memory of what has the secrets: its agent, as hijacked actions did, or another step."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.kernel.host_watches import ALL_BUT_THAT, called, step, watching_a_job
from tests.kernel.security_hooks import THERE
from tests.kernel.tracing import logs
from tests.kernel.watching import Runner

if TYPE_CHECKING:
    from pathlib import Path

IS_REFUSED = "ptrace_access_check" in THERE

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.alone,  # strangers' steps are this watch's, too
    *([pytest.mark.everywhere(feature="memory")] if IS_REFUSED else []),  # else it is no more than told
]

READ, UNREAD = 0, 7
BY_FILE = """
import re, sys
pid = sys.argv[1]
try:
    memory = open(f"/proc/{pid}/mem", "rb", 0)
    for line in open(f"/proc/{pid}/maps"):
        first, last = (int(part, 16) for part in line.split()[0].split("-"))
        if " rw-p " in line and last - first < 1 << 26:
            memory.seek(first)
            if sys.argv[2].encode() in memory.read(last - first):
                sys.exit(0)
except PermissionError:
    sys.exit(7)
sys.exit(1)
"""
"""Searches a process's memory for a text, as the thief of tj-actions did, and ends with 7 if it may not."""
BY_CALL = """
import ctypes, os, sys
pid, libc = int(sys.argv[1]), ctypes.CDLL(None, use_errno=True)
with open(f"/proc/{pid}/maps") as maps:
    first = int(maps.readline().partition("-")[0], 16)
room = ctypes.create_string_buffer(16)
here = (ctypes.c_void_p * 2)(ctypes.addressof(room), 16)
there = (ctypes.c_void_p * 2)(first, 16)
read = libc.process_vm_readv(pid, here, 1, there, 1, 0)
sys.exit(0 if read == 16 else 7 if ctypes.get_errno() == 1 else 1)
"""
WAYS = {"call": BY_CALL, **({"file": BY_FILE} if IS_REFUSED else {})}
"""Without that hook, nothing sees who opens the file."""


class Told(NamedTuple):
    """A record: whose memory it is about, its verdict, and its words."""

    whose: str
    verdict: str | None
    words: str


@dataclass(frozen=True)
class Read:
    """What came of reading one process's memory."""

    whose: str
    statuses: list[int]
    told: list[Told]


@dataclass(frozen=True)
class Host:
    """A job's host that was watched while the job's steps read memory."""

    is_refused: bool
    agent: Read
    """By a step of its own, in each of `WAYS`."""
    next_step: Read
    """By a process that an earlier step left."""


@pytest.fixture(scope="module", params=["enforce", "audit"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """All of it under one watch: a start takes seconds."""
    folder, name = tmp_path_factory.mktemp("host"), f"agent-of-{os.getpid()}"
    file = folder / "policy.yaml"
    file.write_text(f"version: 1\n{ALL_BUT_THAT.replace('enforce', request.param)}")
    waits = f"until test -s {folder}/pid-of-next; do sleep 0.05; done"
    reads = f"{sys.executable} -c '{BY_CALL}' $(cat {folder}/pid-of-next) PATH; echo $? >{folder}/done"
    next_one = f"echo $$ >{folder}/pid-of-next; until test -s {folder}/done; do sleep 0.05; done"
    options = ["--policy", str(file), "--agent", name]
    with Runner(python=called(name, folder)) as agent, watching_a_job(folder, *options) as mine:
        statuses = []
        for number, way in enumerate(WAYS.values()):
            thief = [sys.executable, "-c", way, str(agent.pid), "PATH"]
            statuses += agent.statuses((step(f"__run_{number}"), thief))
        agent.run((step("__leaves"), ["sh", "-c", f"({waits}; {reads}) &"]))
        agent.run((step("__next"), ["sh", "-c", next_one]))
        agent.run((step("__post_egress"), mine.ask()))
        mine.ended()
    told = records(mine.watch.otlp_dir)
    next_pid, status = ((folder / each).read_text() for each in ("pid-of-next", "done"))
    return Host(
        request.param == "enforce" and IS_REFUSED,
        Read(called_there(name[:15], agent.pid), statuses, told[: len(WAYS)]),
        Read(called_there("sh", int(next_pid)), [int(status)], told[len(WAYS) :]),
    )


def records(folder: Path) -> list[Told]:
    found = []
    for record in logs(folder):
        told = {one["key"]: next(iter(one["value"].values())) for one in record["attributes"]}
        if told.get("egress.tamper.kind") == "other_memory":
            words: dict[str, Any] = record["body"]
            whose = told["egress.tamper.detail"]
            found.append(Told(whose, told.get("egress.verdict"), words["stringValue"]))
    return found


def called_there(name: str, pid: int) -> str:
    """What a process is called in a record: a system call has no more of it than a number."""
    return f"{name if IS_REFUSED else 'a process'} ({pid})"


def test_a_step_that_reads_its_agents_memory_is_told_and_where_it_can_be_refused(host: Host) -> None:
    assert_told(host.agent, is_refused=host.is_refused, times=len(WAYS))


def test_so_is_one_that_an_earlier_step_left_to_read_the_next_ones(host: Host) -> None:
    assert_told(host.next_step, is_refused=host.is_refused, times=1)


def assert_told(read: Read, *, is_refused: bool, times: int) -> None:
    assert read.statuses == [UNREAD if is_refused else READ] * times
    assert [(each.whose, each.verdict) for each in read.told] == [
        (read.whose, "deny" if is_refused else None)
    ] * times
    for each in read.told:
        assert f"python{sys.version_info.major}" in each.words.partition("(")[0]
        assert f"{'was denied' if is_refused else 'reached for'} the memory of {read.whose}" in each.words
