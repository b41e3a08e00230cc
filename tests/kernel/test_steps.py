"""What may be a job's is held before it is known: in the kernel, from its fork or its exec on."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter import wire
from exporter.agents import Agent as Starter
from exporter.agents import marks
from exporter.events import HOST, ProcessKey, Tampered, Tampering
from exporter.kernel.instances import live_processes
from exporter.kernel.loading import loading
from exporter.kernel.scopes import SWEPT_FROM
from exporter.kernel.windows import Coverage
from exporter.procfs import started_ns
from tests.unit.dns_samples import query

from .agents import COMMAND, Agent
from .direct import KernelSide
from .governed import compiled, reply
from .lab import PORT, V4
from .resolver import Resolver
from .test_policy_frames import BYPASS, OWN_NAMESPACE
from .test_policy_frames import MARK as FRAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Programs
    from .lab import Lab
    from .watching import Runner

pytestmark = pytest.mark.kernel

PATH = {"PATH": os.environ.get("PATH", os.defpath)}
STRICTEST, JOB = 1, 2
"""Scopes."""
MARK = "CI_EGRESS_TEST_JOB"
"""A variable of this test's own: strangers of the host have none of it."""
STRICT = compiled(f'mode: enforce\nallow: ["{V4.peer}:{PORT}"]\n')
LAX = compiled('mode: enforce\nallow: ["any://0.0.0.0/0"]\n')
ROUNDS = 20


@pytest.fixture
def kernel() -> Iterator[KernelSide]:
    """What is undecided is held to STRICT; this test's MARK is the only one."""
    with ExitStack() as stack:
        side = KernelSide(
            stack.enter_context(loading()).ready(Coverage(is_host=True, reads_environments=True))
        )
        for scope, policy in ((STRICTEST, STRICT), (JOB, LAX)):
            side.tracer.scopes.open(scope)
            side.tracer.govern(scope, policy)
        mine = {mark: number for mark, number in marks(MARK).items() if MARK.encode() in mark}
        side.tracer.know_steps({}, mine)
        side.tracer.hold_undecided(STRICTEST)
        yield side


def key(pid: int) -> ProcessKey:
    """Of a process that runs."""
    started = started_ns(pid)
    assert started is not None
    return ProcessKey(pid, started)


@pytest.fixture
def connect(lab: Lab, programs: Programs) -> dict[str, list[str]]:
    """Commands that connect to an address, and end with the errno."""
    addresses = (V4.peer, V4.evil)
    return {
        to: [os.fsdecode(part) for part in lab.command(programs.act("connect", to, PORT))] for to in addresses
    }


def test_what_an_agent_makes_is_held_from_its_fork_on(
    kernel: KernelSide, runner: Runner, connect: dict[str, list[str]]
) -> None:
    denied, allowed = (PATH, connect[V4.evil]), (PATH, connect[V4.peer])
    assert runner.statuses(denied) == [0]
    kernel.tracer.find(key(runner.pid), wire.STANDING_AGENT)
    assert [runner.statuses(denied) for _ in range(ROUNDS)] == [[errno.EPERM]] * ROUNDS
    assert runner.statuses(allowed) == [0]


def test_nothing_that_a_step_does_makes_it_another(
    kernel: KernelSide, lab: Lab, runner: Runner, programs: Programs
) -> None:
    kernel.tracer.find(key(runner.pid), wire.STANDING_AGENT)
    act = programs.act("connect", V4.evil, PORT)
    ways = [
        programs.lineage("double-fork", *act),
        ["/usr/bin/env", "-i", *act],
        ["unshare", "--user", "--map-root-user", *act],
        ["setsid", "--wait", *act],
    ]
    with lab.watch() as arrivals:
        steps = [[os.fsdecode(part) for part in lab.command(way)] for way in ways]
        assert runner.statuses(*((PATH, step) for step in steps))[1:] == [errno.EPERM] * 3
    assert arrivals.arrivals.packets_to(V4.evil) == 0


@contextmanager
def doing(lab: Lab, *under: str, **variables: str) -> Iterator[Agent]:
    """A process on the build side that does as it is told."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*under, *map(os.fsdecode, lab.command(COMMAND))],
        stdin=pipe,
        stdout=pipe,
        text=True,
        env={**PATH, **variables},
    ) as child:
        doer = Agent(child, key(child.pid))
        assert doer.do("pass") == "ok"
        try:
            yield doer
        finally:
            doer.end()


def tries(to: str) -> str:
    """Python that connects."""
    return f"socket.socket().connect(({to!r}, {PORT}))"


def test_an_agent_itself_is_not_held(kernel: KernelSide, lab: Lab) -> None:
    with doing(lab) as agent:
        assert not kernel.tracer.scopes.is_agent(agent.process)
        kernel.tracer.find(agent.process, wire.STANDING_AGENT)
        assert kernel.tracer.scopes.is_agent(agent.process)
        assert agent.do(tries(V4.evil)) == "ok"
        assert (
            agent.do(f"assert os.fork() or os._exit(socket.socket().connect_ex({(V4.evil, PORT)}))") == "ok"
        )
        assert agent.value("os.waitstatus_to_exitcode(os.wait()[1])") == str(errno.EPERM)


def test_an_agent_is_known_by_the_name_of_its_executable(
    kernel: KernelSide, connect: dict[str, list[str]], tmp_path: Path
) -> None:
    """From its exec on, and nobody below it is another."""
    name, shell = f"agent-of-{os.getpid()}", Path("/bin/sh")
    for place in (name, "other"):
        (tmp_path / place).write_bytes(shell.read_bytes())
        (tmp_path / place).chmod(0o755)
    kernel.tracer.know_steps({Starter(wire.AGENT_PROGRAM, name.encode()).key: 0}, {})
    told = '"$@"; a=$?; "$0" -c \'"$@"; exit $?\' sh "$@"; exit $((a * 16 + $?))'
    agent, other = str(tmp_path / name), str(tmp_path / "other")
    ran = [
        subprocess.run([each, "-c", told, agent, *connect[V4.evil]], env=PATH, check=False).returncode
        for each in (agent, other)
    ]
    # The first one's are steps. What the other one makes is of none; but the agent that it starts makes some.
    assert ran == [errno.EPERM * 16 + errno.EPERM, errno.EPERM]


@pytest.mark.parametrize(
    ("system", "expected"),
    [(0, errno.EPERM), (7, errno.EPERM), (5, 0)],
    ids=["of-nobody-knows-which", "of-another", "its-own"],
)
def test_a_jobs_variables_count_for_more_than_an_agents_name(
    kernel: KernelSide, connect: dict[str, list[str]], tmp_path: Path, system: int, expected: int
) -> None:
    """A job may give any file an agent's name; but an agent may have its own system's variables."""
    *inside, act, verb, address, port = connect[V4.evil]
    tool = tmp_path / f"agent-of-{os.getpid()}"
    shutil.copy(act, tool)
    mine = {mark: system for mark in marks(MARK) if MARK.encode() in mark}
    kernel.tracer.know_steps({Starter(wire.AGENT_PROGRAM, tool.name.encode()).key: 5}, mine)
    for variables, status in (([f"{MARK}=1"], expected), ([], 0)):
        command = [*inside, "env", *variables, str(tool), verb, address, port]
        assert subprocess.run(command, env=PATH, check=False).returncode == status


def test_who_may_be_of_a_job_is_held_until_it_is_known(kernel: KernelSide, lab: Lab) -> None:
    with doing(lab, **{MARK: "1"}) as marked, doing(lab) as other:
        assert [each.do(tries(V4.evil)) for each in (marked, other)] == ["EPERM", "ok"]
        assert marked.do(tries(V4.peer)) == "ok"
        kernel.tracer.scopes.release(*executed(kernel, marked))
        assert marked.do(tries(V4.evil)) == "ok"
    with doing(lab, **{MARK: "1"}) as marked:
        assert marked.do(tries(V4.evil)) == "EPERM"
        kernel.tracer.scopes.adopt(*executed(kernel, marked), JOB)
        assert marked.do(tries(V4.evil)) == "ok"


def test_what_is_known_to_be_a_jobs_is_let_go_of_by_nobody(kernel: KernelSide, lab: Lab) -> None:
    """Not even before it has acted for the first time since."""
    with doing(lab, **{MARK: "1"}) as marked:
        kernel.tracer.scopes.adopt(*executed(kernel, marked), STRICTEST)
        kernel.tracer.scopes.release(*executed(kernel, marked))
        assert marked.do(tries(V4.evil)) == "EPERM"


def test_a_step_is_its_jobs_once_that_is_known_and_else_stays_held(kernel: KernelSide, lab: Lab) -> None:
    forks = f"assert os.fork() or os._exit(socket.socket().connect_ex({(V4.evil, PORT)}))"
    ended = "os.waitstatus_to_exitcode(os.wait()[1])"
    with doing(lab) as step:
        kernel.tracer.find(step.process, wire.STANDING_STEP)
        kernel.tracer.scopes.release(*executed(kernel, step))
        assert step.do(tries(V4.evil)) == "EPERM"
        assert step.do(forks) == "ok"
        assert step.value(ended) == str(errno.EPERM)
        kernel.tracer.scopes.adopt(*executed(kernel, step), JOB)
        assert step.do(tries(V4.evil)) == "ok"
        assert step.do(forks) == "ok"
        assert step.value(ended) == "0"


def test_what_a_step_looked_up_early_holds_where_its_own_policy_allows_it(
    kernel: KernelSide, lab: Lab
) -> None:
    """What the strictest policy allows, each does: the answer came before it was known which is its own."""
    name = "www.registry.example"
    strictest = f'mode: enforce\nallow: ["udp://{V4.evil}:53", "{name}:{PORT}"]\n'
    kernel.tracer.govern(STRICTEST, compiled(strictest))
    kernel.tracer.govern(JOB, compiled(f"{strictest}deny: [other.example]\n"))
    asks = [
        "asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "asking.settimeout(60)",
        f"asking.sendto(bytes.fromhex({query(name).hex()!r}), ({V4.evil!r}, 53))",
        "asking.recv(4096)",
    ]
    with (
        Resolver(lab, V4.evil, [f"{name} A {V4.peer}"]),
        doing(lab, **{MARK: "1"}) as early,
        doing(lab) as late,
    ):
        assert early.do(*asks) == "ok"
        kernel.tracer.scopes.adopt(*executed(kernel, early), JOB)
        assert early.do(tries(V4.peer)) == "ok"
        assert early.do(tries(V4.evil)) == "EPERM"
        kernel.tracer.follow(late.process, JOB)
        assert late.do(tries(V4.peer)) == "EPERM"  # another one's
        assert late.do(*asks) == "ok"
        assert late.do(tries(V4.peer)) == "ok"


def test_no_resolver_of_a_steps_own_opens_anything(kernel: KernelSide, lab: Lab) -> None:
    name = "www.registry.example"
    kernel.tracer.govern(STRICTEST, compiled(f'mode: enforce\nallow: ["{name}:{PORT}"]\n'))
    answer = reply(query(name), f"= A {V4.evil}").hex()
    with doing(lab, **{MARK: "1"}) as step:
        serves = [
            "own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
            "own.bind(('127.0.0.1', 53))",
            "asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
            f"asking.sendto(bytes.fromhex({query(name).hex()!r}), ('127.0.0.1', 53))",
            "asked, whom = own.recvfrom(4096)",
            f"own.sendto(asked[:2] + bytes.fromhex({answer!r})[2:], whom)",
            "asking.recv(4096)",
        ]
        assert step.do(*serves) == "ok"
        assert step.do(tries(V4.evil)) == "EPERM"


SENDS_A_FRAME = """
def sends(frame):
    own = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    own.bind(("build0", 0))
    try:
        own.send(frame)
    except OSError as error:
        return error.errno
    return 0
"""


def test_a_thread_of_a_step_finds_no_way_out_in_a_network_of_its_own(kernel: KernelSide, lab: Lab) -> None:
    """Although it isn't known yet whose that step is."""
    with doing(lab) as step:
        kernel.tracer.find(step.process, wire.STANDING_STEP)
        kernel.tracer.frames.look()
        assert step.do(*OWN_NAMESPACE) == "ok"
        told = [event for event in kernel.drain() if isinstance(event, Tampered)]
        (made,) = (event for event in told if event.process == step.process)
        assert made.scope == HOST
        kernel.tracer.frames.alarm(made)
        assert [(event.what, event.scope) for event in kernel.tracer.frames.turn()] == [
            (Tampering.FRAMES, STRICTEST)
        ]
        kernel.tracer.frames.alarm(made)
        assert kernel.tracer.frames.turn() == [], "it is looked after now"


def test_frames_of_steps_are_stopped_from_the_first_on(kernel: KernelSide, lab: Lab) -> None:
    with doing(lab) as agent:
        kernel.tracer.find(agent.process, wire.STANDING_AGENT)
        kernel.tracer.frames.look()
        assert agent.do(f"exec({SENDS_A_FRAME!r})", f"assert sends({FRAME!r}) == 0") == "ok"
        assert agent.do(f"assert os.fork() or os._exit(sends({FRAME!r}))") == "ok"
        assert agent.value("os.waitstatus_to_exitcode(os.wait()[1])") == str(errno.ENOBUFS)


@pytest.mark.usefixtures("kernel")
def test_sockets_of_the_first_step_get_no_option_that_leads_past_the_hooks(lab: Lab) -> None:
    """Nobody was there to be looked after when what is enforced was."""
    bypass = ("p = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", BYPASS)
    answered_anywhere = ("f = socket.socket(socket.AF_INET6)", "f.setsockopt(socket.IPPROTO_IPV6, 78, 1)")
    with doing(lab, **{MARK: "1"}) as step, doing(lab) as other:
        assert [step.do(*lines) for lines in (answered_anywhere, bypass)] == ["EPERM", "EPERM"]
        assert [other.do(*lines) for lines in (answered_anywhere, bypass)] == ["ok", "ok"]


def executed(kernel: KernelSide, doer: Agent) -> tuple[ProcessKey, int]:
    """By which program of which process its job shows, as the kernel has it."""
    value = kernel.tracer.maps["procs"].lookup(doer.process.pid.to_bytes(4, sys.byteorder))
    proc = wire.ProcValue._make(wire.PROC_VALUE.unpack(value or b""))
    return ProcessKey(proc.tgid, proc.born_ns), proc.program


def executes(**variables: str) -> str:
    """Python that becomes another such process, executed with those."""
    environ, command = {**PATH, **variables}, [os.fsdecode(word) for word in COMMAND]
    return f"print('ok', flush=True); os.execve({command[0]!r}, {command!r}, {environ!r})"


@pytest.mark.parametrize("standing", [wire.STANDING_AGENT, wire.STANDING_STEP])
def test_what_the_kernel_saw_of_a_step_outlasts_what_proc_says(
    kernel: KernelSide, lab: Lab, standing: int
) -> None:
    """As when an instance is adopted: the name of its executable is its own choice."""
    with doing(lab, **{MARK: "1"}) as step:
        first = executed(kernel, step)
        kernel.tracer.find(step.process, standing, 1)
        assert step.do(tries(V4.evil)) == "EPERM"
        assert step.do(executes(**{MARK: "2"})) == "ok"
        assert step.do("pass") == "ok"
        assert executed(kernel, step) == first


@pytest.mark.parametrize("undecided", [HOST, STRICTEST])
def test_what_a_step_is_first_executed_with_is_what_its_job_is_known_by(
    kernel: KernelSide, lab: Lab, undecided: int
) -> None:
    """Also where steps are held to nothing until then: enforcement may be turned on for single jobs."""
    kernel.tracer.hold_undecided(undecided)
    with doing(lab) as step:
        kernel.tracer.find(step.process, wire.STANDING_STEP)
        before = executed(kernel, step)
        assert step.do(executes(**{MARK: "1"})) == "ok"
        assert step.do("pass") == "ok"
        first = executed(kernel, step)
        assert first != before
        assert step.do(executes(**{MARK: "2"})) == "ok"
        assert step.do("pass") == "ok"
        assert executed(kernel, step) == first


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    "variables",
    [
        {"BEFORE": "x" * 100_000, MARK: "1"},
        {**{f"BEFORE{number}": "x" * 9_000 for number in range(40)}, MARK: "1"},
        {f"BEFORE{number}": "" for number in range(2_000)},
        {MARK: ""},
    ],
    ids=["a-long-one", "many-long-ones", "too-many-to-read", "blank"],
)
def test_a_mark_is_found_wherever_it_stands(lab: Lab, variables: dict[str, str]) -> None:
    with doing(lab, **variables) as marked:
        assert marked.do(tries(V4.evil)) == "EPERM"


@pytest.mark.usefixtures("kernel")
def test_what_has_no_mark_is_not_held(lab: Lab) -> None:
    near = {f"X{MARK}": "1", MARK[:-1]: "1", "A": f"{MARK}=1", "LONG": "x" * 100_000}
    with doing(lab, **near) as unmarked:
        assert unmarked.do(tries(V4.evil)) == "ok"


def dead(number: int) -> ProcessKey:
    """One that isn't there any more."""
    return ProcessKey(number + 1, 1)


def test_of_what_has_ended_nothing_stays_in_the_table(kernel: KernelSide, lab: Lab) -> None:
    scopes, table = kernel.tracer.scopes, kernel.tracer.maps["candidates"]
    with doing(lab, **{MARK: "1"}) as marked, doing(lab, **{MARK: "1"}) as other:
        scopes.adopt(*executed(kernel, marked), JOB)
        for number in range(SWEPT_FROM):
            scopes.adopt(dead(number), 1, JOB)
        scopes.sweep()
        assert sum(1 for _ in table) == 1  # the other one's came to nothing yet
        assert [each.do(tries(V4.evil)) for each in (marked, other)] == ["ok", "EPERM"]
        for number in range(SWEPT_FROM):
            scopes.adopt(dead(number), 1, JOB)
        scopes.sweep()
        assert sum(1 for _ in table) == 0  # by now it has its scope itself
        assert marked.do(tries(V4.evil)) == "ok"


def test_who_has_not_acted_since_it_was_found_is_one_of_its_job(kernel: KernelSide, lab: Lab) -> None:
    with doing(lab, **{MARK: "1"}) as marked:
        kernel.tracer.scopes.adopt(*executed(kernel, marked), JOB)
        entry = kernel.tracer.scopes.entry(marked.process)
        assert entry is not None
        assert entry.scope == HOST
        assert kernel.tracer.live(JOB) == [marked.process]
        assert live_processes(kernel.tracer.directory) == [marked.process.pid]


def test_one_jobs_roots_leave_room_for_anothers(kernel: KernelSide, lab: Lab) -> None:
    scopes, room = kernel.tracer.scopes, kernel.tracer.maps["candidates"].max_entries
    for number in range(room):
        scopes.adopt(dead(number), 1, STRICTEST)
    assert scopes.refused == room // 2
    with doing(lab, **{MARK: "1"}) as marked:
        scopes.adopt(*executed(kernel, marked), JOB)
        assert marked.do(tries(V4.evil)) == "ok"
