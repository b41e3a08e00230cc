"""A watch that shares its limits with the jobs that it holds: what they take from it opens nothing."""

from __future__ import annotations

import os
import resource
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.kernel.requirements import has_effective
from tests.kernel.adopting_watches import HELD
from tests.kernel.job_steps import PEER, Steps, job, known, policy, run_id
from tests.kernel.lab import PORT, V4
from tests.kernel.running_exporter import running
from tests.kernel.shared_limits import limited
from tests.kernel.steered_runs import own_host
from tests.kernel.tracing import logs
from tests.kernel.watching import watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.lab import Lab
    from tests.kernel.watching import Watch

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.alone,  # whatever job has no room any more is denied, others' jobs, too
]

CAP_SYS_RESOURCE = 24
GOES_ON = "the watch goes on, and what is denied stays denied"


_BEGIN = """
import ctypes, errno, os, signal, socket, sys, time

def tried(address):
    with socket.socket() as opened:
        return errno.errorcode.get(opened.connect_ex((address, int(sys.argv[2]))), "ok")

def elsewhere():
    assert ctypes.CDLL(None).unshare(0x40000000) == 0, "no network of its own"

def child(*lives):
    pid = os.fork()
    if pid == 0:
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # with its parent
            for live in lives:
                live()
            signal.pause()
        finally:
            os._exit(0)
"""
_END = """
for _ in range(300):  # more than are told one by one
    tried(sys.argv[1])
time.sleep(3)
elsewhere()
time.sleep(3)
print(tried(sys.argv[1]), flush=True)
"""
"""Takes from the watch what it has no room for any more: a network to look after, acts that are counted."""

BOMB = f"""{_BEGIN}
print(tried(sys.argv[1]))
try:
    while True:
        child()
except BlockingIOError:
    print("full")
{_END}"""
NETWORKS = f"""{_BEGIN}
print(tried(sys.argv[1]))
for _ in range(60):
    child(elsewhere)
print("full")
{_END}"""
MEMORY = f"""{_BEGIN}
print(tried(sys.argv[1]), flush=True)
held = os.memfd_create("pages of nobody")
while True:
    os.write(held, bytes(1 << 20))
"""


def python(lab: Lab, code: str) -> str:
    """The words of a piece of Python on the build side; it gets the evil address and a port."""
    words = lab.command([sys.executable, "-c", code, V4.evil, str(PORT)])
    return shlex.join([os.fsdecode(word) for word in words])


@contextmanager
def holding(tmp_path: Path, *options: str, under: tuple[str, ...] = ()) -> Iterator[Watch]:
    """A watch that holds jobs called `held`."""
    file = policy(tmp_path, HELD)
    with watching(tmp_path, "--policy", str(file), *options, under=under) as watch:
        yield watch


def goes_on(watch: Watch, steps: Steps, run: str) -> None:
    """See that a job is held that begins now, and that the watch ends as it should."""
    name = steps.start(job(run, "held"), steps.act(V4.evil))
    known(watch, run)
    assert steps.go(name) == "EPERM\n"
    seen = watch.stop()
    assert seen.status == 0, seen.said
    assert [span["egress.verdict"] for span in seen.egress(run)] == ["deny"]


def test_a_job_that_takes_all_processes_stays_denied(steps: Steps, lab: Lab, tmp_path: Path) -> None:
    run, after = run_id("bomb"), run_id("after-bomb")
    with (
        limited("pids") as shared,
        lab.watch() as arrivals,
        holding(tmp_path, under=tuple(shared.under)) as watch,
    ):
        inside = f"{shlex.join(shared.under)} {python(lab, BOMB)}"
        name = steps.start(job(run, "held"), inside)
        known(watch, run)
        shared.leave_room(20)
        assert steps.go(name) == "EPERM\nfull\nEPERM\n"
        shared.lift()
        goes_on(watch, steps, after)
    assert arrivals.arrivals.packets_to(V4.evil) == 0


def test_a_command_that_takes_all_processes_is_traced_on(lab: Lab, tmp_path: Path) -> None:
    command = lab.command(
        [sys.executable, "-c", f"print('ready', flush=True); input()\n{BOMB}", V4.evil, str(PORT)]
    )
    enforced = ("--enforce", "--allowed-endpoints", PEER)
    with limited("pids") as shared, running(command, tmp_path, *enforced, under=shared.under) as run:
        assert run.next_line() == "ready"
        shared.leave_room(20)
        run.tell("go on")
        assert [run.next_line() for _ in range(3)] == ["EPERM", "full", "EPERM"]
        shared.lift()
        seen = run.end()
    assert seen.status == 0
    assert "tracing failed" not in seen.stderr
    assert seen.account.startswith("attempts 302 = ")
    assert seen.account.endswith(" + dropped 0 + pending 0")


def test_a_job_that_takes_all_descriptors_stays_denied(steps: Steps, lab: Lab, tmp_path: Path) -> None:
    """Each network that is looked after takes some."""
    run, after = run_id("networks"), run_id("after-networks")
    few = ("prlimit", "--nofile=256:256", "--")
    with lab.watch() as arrivals, holding(tmp_path, under=few) as watch:
        name = steps.start(job(run, "held"), f"timeout -s KILL 60 {python(lab, NETWORKS)}")
        known(watch, run)
        assert steps.go(name) == "EPERM\nfull\nEPERM\n"
        goes_on(watch, steps, after)
    assert arrivals.arrivals.packets_to(V4.evil) == 0
    details = [
        attribute["value"]["stringValue"]
        for record in logs(watch.otlp_dir)
        for attribute in record["attributes"]
        if attribute["key"] == "egress.tamper.detail"
    ]
    assert set(details) == {"EMFILE"}


def test_a_job_that_takes_all_memory_stays_denied(steps: Steps, lab: Lab, tmp_path: Path) -> None:
    """Its pages are nobody's, so whoever is largest is killed for them: the watch, unless it may refuse."""
    run, after = run_id("memory"), run_id("after-memory")
    with (
        limited("memory") as shared,
        lab.watch() as arrivals,
        own_host() as host,
        holding(tmp_path, under=(*shared.under, *host.under)) as watch,
    ):
        inside = f"{shlex.join(shared.under)} {python(lab, MEMORY)}"
        name = steps.start(job(run, "held"), inside, steps.act(V4.evil))
        known(watch, run)
        shared.leave_room(64 << 20)
        assert steps.go(name).startswith("EPERM\n")
        assert steps.go(name, 1) == "EPERM\n"
        shared.lift()
        if has_effective(CAP_SYS_RESOURCE):
            goes_on(watch, steps, after)
    assert arrivals.arrivals.packets_to(V4.evil) == 0


def test_what_goes_wrong_while_it_watches_is_told_and_opens_nothing(
    steps: Steps, lab: Lab, tmp_path: Path
) -> None:
    """Nothing can be opened any more, for a while."""
    run, after = run_id("wrong"), run_id("after-wrong")
    with lab.watch() as arrivals, holding(tmp_path) as watch:
        name = steps.start(job(run, "held"), steps.act(V4.evil))
        known(watch, run)
        pid, hard = watch.process.pid, resource.prlimit(watch.process.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))  # all numbers below are taken
        watch.wait_until_said(GOES_ON)
        assert steps.go(name) == "EPERM\n"
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        goes_on(watch, steps, after)
        (told,) = [line for line in watch.said() if GOES_ON in line["message"]]
        assert "Too many open files" in told["message"]
        assert told["message"].endswith("; raise the limit of open files (ulimit -n)")
        assert not watch.has_said("tampering: "), "it can't see its pins, which are there"
    assert arrivals.arrivals.packets_to(V4.evil) == 0


def test_command_has_what_the_caller_has(tmp_path: Path) -> None:
    """What ci-egress takes for itself is not handed on."""
    show = "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj; read -r _"
    own = Path("/proc/self/oom_score_adj").read_text().strip()
    with running(["sh", "-c", show], tmp_path, under=("prlimit", "--nofile=300:400", "--")) as run:
        assert [run.next_line() for _ in range(3)] == ["300", "400", own]
        assert resource.prlimit(run.pid, resource.RLIMIT_NOFILE) == (400, 400)
        may = has_effective(CAP_SYS_RESOURCE)
        assert Path(f"/proc/{run.pid}/oom_score_adj").read_text().strip() == ("-1000" if may else own)
        run.tell("go on")
        assert run.end().status == 0
