"""A watch that is killed and started again: denial stands all the while, and nothing goes untold."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.jobs.detect import detect
from tests.kernel.adopting_watches import HELD, SEND_FRAME, Watches, kill
from tests.kernel.containers import container
from tests.kernel.job_steps import EVIL, PATH, PEER, RESOLVE_AND_CONNECT, Steps, job, known, policy, run_id
from tests.kernel.lab import PORT, V4
from tests.kernel.packet_sockets import frame
from tests.kernel.resolver import Resolver
from tests.kernel.running_exporter import wait_for
from tests.kernel.steered_runs import Host, agent, end_agent, own_host
from tests.kernel.steered_runs import kill as kill_run
from tests.kernel.tracing import RUN_LIMIT_S
from tests.kernel.watching import Runner, Watch
from tests.unit.dns_samples import query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab
    from tests.kernel.tracing import Span

pytestmark = [pytest.mark.kernel, pytest.mark.alone]  # strangers' steps are held until they are known, too


ROUNDS = int(os.environ.get("ADOPT_ROUNDS", "5"))
"""How often a watch is killed and started again while a job connects."""

REFUSED = ("ENOBUFS\n", "EPERM\n")
"""What a frame's sender gets: EPERM, for its socket, where the kernel has the hook for that."""


@pytest.fixture
def host() -> Iterator[Host]:
    with own_host() as made:
        yield made


@pytest.mark.alone  # with --host-enforce, anybody's container is denied everything
def test_what_a_dead_watch_denies_is_told_by_its_jobs_alone(host: Host, steps: Steps, tmp_path: Path) -> None:
    run = run_id("dead")
    watches = Watches(host, tmp_path, "--policy", str(policy(tmp_path, HELD)), "--host-enforce")
    with watches.watching() as watch:
        name = steps.start(job(run, "held"), steps.act(V4.evil))
        known(watch, run)
        kill(watch)
    (instance,) = host.instances()
    modes = {row["job"]: row["effective"] for row in host.status()}
    no_jobs = {"(jobs without room)", "(containers of no job)"}
    assert {modes[each] for each in (*no_jobs, "group/app/held")} == {"enforce"}
    (check,) = (check for check in host.doctor() if check["name"] == f"instance {instance}")
    denies = check["lost"].partition(" still denies for ")[2].partition(", although")[0].split(", ")
    assert "group/app/held" in denies
    assert no_jobs.isdisjoint(denies)
    assert steps.go(name) == "EPERM\n"


def test_what_is_adopted_without_host_enforce_holds_containers_of_no_job_to_nothing(
    host: Host, lab: Lab, programs: Programs, runner: Runner, tmp_path: Path
) -> None:
    def connects(code: int) -> list[str]:
        return ["sh", "-c", f"{shlex.join(programs.act('connect', V4.peer, PORT))}; test $? = {code}"]

    watches = Watches(host, tmp_path, "--policy", str(policy(tmp_path, HELD)))
    denied, allowed = tmp_path / "denied", tmp_path / "allowed"
    shown, network = [programs.directory], lab.build.path
    with watches.watching("--host-enforce") as first:
        with container(connects(errno.EPERM), denied, network=network, shown=shown) as made:
            runner.run((PATH, made.command))
        kill(first)
    with watches.watching("--adopt") as second:
        with container(connects(0), allowed, network=network, shown=shown) as made:
            runner.run((PATH, made.command))
        assert "(containers of no job)" not in {row["job"] for row in host.status()}
        second.stop()


@pytest.mark.everywhere(feature="adoption")
def test_a_watch_goes_on_where_another_was_killed(host: Host, steps: Steps, lab: Lab, tmp_path: Path) -> None:
    run = run_id("adopted")
    watches = Watches(host, tmp_path, "--policy", str(policy(tmp_path, HELD)))
    evil, peer = steps.act(V4.evil), steps.act(V4.peer)
    with lab.watch() as arrivals:
        with watches.watching() as first:
            name = steps.start(job(run, "held"), evil, evil, peer, evil)
            known(first, run)
            assert steps.go(name) == "EPERM\n"
            first.wait_for(lambda: bool(first.egress(run)))
            kill(first)
        (instance,) = host.instances()
        assert (steps.go(name, 1), steps.go(name, 2)) == ("EPERM\n", "ok\n")
        with watches.watching("--adopt") as second:
            second.wait_until_said(f"adopted instance {instance} of a watch that was killed: ")
            second.wait_until_said("job held of group/app goes on", run_id=run)
            assert host.instances() == [instance]
            assert steps.go(name, 3) == "EPERM\n"
            seen = second.stop()
    assert arrivals.arrivals.packets_to(V4.evil) == 0
    told = [
        (span["network.peer.address"], span["egress.verdict"], span["egress.rule"])
        for span in seen.egress(run)
    ]
    assert told == [
        (V4.evil, "deny", "default"),
        (V4.peer, "allow", PEER),
        (V4.evil, "deny", "default"),
    ]
    ids = detect(job(run, "held")).ids
    assert {span.trace_id for span in seen.of_run(run)} == {f"{ids.trace_id:032x}"}
    assert [span.span_id for span in seen.jobs(run)] == [f"{ids.job_span_id:016x}"]
    by_id = {span.span_id: span for span in seen.spans}
    assert all(by_id[span.parent_id].name == "act" for span in seen.egress(run))
    assert host.instances() == []


def test_what_a_job_counts_and_forks_while_nobody_watches_is_told(
    host: Host, steps: Steps, lab: Lab, tmp_path: Path
) -> None:
    """More acts than are told one by one, by a process that came and went."""
    run, number = run_id("counted"), 300
    watches = Watches(host, tmp_path, "--policy", str(policy(tmp_path, HELD)))
    flood = shlex.join(
        map(os.fsdecode, lab.command([sys.executable, "-c", FLOOD, V4.evil, str(PORT), str(number)]))
    )
    with lab.watch() as arrivals:
        with watches.watching() as first:
            name = steps.start(job(run, "held"), flood)
            known(first, run)
            kill(first)
        assert steps.go(name) == f"{number} EPERM\n"
        with watches.watching("--adopt") as second:
            second.wait_until_said("goes on", run_id=run)
            seen = second.stop()
    assert arrivals.arrivals.packets_to(V4.evil) == 0
    assert attempts(seen.egress(run)) == number
    assert {span["egress.verdict"] for span in seen.egress(run)} == {"deny"}
    assert {span["process.executable.name"] for span in seen.egress(run)} == {
        Path(sys.executable).resolve().name
    }
    assert seen.account.endswith(" + pending 0")


FLOOD = """
import collections, errno, socket, sys
address, port, number = sys.argv[1:]
results = collections.Counter()
for _ in range(int(number)):
    with socket.socket() as tcp:
        results[errno.errorcode.get(tcp.connect_ex((address, int(port))), "ok")] += 1
print(*(f"{count} {result}" for result, count in results.items()))
"""


def attempts(told: Iterable[Span]) -> int:
    """How many these spans stand for."""
    return sum(int(str(span["egress.attempts"])) for span in told)


def has_more(results: Callable[[], list[str]], before: int) -> bool:
    """Than there were before, by what was begun and ended since."""
    return len(results()) > before + 2


@pytest.mark.timeout(120 + 30 * ROUNDS)
def test_no_denied_connect_gets_through_while_watches_are_killed(
    host: Host, steps: Steps, lab: Lab, tmp_path: Path
) -> None:
    """Every other one is killed in the middle of taking over."""
    run, over = run_id("loop"), tmp_path / "over"
    watches = Watches(host, tmp_path, "--policy", str(policy(tmp_path, HELD)))
    with lab.watch() as arrivals:
        with watches.watching() as first:
            name = steps.start(job(run, "held"), f"until test -e {over}; do {steps.act(V4.evil)}; done")
            known(first, run)
            results = steps.begin(name)
            kill(first)
        for number in range(ROUNDS):
            wait_for(partial(has_more, results, len(results())))
            with watches.watching("--adopt", until_ready=number % 2 == 0) as watch:
                watch.wait_until_said("goes on", run_id=run)
                kill(watch)
        with watches.watching("--adopt") as last:
            over.touch()
            done = steps.done(name)
            seen = last.stop()
    assert set(done.split()) == {"EPERM"}
    assert arrivals.arrivals.packets_to(V4.evil) == 0
    assert seen.account.endswith(" + pending 0")
    told = watches.egress(run)
    assert {span["egress.verdict"] for span in told} == {"deny"}
    assert 0 <= len(done.split()) - attempts(told) <= watches.lost()
    assert host.instances() == []


def test_frames_are_stopped_all_the_while(host: Host, steps: Steps, lab: Lab, tmp_path: Path) -> None:
    run = run_id("frames")
    watches = Watches(host, tmp_path, "--policy", str(policy(tmp_path, HELD)))
    send = shlex.join([sys.executable, "-c", SEND_FRAME, frame(V4, V4.evil).hex()])
    inside = shlex.join([os.fsdecode(part) for part in lab.command(())])
    with watches.watching() as first:
        until = f"until {send} | grep -qv ok; do :; done; echo stopped"
        name = steps.start(job(run, "held"), until, send, send, around=f"{inside} {{}}")
        known(first, run)
        assert steps.go(name) == "stopped\n"
        kill(first)
    with lab.watch() as arrivals:
        assert steps.go(name, 1) in REFUSED
        with watches.watching("--adopt") as second:
            assert steps.go(name, 2) in REFUSED
            second.stop()
    assert arrivals.arrivals.packets_to(V4.evil) == 0
    assert host.instances() == []


def test_what_names_granted_goes_on_under_the_same_policy(
    host: Host, steps: Steps, lab: Lab, tmp_path: Path
) -> None:
    run, peer = run_id("granted"), steps.act(V4.peer)
    watches = Watches(
        host, tmp_path, "--policy", str(policy(tmp_path, GRANTED.format("www.registry.example")))
    )
    question = query("www.registry.example").hex()
    code = [sys.executable, "-c", RESOLVE_AND_CONNECT, question, V4.evil, V4.peer, str(PORT)]
    looked_up = shlex.join([os.fsdecode(part) for part in lab.command(code)])
    with Resolver(lab, V4.evil, [f"www.registry.example A {V4.peer}"]):
        with watches.watching() as first:
            name = steps.start(job(run, "held"), looked_up, peer, peer, peer)
            known(first, run)
            assert steps.go(name) == "ok\n"
            kill(first)
        assert steps.go(name, 1) == "ok\n"
        with watches.watching("--adopt") as second:
            assert steps.go(name, 2) == "ok\n"
            assert not second.has_said("is lost until")
            kill(second)
        policy(tmp_path, GRANTED.format("*.registry.example"))
        with watches.watching("--adopt") as third:
            third.wait_until_said("is lost until they are looked up again (addresses: 1)")
            assert steps.go(name, 3) == "EPERM\n"
            third.stop()


GRANTED = f"""
trust_names: true
jobs:
  "*/held": {{{{mode: enforce, allow: ["udp://{V4.evil}:53", "{{}}:{PORT}"]}}}}
"""


def test_a_changed_policy_and_what_somebody_chose_hold_for_jobs_that_are_adopted(
    host: Host, steps: Steps, tmp_path: Path
) -> None:
    runs, evil = [run_id("changed"), run_id("chosen")], steps.act(V4.evil)
    tasks = "*/held", "*/chosen"
    watches = Watches(host, tmp_path, "--policy", str(policy(tmp_path, sections(*tasks))))
    with watches.watching() as first:
        changed = steps.start(job(runs[0], "held"), evil, evil)
        chosen = steps.start(job(runs[1], "chosen"), evil, evil, evil)
        known(first, *runs)
        assert (steps.go(changed), steps.go(chosen)) == ("EPERM\n", "EPERM\n")
        kill(first)
    host.ci_egress("enforce", "off", "--job", "group/app/chosen")
    assert steps.go(chosen, 1) == "ok\n"
    policy(
        tmp_path,
        sections(*tasks, allow=EVIL).replace("*/chosen", "*/other") + "  '*/chosen': {mode: enforce}\n",
    )
    with watches.watching("--adopt") as second:
        assert (steps.go(changed, 1), steps.go(chosen, 2)) == ("ok\n", "ok\n")
        modes = {
            row["job"]: (row["requested"], row["effective"]) for row in host.status("--job", "group/app/*")
        }
        seen = second.stop()
    assert modes["group/app/held"] == ("enforce", "enforce")
    assert modes["group/app/chosen"] == ("enforce", "audit")
    told = [
        [(span["egress.verdict"], span.attributes.get("egress.rule")) for span in seen.egress(run)]
        for run in runs
    ]
    assert (told[0][-1:], told[1][-2:]) == ([("allow", EVIL)], [("audit", "default")] * 2)


def test_a_chain_of_processes_stays_what_it_was(host: Host, steps: Steps, tmp_path: Path) -> None:
    """Under a policy that names other executables, too, and first."""
    run, peer = run_id("chain"), steps.act(V4.peer)
    watches = Watches(host, tmp_path, "--policy", str(policy(tmp_path, lineages("timeout"))))
    below = f"timeout 100 sh -c {shlex.quote(steps.script('below', peer, peer, peer))}"
    with watches.watching() as first:
        name = steps.start(job(run, "held"), f"{below} > /dev/null 2>&1 & {peer}", peer, peer)
        known(first, run)
        assert (steps.go(name), steps.go("below")) == ("EPERM\n", "ok\n")
        kill(first)
    assert steps.go("below", 1) == "ok\n"
    policy(tmp_path, lineages("env", "timeout"))
    with watches.watching("--adopt") as second:
        assert (steps.go(name, 1), steps.go("below", 2)) == ("EPERM\n", "ok\n")
        second.stop()


def lineages(*executables: str) -> str:
    """Enforced: to the peer, and with each of these above."""
    rules = [f"{{host: {V4.peer}, ports: [{PORT}], lineage: [{name}]}}" for name in executables]
    return f"trust_names: true\njobs:\n  '*/held': {{mode: enforce, allow: [{', '.join(rules)}]}}\n"


def sections(*tasks: str, allow: str = PEER) -> str:
    """Enforced for each."""
    lines = [f"  '{task}': {{mode: enforce, allow: ['{allow}']}}" for task in tasks]
    return "\n".join(["trust_names: true", "jobs:", *lines, ""])


def test_a_job_whose_first_process_is_gone_stays_held(host: Host, steps: Steps, tmp_path: Path) -> None:
    run, evil = run_id("orphaned"), steps.act(V4.evil)
    watches = Watches(host, tmp_path, "--policy", str(policy(tmp_path, HELD)))
    left = steps.script("left", evil, evil)
    leave = f"env -i PATH={os.environ['PATH']} setsid sh -c {shlex.quote(left)} & true"
    with Runner() as worker:
        with watches.watching() as first:
            worker.run((job(run, "held"), ["sh", "-c", leave]))
            known(first, run)
            assert steps.go("left") == "EPERM\n"
            kill(first)
        with watches.watching("--adopt") as second:
            second.wait_until_said("job held of group/app goes on")
            assert steps.go("left", 1) == "EPERM\n"
            seen = second.stop()
    trace_id = f"{detect(job(run, 'held')).ids.trace_id:032x}"
    *_, told = (span for span in seen.of_program(str(steps.program)) if span.trace_id == trace_id)
    assert (told["egress.verdict"], told["cicd.pipeline.name"], told["cicd.pipeline.task.name"]) == (
        "deny",
        "group/app",
        "held",
    )


def test_a_job_that_began_while_nobody_watched_is_held_all_the_while(
    host: Host, steps: Steps, tmp_path: Path
) -> None:
    runs, evil = [run_id("earlier"), run_id("later")], steps.act(V4.evil)
    watches = Watches(host, tmp_path, "--policy", str(policy(tmp_path, HELD)))
    with watches.watching() as first:
        steps.start(job(runs[0], "held"), evil)
        known(first, runs[0])
        kill(first)
    name = steps.start(job(runs[1], "held"), evil, evil)
    assert steps.go(name) == "EPERM\n"
    with watches.watching("--adopt") as second:
        known(second, runs[1])
        assert steps.go(name, 1) == "EPERM\n"
        seen = second.stop()
    assert [span["egress.verdict"] for span in seen.egress(runs[1])] == ["deny", "deny"]


def test_without_anything_to_adopt_it_starts_anew(host: Host, tmp_path: Path) -> None:
    watches = Watches(host, tmp_path)
    with watches.watching("--adopt") as watch:
        assert not watch.has_said("adopted")
        (name,) = host.instances()
        with watches.watching("--adopt", until_ready=False) as another:
            told = refused(another)
        assert told.startswith(f"a watch runs already: instance {name}; ")
        assert watch.stop().status == 0


def test_a_run_that_was_killed_is_none_to_adopt(host: Host, tmp_path: Path) -> None:
    enforced = ("--enforce", "--allowed-endpoints", PEER)
    with host.running(agent(), tmp_path / "run", *enforced) as run:
        assert run.next_line() == "ready"
        (name,) = host.instances()
        kill_run(run)
        with Watches(host, tmp_path).watching("--adopt") as watch:
            watch.wait_until_said(f"`ci-egress stop {name}` ends it")
            assert len(host.instances()) == 2
            watch.stop()
        end_agent(run)


@pytest.mark.parametrize(
    ("options", "pin"),
    [((), "link_on_query"), (("--allowed-endpoints", PEER), "prog_idle_setsockopt")],
    ids=["without-a-policy", "with-a-policy"],
)
def test_a_watch_that_was_killed_while_its_programs_were_attached_is_none_to_adopt(
    host: Host, tmp_path: Path, options: tuple[str, ...], pin: str
) -> None:
    """Nothing depends on it."""
    watches = Watches(host, tmp_path, *options)
    with watches.watching() as first:
        kill(first)
    (left,) = host.instances()
    host.python(_UNPINNED.replace("link_on_sendmsg4", pin), left)
    with watches.watching("--adopt") as watch:
        assert not watch.has_said("adopted")
        (name,) = host.instances()
        assert name != left
        watch.stop()


def test_what_does_not_fit_is_refused_and_stays_as_it_is(host: Host, steps: Steps, tmp_path: Path) -> None:
    run, evil = run_id("refused"), steps.act(V4.evil)
    file = str(policy(tmp_path, HELD))
    watches = Watches(host, tmp_path)
    with watches.watching("--policy", file) as first:
        name = steps.start(job(run, "held"), *[evil] * 4)
        known(first, run)
        kill(first)
    (instance,) = host.instances()
    with watches.watching("--adopt", until_ready=False) as watch:
        told = refused(watch)
        assert "which a killed watch left, holds jobs to a policy; give --policy " in told
    assert steps.go(name) == "EPERM\n"
    cannot = f"instance {instance}, which a killed ci-egress left, can't be adopted: "
    for code in (_OTHER_LAYOUT, _OTHER_EDITION):
        host.python(code, instance)
        with watches.watching("--policy", file, "--adopt", until_ready=False) as watch:
            told = refused(watch)
            assert told.startswith(f"{cannot}it is of another version of ci-egress; ")
            assert f"`ci-egress stop {instance}` ends it" in told
        host.python(code, instance)
    assert steps.go(name, 1) == "EPERM\n"
    host.python(
        "import sys, os; os.remove(f'/sys/fs/bpf/ci-egress/{sys.argv[1]}/link_on_sendmsg4')", instance
    )
    with watches.watching("--policy", file, "--adopt", until_ready=False) as watch:
        assert "can't be adopted: on_sendmsg4 isn't attached any more; " in refused(watch)
    assert steps.go(name, 2) == "EPERM\n"


def test_a_policy_is_no_reason_to_adopt_what_has_no_programs_for_it(
    host: Host, steps: Steps, tmp_path: Path
) -> None:
    """What needs no policy is adopted, whatever programs it has."""
    run, evil = run_id("bare"), steps.act(V4.evil)
    watches = Watches(host, tmp_path)
    with watches.watching() as first:
        name = steps.start(job(run, "held"), evil)
        known(first, run)
        kill(first)
    (instance,) = host.instances()
    with watches.watching("--allowed-endpoints", PEER, "--adopt", until_ready=False) as watch:
        told = refused(watch)
        assert told.startswith(
            f"instance {instance}, which a killed watch left, has no programs for a policy; "
        )
        assert f"`ci-egress stop {instance}` ends it" in told
    with watches.watching("--adopt") as watch:
        assert host.instances() == [instance]
        assert steps.go(name) == "ok\n"
        assert len(watch.stop().egress(run)) == 1


_CHANGED = """
import sys
from pathlib import Path
from exporter.events import wire
from exporter.kernel.bpf import Map
config = Map(Path("/sys/fs/bpf/ci-egress", sys.argv[1], "map_config"))
value = wire.ConfigValue.unpack(config.lookup(bytes(4)))
config.update(bytes(4), wire.CONFIG_VALUE.pack(*value._replace({0}=value.{0} ^ 1)))
"""
_UNPINNED = "import os, sys; os.remove(f'/sys/fs/bpf/ci-egress/{sys.argv[1]}/link_on_sendmsg4')"
_OTHER_LAYOUT, _OTHER_EDITION = _CHANGED.format("layout"), _CHANGED.format("edition")


def refused(watch: Watch) -> str:
    """What one says that doesn't start."""
    assert watch.process.wait(RUN_LIMIT_S) == 91
    said = watch.said()[-1]
    return f"{said['message']}; {said['hint']}"


def test_of_several_none_is_adopted_unless_the_others_do_nothing(
    host: Host, steps: Steps, tmp_path: Path
) -> None:
    run, evil = run_id("several"), steps.act(V4.evil)
    watches = Watches(host, tmp_path, "--policy", str(policy(tmp_path, HELD)))
    with watches.watching() as first, watches.watching() as second:
        steps.start(job(run, "held"), evil)
        known(first, run)
        known(second, run)
        kill(first)
        kill(second)
    names = host.instances()
    with watches.watching("--adopt", until_ready=False) as watch:
        told = refused(watch)
        assert told.startswith("several watches were killed")
        assert all(name in told for name in names)
    host.ci_egress("stop", names[0])
    with watches.watching("--adopt") as watch:
        watch.wait_until_said(f"adopted instance {names[1]}")
        watch.stop()


def test_with_open_there_is_nothing_to_adopt(host: Host, tmp_path: Path) -> None:
    options = ("--adopt", "--on-exporter-death", "open")
    with Watches(host, tmp_path).watching(*options, until_ready=False) as watch:
        assert watch.process.wait(RUN_LIMIT_S) == 2
