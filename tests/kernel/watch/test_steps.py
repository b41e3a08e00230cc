"""What may be a job's is held before it is known: in the kernel, from its fork or its exec on."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.common.clock import boot_ns
from exporter.events import wire
from exporter.events.facts import HOST, ProcessKey, Tampered, Tampering
from exporter.kernel.instances.denied_connections import EndedConnections, cut
from exporter.kernel.instances.loading import loading
from exporter.kernel.maps.grants import IN_USE_NS, Grants
from exporter.kernel.maps.queries import PATIENCE_NS, Queries
from exporter.kernel.maps.windows import Coverage
from exporter.kernel.pins import live_processes
from exporter.kernel.scopes import SWEPT_FROM, Named
from exporter.pipeline.procfs import key_of_child
from exporter.session.watch.agents import Agent as Starter
from exporter.session.watch.agents import marks
from tests.kernel.agents import COMMAND, GONE, Agent
from tests.kernel.held_job import compiled, reply
from tests.kernel.kernel_side import KernelSide
from tests.kernel.lab import PORT, V4
from tests.kernel.packet_sockets import BYPASS, OWN_NAMESPACE
from tests.kernel.packet_sockets import MARK as FRAME
from tests.kernel.resolver import Resolver
from tests.kernel.running_exporter import wait_for
from tests.kernel.security_hooks import answering
from tests.unit.dns_samples import query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab
    from tests.kernel.watching import Runner

pytestmark = pytest.mark.kernel

PATH = {"PATH": os.environ.get("PATH", os.defpath)}


def scope_key(scope: int) -> bytes:
    """As the kernel's maps have it."""
    return scope.to_bytes(4, sys.byteorder)


STRICTEST, JOB, OTHER = 1, 2, 3
"""Scopes."""
EARLY, ALL_SCOPES = (scope_key(number) for number in (1 << 31, (1 << 32) - 1))
"""Under these is counted what all steps did whose job wasn't known, and what everybody did."""
WAITING_MAX, EARLY_ASKED = 8192, 256
"""Questions: that a scope may wait for, and that a step may ask in a while before its job is known."""
HEARD_SHARE, FIRST_PORT = 2048, 20000
"""Peers that a scope's UDP servers may answer for a while, and the first one's port here."""
SECOND_NS = 1_000_000_000
MARK = "CI_EGRESS_TEST_JOB"
"""A variable of this test's own: strangers of the host have none of it."""
STRICT = compiled(f'mode: enforce\nallow: ["{V4.peer}:{PORT}"]\n')
LAX = compiled('mode: enforce\nallow: ["any://0.0.0.0/0"]\n')
ROUNDS = 20


@pytest.fixture
def kernel() -> Iterator[KernelSide]:
    """What is undecided is held to STRICT; this test's MARK is the only one."""
    with ExitStack() as stack:
        stack.enter_context(answering())
        side = KernelSide(
            stack.enter_context(loading()).ready(Coverage(is_host=True, reads_environments=True))
        )
        for scope, policy in ((STRICTEST, STRICT), (JOB, LAX)):
            side.tracer.scopes.open(scope)
            side.hold(scope, policy)
        mine = {mark: number for mark, number in marks(MARK).items() if MARK.encode() in mark}
        side.tracer.processes.know_steps({}, mine)
        side.tracer.hold_undecided(STRICTEST)
        yield side


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
    kernel.tracer.processes.find(key_of_child(runner.pid), wire.STANDING_AGENT)
    assert [runner.statuses(denied) for _ in range(ROUNDS)] == [[errno.EPERM]] * ROUNDS
    assert runner.statuses(allowed) == [0]


@pytest.mark.parametrize("way", ["forks", "executes"])
def test_who_was_made_before_its_agent_was_found_is_held_once_it_makes_or_executes_something(
    runner: Runner, kernel: KernelSide, lab: Lab, connect: dict[str, list[str]], tmp_path: Path, way: str
) -> None:
    """No walk through /proc is as quick as a process that forks. After all walks nothing changes any more."""
    (goes_on, over) = (tmp_path / name for name in ("goes-on", "over"))
    os.mkfifo(goes_on)
    act = shlex.join(connect[V4.evil])
    acts = {"forks": f"{act}; echo $? >{over}", "executes": f"exec sh -c '{act}; echo $? >{over}'"}
    waiting = ["sh", "-c", f"read -r _ <{goes_on}; {acts[way]}"]

    def made(*, is_found: bool) -> int:
        over.unlink(missing_ok=True)
        runner.start((PATH, waiting))
        if is_found:
            kernel.tracer.processes.find(key_of_child(runner.pid), wire.STANDING_AGENT)
        goes_on.write_text("\n")
        wait_for(lambda: over.exists() and over.read_text() != "")
        return int(over.read_text())

    assert made(is_found=False) == 0
    with lab.watch() as arrivals:
        assert made(is_found=True) == errno.EPERM
    assert arrivals.arrivals.packets_to(V4.evil) == 0
    entries = kernel.tracer.maps["found_steps"]
    assert [int.from_bytes(value, sys.byteorder) for _, value in entries.items()] == [0]
    kernel.tracer.processes.forget_found()
    assert list(entries) == []


def test_nothing_that_a_step_does_makes_it_another(
    kernel: KernelSide, lab: Lab, runner: Runner, programs: Programs
) -> None:
    kernel.tracer.processes.find(key_of_child(runner.pid), wire.STANDING_AGENT)
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


def test_whom_a_step_makes_is_counted_where_it_is_held(kernel: KernelSide, runner: Runner) -> None:
    """Else whoever ends it takes a moment without a process for the end (`scope_end.py`)."""
    kernel.tracer.processes.find(key_of_child(runner.pid), wire.STANDING_AGENT)
    before = kernel.tracer.processes.made(STRICTEST)
    assert runner.statuses((PATH, ["sh", "-c", "for each in 1 2 3; do (exit); done"])) == [0]
    assert kernel.tracer.processes.made(STRICTEST) - before == len(["sh", "1", "2", "3"])


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
        doer = Agent(child, key_of_child(child.pid))
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
        kernel.tracer.processes.find(agent.process, wire.STANDING_AGENT)
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
    kernel.tracer.processes.know_steps({Starter(wire.AGENT_PROGRAM, name.encode()).key: 0}, {})
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
    kernel.tracer.processes.know_steps({Starter(wire.AGENT_PROGRAM, tool.name.encode()).key: 5}, mine)
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
        kernel.tracer.processes.find(step.process, wire.STANDING_STEP)
        kernel.tracer.scopes.release(*executed(kernel, step))
        assert step.do(tries(V4.evil)) == "EPERM"
        assert step.do(forks) == "ok"
        assert step.value(ended) == str(errno.EPERM)
        kernel.tracer.scopes.adopt(*executed(kernel, step), JOB)
        assert step.do(tries(V4.evil)) == "ok"
        assert step.do(forks) == "ok"
        assert step.value(ended) == "0"


NAME = "www.registry.example"
RESOLVER = f"udp://{V4.evil}:53"
NAMES = f'mode: enforce\nallow: ["{RESOLVER}", "{NAME}:{PORT}"]\n'


def mapped(address: str) -> bytes:
    """As the kernel's tables have it."""
    return bytes(10) + b"\xff\xff" + socket.inet_aton(address)


def asks(name: str = NAME, txid: int = 7) -> list[str]:
    """Python that looks a name up."""
    return [
        "asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "asking.settimeout(60)",
        f"asking.sendto(bytes.fromhex({query(name, txid=txid).hex()!r}), ({V4.evil!r}, 53))",
        "asking.recv(4096)",
    ]


def test_what_a_step_looked_up_early_holds_where_its_own_policy_allows_it(
    kernel: KernelSide, lab: Lab
) -> None:
    """What the strictest policy allows, each does: the answer came before it was known which is its own."""
    kernel.hold(STRICTEST, compiled(NAMES))
    kernel.tracer.scopes.open(OTHER)
    for scope in (JOB, OTHER):
        kernel.hold(scope, compiled(f"{NAMES}deny: [other.example]\n"))
    with (
        Resolver(lab, V4.evil, [f"{NAME} A {V4.peer}"]),
        doing(lab, **{MARK: "1"}) as early,
        doing(lab, **{MARK: "1"}) as late,
        doing(lab, **{MARK: "1"}) as doubted,
    ):
        assert early.do(*asks()) == "ok"
        assert [each.do(tries(V4.peer)) for each in (early, late, doubted)] == ["ok", "EPERM", "EPERM"]
        kernel.tracer.scopes.adopt(*executed(kernel, early), JOB)
        assert early.do(tries(V4.peer)) == "ok"
        assert early.do(tries(V4.evil)) == "EPERM"
        kernel.tracer.scopes.adopt(*executed(kernel, late), OTHER)
        kernel.tracer.scopes.adopt(*executed(kernel, doubted), STRICTEST)
        assert [each.do(tries(V4.peer)) for each in (late, doubted)] == ["EPERM"] * 2  # another one's
        assert [each.do(*asks()) for each in (late, doubted)] == ["ok"] * 2
        assert [each.do(tries(V4.peer)) for each in (late, doubted)] == ["ok"] * 2


def test_a_cut_ends_nothing_that_a_step_may_by_what_it_looked_up_early(kernel: KernelSide, lab: Lab) -> None:
    for scope in (STRICTEST, JOB):
        kernel.hold(scope, compiled(NAMES))
    opens = f"held = socket.create_connection({(V4.peer, PORT)})"
    with (
        Resolver(lab, V4.evil, [f"{NAME} A {V4.peer}"]),
        doing(lab, **{MARK: "1"}) as early,
        doing(lab) as stranger,
    ):
        assert early.do(*asks()) == "ok"
        assert [each.do(opens) for each in (early, stranger)] == ["ok"] * 2
        kernel.tracer.scopes.adopt(*executed(kernel, early), JOB)
        kernel.tracer.processes.follow(stranger.process, JOB)
        assert cut(kernel.tracer.directory, JOB) == EndedConnections(1, [])
        assert early.do("held.send(b'x')") == "ok"
        assert stranger.do("held.send(b'x')") in GONE


def test_what_steps_looked_up_early_outlasts_a_changed_policy_for_what_is_undecided(
    kernel: KernelSide, lab: Lab
) -> None:
    """Each has its own, whether or not its job is known by now."""
    before = Named(kernel.hold(STRICTEST, compiled(NAMES)), compiled(NAMES).named)
    kernel.hold(JOB, compiled(f"{NAMES}deny: [other.example]\n"))
    changed, scopes = compiled(NAMES.replace("[", '["a.example:80", ')), kernel.tracer.scopes
    with (
        Resolver(lab, V4.evil, [f"{NAME} A {V4.peer}"]),
        doing(lab, **{MARK: "1"}) as known,
        doing(lab, **{MARK: "1"}) as unknown,
        doing(lab, **{MARK: "1"}) as other,
    ):
        assert [each.do(*asks()) for each in (known, unknown)] == ["ok"] * 2
        scopes.adopt(*executed(kernel, known), JOB)
        number = scopes.write(changed).number
        assert scopes.carry_over_early(before, Named(number, changed.named), lambda *_: [NAME]) == 0
        scopes.hold(STRICTEST, number, changed)
        scopes.drop_grants(STRICTEST, before.number)
        assert [each.do(tries(V4.peer)) for each in (known, unknown, other)] == ["ok", "ok", "EPERM"]
        made, ended = (kernel.tracer.maps[f"grants_{which}"].lookup(EARLY) for which in ("made", "ended"))
        assert (made, ended) == ((2).to_bytes(8, sys.byteorder), bytes(8)), "two, and they are there"


def test_what_is_held_to_the_strictest_for_good_opens_nothing_for_steps(kernel: KernelSide, lab: Lab) -> None:
    """As who says what isn't so, or found no room. What is known without a lookup is the same for all."""
    number = kernel.hold(STRICTEST, compiled(NAMES))
    with (
        Resolver(lab, V4.evil, [f"{NAME} A {V4.peer}"]),
        doing(lab, **{MARK: "1"}) as doubted,
        doing(lab, **{MARK: "1"}) as step,
    ):
        kernel.tracer.scopes.adopt(*executed(kernel, doubted), STRICTEST)
        assert doubted.do(*asks()) == "ok"
        assert [each.do(tries(V4.peer)) for each in (doubted, step)] == ["ok", "EPERM"]
        mask = compiled(NAMES).named.granted([NAME])
        Grants(kernel.tracer.maps).seed(STRICTEST, number, [(mapped(V4.peer), mask)])
        assert step.do(tries(V4.peer)) == "ok"


def test_what_a_step_looked_up_early_denies_nothing_that_its_job_may(kernel: KernelSide, lab: Lab) -> None:
    """Neither to it nor to others: a name that leads to an address is anybody's to give."""
    by_address = f'mode: enforce\nallow: ["{RESOLVER}", "{V4.peer}:{PORT}"]\n'
    kernel.hold(STRICTEST, compiled(f"{by_address}deny: [{NAME}]\n"))
    kernel.hold(JOB, compiled(f"{by_address}deny: [{NAME}]\n"))
    with (
        Resolver(lab, V4.evil, [f"{NAME} A {V4.peer}"]),
        doing(lab, **{MARK: "1"}) as early,
        doing(lab, **{MARK: "1"}) as late,
    ):
        assert early.do(*asks()) == "ok"
        assert [each.do(tries(V4.peer)) for each in (early, late)] == ["EPERM", "ok"]
        for each in (early, late):
            kernel.tracer.scopes.adopt(*executed(kernel, each), JOB)
        assert [each.do(tries(V4.peer)) for each in (early, late)] == ["ok"] * 2
        assert [early.do(*asks()), early.do(tries(V4.peer))] == ["ok", "EPERM"]


def test_what_is_looked_up_later_takes_nothing_back(kernel: KernelSide, lab: Lab) -> None:
    """Two names at one address, and each opens a port of it."""
    policy = compiled(f'mode: enforce\nallow: ["{RESOLVER}", "{NAME}:{PORT}", "b.example:80"]\n')
    for scope in (STRICTEST, JOB):
        kernel.hold(scope, policy)
    with (
        Resolver(lab, V4.evil, [f"{name} A {V4.peer}" for name in (NAME, "b.example")]),
        doing(lab, **{MARK: "1"}) as step,
    ):
        assert step.do(*asks()) == "ok"
        kernel.tracer.scopes.adopt(*executed(kernel, step), JOB)
        assert step.do(*asks("b.example")) == "ok"
        assert step.do(tries(V4.peer)) == "ok"


@pytest.mark.parametrize("is_known", [False, True], ids=["undecided", "decided"])
def test_what_a_step_looked_up_holds_for_all_of_it(kernel: KernelSide, lab: Lab, *, is_known: bool) -> None:
    """Whatever it executes, and each program may be what its job is known by."""
    kernel.hold(STRICTEST, compiled(NAMES))
    kernel.hold(JOB, compiled(f"{NAMES}deny: [other.example]\n"))
    with Resolver(lab, V4.evil, [f"{NAME} A {V4.peer}"]), doing(lab) as step:
        kernel.tracer.processes.find(step.process, wire.STANDING_STEP)
        first = executed(kernel, step)
        assert step.do("read, write = os.pipe()", *forking([*asks(), "os.write(write, b'1')"])) == "ok"
        assert step.do("assert os.read(read, 1)") == "ok"
        assert step.do(executes(**{MARK: "1"})) == "ok"
        assert step.do("pass") == "ok"
        assert executed(kernel, step) != first
        if is_known:
            kernel.tracer.scopes.adopt(*executed(kernel, step), JOB)
        assert step.do(tries(V4.peer)) == "ok"


def forking(lines: list[str]) -> list[str]:
    """Python that has a child do that."""
    return [f"os.fork() or [exec(line) for line in {lines!r}] and os._exit(0)"]


def waited(kernel: KernelSide, scope: bytes) -> int:
    """How many questions of it had no answer. Strangers of the host ask, too, under scopes of their own."""
    noted = kernel.tracer.maps["queries_noted"].lookup(scope) or bytes(wire.QUOTA_VALUE.size)
    quota = wire.QuotaValue.unpack(noted)
    return quota.noted - quota.answered


def expired(kernel: KernelSide, scope: bytes) -> int:
    """How many of these are known to have none."""
    return int.from_bytes(kernel.tracer.maps["queries_expired"].lookup(scope) or b"", sys.byteorder)


def test_questions_of_whom_is_held_to_the_strictest_for_good_take_no_room_of_steps(
    kernel: KernelSide, lab: Lab
) -> None:
    kernel.hold(STRICTEST, compiled(NAMES))
    noted = kernel.tracer.maps["queries_noted"]
    with (
        Resolver(lab, V4.evil, [f"{NAME} A {V4.peer}"]),
        doing(lab, **{MARK: "1"}) as doubted,
        doing(lab, **{MARK: "1"}) as step,
    ):
        kernel.tracer.scopes.adopt(*executed(kernel, doubted), STRICTEST)
        assert doubted.do("pass") == "ok"
        noted.update(scope_key(STRICTEST), wire.QUOTA_VALUE.pack(WAITING_MAX, 0))
        assert [each.do(*asks()) for each in (doubted, step)] == ["ok"] * 2
        assert [each.do(tries(V4.peer)) for each in (doubted, step)] == ["EPERM", "ok"]


def test_questions_of_a_step_take_no_room_of_another_ones(kernel: KernelSide, lab: Lab) -> None:
    both = f'mode: enforce\nallow: ["{RESOLVER}", "udp://{V4.peer}:53", "{NAME}:{PORT}"]\n'
    kernel.hold(STRICTEST, compiled(both))
    floods = (
        f"for number in range({2 * EARLY_ASKED}): "
        "flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f"flood.sendto(bytes.fromhex({query('no.example').hex()!r}), ({V4.peer!r}, 53)); flood.close()"
    )
    with (
        Resolver(lab, V4.evil, [f"{NAME} A {V4.peer}"]),
        doing(lab, **{MARK: "1"}) as flooder,
        doing(lab, **{MARK: "1"}) as step,
    ):
        assert flooder.do(floods) == "ok"
        assert [each.do(*asks()) for each in (flooder, step)] == ["ok"] * 2
        assert [each.do(tries(V4.peer)) for each in (flooder, step)] == ["EPERM", "ok"]
        Queries(kernel.tracer.maps).expire(boot_ns() + PATIENCE_NS)
        assert expired(kernel, EARLY) == waited(kernel, EARLY) > 0
        assert expired(kernel, ALL_SCOPES) >= expired(kernel, EARLY)


def test_a_question_that_is_asked_again_stays_counted_where_it_was(kernel: KernelSide, lab: Lab) -> None:
    """Once before its job is known, and once after."""
    both = f'mode: enforce\nallow: ["udp://{V4.peer}:53"]\n'
    for scope in (STRICTEST, JOB):
        kernel.hold(scope, compiled(both))
    asks_nobody = f"s.sendto(bytes.fromhex({query('no.example').hex()!r}), ({V4.peer!r}, 53))"
    with doing(lab, **{MARK: "1"}) as step:
        assert step.do("s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", asks_nobody) == "ok"
        kernel.tracer.scopes.adopt(*executed(kernel, step), JOB)
        assert step.do(asks_nobody) == "ok"
    Queries(kernel.tracer.maps).expire(boot_ns() + PATIENCE_NS)
    assert expired(kernel, EARLY) == waited(kernel, EARLY) == 1
    assert expired(kernel, scope_key(JOB)) == waited(kernel, scope_key(JOB)) == 0
    assert expired(kernel, ALL_SCOPES) >= expired(kernel, EARLY)


def test_a_socket_with_several_peers_is_free_once_nobody_is_held(kernel: KernelSide, lab: Lab) -> None:
    peers = f'mode: enforce\nallow: ["udp://{V4.peer}:{PORT}", "udp://{V4.evil}:{PORT}"]\n'
    kernel.hold(STRICTEST, compiled(peers))
    with doing(lab, **{MARK: "1"}) as step:
        connects = [f"s.connect(({to!r}, {PORT}))" for to in (V4.peer, V4.evil)]
        made = "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
        assert step.do(made, *connects, "s.send(b'x')") == "ok"
        kernel.hold(STRICTEST, STRICT)
        assert step.do("s.send(b'x')") == "EPERM"
        kernel.tracer.scopes.let_go(STRICTEST)
        kernel.tracer.hold_undecided(0)
        assert step.do("s.send(b'x')") == "ok"


def test_what_steps_looked_up_ends_after_a_while_unless_it_is_used(kernel: KernelSide, lab: Lab) -> None:
    kernel.hold(STRICTEST, compiled(NAMES))
    grants, made = Grants(kernel.tracer.maps), kernel.tracer.maps["grants_made"]
    with (
        Resolver(lab, V4.evil, [f"{NAME} A {V4.peer}"], ttl_s=86_400),
        doing(lab, **{MARK: "1"}) as step,
        doing(lab, **{MARK: "1"}) as other,
    ):
        assert [each.do(*asks()) for each in (step, other)] == ["ok"] * 2
        assert {number: int.from_bytes(value, sys.byteorder) for number, value in made.items()} == {
            ALL_SCOPES: 2,
            EARLY: 2,
        }
        grants.expire(boot_ns(), 1)
        assert step.do(tries(V4.peer)) == "ok"
        assert grants.expire(boot_ns() + IN_USE_NS + SECOND_NS, 2) == 1
        assert [each.do(tries(V4.peer)) for each in (step, other)] == ["ok", "EPERM"]
        ended = kernel.tracer.maps["grants_ended"]
        assert {*ended.items()} == {
            (number, (1).to_bytes(8, sys.byteorder)) for number in (EARLY, ALL_SCOPES)
        }


@pytest.mark.usefixtures("kernel")
def test_who_asks_the_host_takes_no_answer_of_a_step(lab: Lab) -> None:
    binds = (
        "served = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "served.settimeout(60)",
        f"served.bind(({V4.build!r}, 0))",
    )
    with doing(lab) as other, doing(lab, **{MARK: "1"}) as step:
        assert [each.do(*binds) for each in (other, step)] == ["ok"] * 2
        for each, times in ((other, HEARD_SHARE + 10), (step, 1)):
            lab.peer.call(ask, (V4.build, int(each.value("served.getsockname()[1]"))), times).result()
        assert step.do("asker = served.recvfrom(9)[1]", "served.sendto(b'!', asker)") == "ok"


def ask(whom: tuple[str, int], times: int) -> None:
    """A UDP server, each time from another port."""
    for port in range(FIRST_PORT, FIRST_PORT + times):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.bind((V4.evil, port))
            asking.sendto(b"?", whom)


def test_no_resolver_of_a_steps_own_opens_anything(kernel: KernelSide, lab: Lab) -> None:
    name = "www.registry.example"
    kernel.hold(STRICTEST, compiled(f'mode: enforce\nallow: ["{name}:{PORT}"]\n'))
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


@pytest.mark.parametrize("is_nobodys", [False, True])
def test_a_thread_of_a_step_finds_no_way_out_in_a_network_of_its_own(
    kernel: KernelSide, lab: Lab, *, is_nobodys: bool
) -> None:
    """Although it isn't known yet whose that step is, or its variables turned out to be no job's."""
    with doing(lab) as step:
        kernel.tracer.processes.find(step.process, wire.STANDING_STEP)
        if is_nobodys:
            kernel.tracer.scopes.release(*executed(kernel, step))
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
        kernel.tracer.processes.find(agent.process, wire.STANDING_AGENT)
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
    proc = wire.ProcValue.unpack(value or b"")
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
        kernel.tracer.processes.find(step.process, standing, 1)
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
        kernel.tracer.processes.find(step.process, wire.STANDING_STEP)
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
        assert kernel.tracer.processes.live(JOB) == [marked.process]
        assert live_processes(kernel.tracer.directory) == [marked.process.pid]


def test_one_jobs_roots_leave_room_for_anothers(kernel: KernelSide, lab: Lab) -> None:
    scopes, room = kernel.tracer.scopes, kernel.tracer.maps["candidates"].max_entries
    for number in range(room):
        scopes.adopt(dead(number), 1, STRICTEST)
    assert scopes.refused == room // 2
    with doing(lab, **{MARK: "1"}) as marked:
        scopes.adopt(*executed(kernel, marked), JOB)
        assert marked.do(tries(V4.evil)) == "ok"
