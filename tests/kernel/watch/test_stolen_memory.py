"""A step reads the memory of what has the secrets: its agent, as hijacked actions did, or another step."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

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


def policy(folder: Path, mode: str) -> Path:
    file = folder / "policy.yaml"
    file.write_text(f"version: 1\n{ALL_BUT_THAT.replace('enforce', mode)}")
    return file


def reached(folder: Path) -> list[tuple[str, str | None, str]]:
    """Whose memory each record is about, its verdict, and its words."""
    found = []
    for record in logs(folder):
        told = {one["key"]: next(iter(one["value"].values())) for one in record["attributes"]}
        if told.get("egress.tamper.kind") == "other_memory":
            words: dict[str, Any] = record["body"]
            found.append((told["egress.tamper.detail"], told.get("egress.verdict"), words["stringValue"]))
    return found


def called_there(name: str, pid: int) -> str:
    """What a process is called in a record: a system call has no more of it than a number."""
    return f"{name if IS_REFUSED else 'a process'} ({pid})"


@pytest.mark.parametrize("mode", ["enforce", "audit"])
@pytest.mark.parametrize("way", WAYS)
def test_a_step_that_reads_its_agents_memory_is_told_and_where_it_can_be_refused(
    tmp_path: Path, way: str, mode: str
) -> None:
    is_refused = mode == "enforce" and IS_REFUSED
    name = f"agent-of-{os.getpid()}"
    options = ["--policy", str(policy(tmp_path, mode)), "--agent", name]
    with Runner(python=called(name, tmp_path)) as agent, watching_a_job(tmp_path, *options) as mine:
        thief = [sys.executable, "-c", WAYS[way], str(agent.pid), "PATH"]
        assert agent.statuses((step("__run"), thief)) == [UNREAD if is_refused else READ]
        agent.run((step("__post_egress"), mine.ask()))
        mine.ended()
    ((whose, verdict, words),) = reached(mine.watch.otlp_dir)
    assert (whose, verdict) == (called_there(name[:15], agent.pid), "deny" if is_refused else None)
    assert f"python{sys.version_info.major}" in words.partition("(")[0]
    assert f"{'was denied' if is_refused else 'reached for'} the memory of {whose}" in words


@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_so_is_one_that_an_earlier_step_left_to_read_the_next_ones(tmp_path: Path, mode: str) -> None:
    is_refused = mode == "enforce" and IS_REFUSED
    name = f"agent-of-{os.getpid()}"
    options = ["--policy", str(policy(tmp_path, mode)), "--agent", name]
    waits = f"until test -s {tmp_path}/pid-of-next; do sleep 0.05; done"
    reads = f"{sys.executable} -c '{BY_CALL}' $(cat {tmp_path}/pid-of-next) PATH; echo $? >{tmp_path}/done"
    next_one = f"echo $$ >{tmp_path}/pid-of-next; until test -s {tmp_path}/done; do sleep 0.05; done"
    with Runner(python=called(name, tmp_path)) as agent, watching_a_job(tmp_path, *options) as mine:
        agent.run((step("__run"), ["sh", "-c", f"({waits}; {reads}) &"]))
        agent.run((step("__run_2"), ["sh", "-c", next_one]))
        agent.run((step("__post_egress"), mine.ask()))
        mine.ended()
    assert (tmp_path / "done").read_text() == f"{UNREAD if is_refused else READ}\n"
    ((whose, verdict, _),) = reached(mine.watch.otlp_dir)
    next_pid = int((tmp_path / "pid-of-next").read_text())
    assert (whose, verdict) == (called_there("sh", next_pid), "deny" if is_refused else None)
