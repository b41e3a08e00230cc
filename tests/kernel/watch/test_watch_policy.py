"""`ci-egress watch` under a policy: each job of the host is held to its own part of it."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.containers import container
from tests.kernel.host_watches import ALL_BUT_THAT, DENIED
from tests.kernel.job_steps import (
    EVIL,
    PATH,
    PEER,
    RESOLVE_AND_CONNECT,
    Steps,
    enforce_on,
    job,
    known,
    policy,
    run_id,
)
from tests.kernel.lab import PORT, V4
from tests.kernel.resolver import Resolver
from tests.kernel.tracing import RUN_LIMIT_S, logs
from tests.kernel.watching import Runner, Watch, watching
from tests.unit.dns_samples import query
from tests.unit.watched_host import gitlab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.alone]  # strangers' steps are held until they are known, too


SECTIONS = f"""
trust_names: true
jobs:
  "*/strict": {{mode: enforce, allow: ["{PEER}"]}}
  "*/lax": {{allow: ["{EVIL}"]}}
"""


@pytest.mark.everywhere(feature="watch")
def test_jobs_at_once_are_each_held_to_their_own_part_and_mode(
    steps: Steps, lab: Lab, tmp_path: Path
) -> None:
    file, run = policy(tmp_path, SECTIONS), run_id("parts")
    both = f"{steps.act(V4.peer)}; {steps.act(V4.evil)}"
    with watching(tmp_path, "--policy", str(file)) as watch, lab.watch() as arrivals:
        jobs = {task: steps.start(job(run, task), both) for task in ("strict", "lax", "other")}
        watch.wait_until_said(" began", run_id=run, times=3)
        assert {task: steps.go(place) for task, place in jobs.items()} == {
            "strict": "ok\nEPERM\n",
            "lax": "ok\nok\n",
            "other": "ok\nok\n",
        }
        seen = watch.stop()
    (blocked,) = [line for line in watch.said() if line["message"].startswith("blocked: ")]
    assert blocked["message"].endswith(f"{V4.evil}:{PORT}, rule default, job strict of group/app")
    assert (blocked["level"], blocked["job"], blocked["run_id"]) == ("error", "strict", run)
    assert arrivals.arrivals.packets_to(V4.evil) > 0
    told = Counter(
        (
            span.resource["cicd.pipeline.task.name"],
            span["network.peer.address"],
            span["egress.verdict"],
            span["egress.mode"],
            span["egress.rule"],
        )
        for span in seen.egress(run)
    )
    assert told == {
        ("strict", V4.peer, "allow", "enforce", PEER): 1,
        ("strict", V4.evil, "deny", "enforce", "default"): 1,
        ("lax", V4.peer, "audit", "audit", "default"): 1,
        ("lax", V4.evil, "allow", "audit", EVIL): 1,
        ("other", V4.peer, "audit", "audit", "default"): 1,
        ("other", V4.evil, "audit", "audit", "default"): 1,
    }


def test_what_a_job_leaves_behind_keeps_its_verdicts(steps: Steps, tmp_path: Path) -> None:
    file, run = policy(tmp_path, SECTIONS), run_id("left")
    left = steps.script("left", steps.act(V4.evil), steps.act(V4.evil))
    with watching(tmp_path, "--policy", str(file)) as watch:
        with Runner() as worker:
            worker.run((job(run, "strict"), ["sh", "-c", f"setsid sh -c {shlex.quote(left)} & true"]))
            known(watch, run)
            assert steps.go("left") == "EPERM\n"
        assert steps.go("left", 1) == "EPERM\n"
        seen = watch.stop()
    assert [span["egress.verdict"] for span in seen.egress(run)] == ["deny", "deny"]


def test_no_way_out_of_a_job_is_one_out_of_its_policy(
    steps: Steps, programs: Programs, cgroup: Path, tmp_path: Path
) -> None:
    file, run = policy(tmp_path, SECTIONS), run_id("escape")
    ways = [
        ["unshare", "--user", "--map-root-user", "--net"],
        ["setsid", "--wait"],
        programs.lineage("double-fork"),
        ["sh", "-c", f'echo $$ > {cgroup}/cgroup.procs; exec "$@"', "sh"],
        ["env", "-i", "GITLAB_CI=true", f"CI_PIPELINE_ID={run}-other", "CI_JOB_ID=1", "CI_JOB_NAME=lax"],
    ]
    with watching(tmp_path, "--policy", str(file)) as watch:
        name = steps.start(job(run, "strict"), *(steps.act(V4.evil, *way) for way in ways))
        known(watch, run)
        assert [steps.go(name, number) for number in range(len(ways))] == ["EPERM\n"] * len(ways)
        seen = watch.stop()
    assert [span["egress.verdict"] for span in seen.egress(run)] == ["deny"] * len(ways)


def test_a_job_in_a_container_is_held_to_its_part(
    lab: Lab, programs: Programs, runner: Runner, tmp_path: Path
) -> None:
    file, run = policy(tmp_path, SECTIONS), run_id("container")
    act = shlex.join(programs.act("connect", V4.evil, PORT))
    variables = {**gitlab(run=run, job="1", CI_JOB_NAME="strict"), "PATH": "/usr/bin:/bin"}
    turn = tmp_path / "turn"
    turn.mkdir()
    waits = f"until test -e {turn}/go; do sleep 0.02; done; {act}; {act}; true"
    command, shown = ["env", *map("=".join, variables.items()), "sh", "-c", waits], [programs.directory, turn]
    with (
        container(command, tmp_path / "bundle", network=lab.build.path, shown=shown) as made,
        watching(tmp_path, "--policy", str(file)) as watch,
        lab.watch() as arrivals,
    ):
        runner.start((PATH, made.command))
        known(watch, run)
        (turn / "go").touch()
        watch.wait_for(lambda: len(watch.egress(run)) == 2)
        seen = watch.stop()
    assert arrivals.arrivals.packets_to(V4.evil) == 0
    told = [(span["egress.verdict"], span["container.id"]) for span in seen.egress(run)]
    assert told == [("deny", made.id)] * 2


def test_a_job_that_runs_already_is_held_to_its_part(steps: Steps, tmp_path: Path) -> None:
    file, run = policy(tmp_path, SECTIONS), run_id("early")
    inner = steps.script("inner", steps.act(V4.evil))
    steps.start(job(run, "strict"), f"env -i PATH={PATH['PATH']} sh -c {shlex.quote(inner)}")
    (tmp_path / "steps" / f"strict-of-{run}-1" / "go0").touch()
    with watching(tmp_path, "--policy", str(file)) as watch:
        known(watch, run)
        assert steps.go("inner") == "EPERM\n"
        watch.stop()


EARLY = {
    SECTIONS: [("deny", "enforce", "default")] * 2,
    SECTIONS.replace("mode: enforce, ", ""): [("audit", "audit", "default"), ("allow", "audit", PEER)],
}
"""What is told of what a job does, by the policy: until it is known it is held to the strictest there is."""


@pytest.mark.parametrize("text", EARLY, ids=["enforced", "audited"])
def test_every_act_of_a_job_before_it_is_known_is_told_against_a_policy(
    runner: Runner, steps: Steps, tmp_path: Path, text: str
) -> None:
    """Whatever comes first, the job's act or its policy."""
    file, run = policy(tmp_path, text), run_id("first")
    with watching(tmp_path, "--policy", str(file)) as watch:
        watch.process.send_signal(signal.SIGSTOP)
        runner.run((job(run, "strict"), ["sh", "-c", f"{steps.act(V4.evil)}; {steps.act(V4.peer)}; true"]))
        watch.process.send_signal(signal.SIGCONT)
        known(watch, run)
        seen = watch.stop()
    acts = seen.egress(run)
    told = [(span["egress.verdict"], span["egress.mode"], span["egress.rule"]) for span in acts]
    assert told == EARLY[text]
    if told[0][0] == "deny":
        return
    of_the_job = [log for log in logs(watch.otlp_dir) if log.get("traceId") == acts[0].trace_id]
    (record,) = (log for log in of_the_job if log["eventName"] == "cicd.egress.would_deny")
    assert "would block: act" in record["body"]["stringValue"]


@pytest.mark.alone
def test_a_changed_policy_holds_for_jobs_that_run(steps: Steps, tmp_path: Path) -> None:
    file, runs = policy(tmp_path, SECTIONS), [run_id("changed-1"), run_id("changed-2")]
    evil = steps.act(V4.evil)
    with watching(tmp_path, "--policy", str(file)) as watch:
        strict, lax = (
            steps.start(job(run, task), evil, evil) for run, task in zip(runs, ("strict", "lax"), strict=True)
        )
        known(watch, *runs)
        assert (steps.go(strict), steps.go(lax)) == ("EPERM\n", "ok\n")
        policy(tmp_path, SECTIONS.replace("strict", "x").replace("lax", "strict") + "mode: enforce\n")
        watch.process.send_signal(signal.SIGHUP)
        watch.wait_until_said("read the policy again")
        (read,) = (said for said in watch.said() if said.get("policy") == "read")
        assert read["message"] == f"SIGHUP: read the policy again, {read['jobs']} jobs go by it"
        assert read["jobs"] >= len(runs)
        assert (steps.go(strict, 1), steps.go(lax, 1)) == ("ok\n", "EPERM\n")
        seen = watch.stop()
    told = [[(span["egress.verdict"], span["egress.rule"]) for span in seen.egress(run)] for run in runs]
    assert told == [[("deny", "default"), ("allow", EVIL)], [("allow", EVIL), ("deny", "default")]]


@pytest.mark.alone
def test_a_job_that_begins_while_the_policy_is_changed_is_held_to_the_new_one(
    steps: Steps, tmp_path: Path
) -> None:
    """It waits to be told of when the change is made."""
    file, run = policy(tmp_path, SECTIONS), run_id("amid")
    peer, evil = steps.act(V4.peer), steps.act(V4.evil)
    with watching(tmp_path, "--policy", str(file)) as watch:
        watch.process.send_signal(signal.SIGSTOP)
        name = steps.start(job(run, "strict"), evil, peer)
        policy(tmp_path, SECTIONS.replace(PEER, EVIL))
        watch.process.send_signal(signal.SIGHUP)
        watch.process.send_signal(signal.SIGCONT)
        watch.wait_until_said("read the policy again")
        known(watch, run)
        assert (steps.go(name), steps.go(name, 1)) == ("ok\n", "EPERM\n")
        watch.stop()


BROKEN = ["version: 1\nmode: enforced\n", None, "pipe"]


@pytest.mark.parametrize("broken", BROKEN, ids=["invalid", "removed", "pipe"])
def test_a_policy_that_cannot_be_read_again_changes_nothing(
    steps: Steps, tmp_path: Path, broken: str | None
) -> None:
    file, run = policy(tmp_path, SECTIONS), run_id("kept")
    evil = steps.act(V4.evil)
    with watching(tmp_path, "--policy", str(file)) as watch:
        name = steps.start(job(run, "strict"), evil, evil)
        known(watch, run)
        assert steps.go(name) == "EPERM\n"
        if broken in (None, "pipe"):
            file.unlink()
            if broken:
                os.mkfifo(file)
        else:
            file.write_text(broken)
        watch.process.send_signal(signal.SIGHUP)
        watch.wait_until_said("the policy stays as it was")
        assert steps.go(name, 1) == "EPERM\n"
        said = [line["message"] for line in watch.said()]
        assert watch.stop().status == 0
    is_invalid = broken not in (None, "pipe")
    place = f"{file}:2:7: `mode` can't be `enforced`" if is_invalid else f"cannot read the policy {file}"
    assert any(place in line for line in said)


@pytest.mark.parametrize("text", ["version: 1\nmode: enforced\n", None], ids=["invalid", "missing"])
def test_with_a_policy_that_is_not_valid_nothing_starts(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "policy.yaml"
    if text is not None:
        file.write_text(text)
    with watching(tmp_path, "--policy", str(file), until_ready=False) as watch:
        assert watch.process.wait(RUN_LIMIT_S) == 2
        assert str(file) in watch.said()[0]["message"]


def looks_up(lab: Lab) -> str:
    """What a step executes to ask for www.registry.example, and to connect there."""
    question = query("www.registry.example").hex()
    code = [sys.executable, "-c", RESOLVE_AND_CONNECT, question, V4.evil, V4.peer, str(PORT)]
    return shlex.join([os.fsdecode(part) for part in lab.command(code)])


NAMES = f"""
mode: enforce
allow: ["udp://{V4.evil}:53", "NAME:{PORT}"]
"""


@contextmanager
def granted(
    steps: Steps, lab: Lab, folder: Path, run: str, further: int, *own: str
) -> Iterator[tuple[Watch, str]]:
    """A watch under NAMES, and a step that was granted an address; it may connect there `further` times.

    The resolver has the addresses `own` under that name, too.
    """
    file = policy(folder, NAMES.replace("NAME", "www.registry.example"))
    looked_up, peer = looks_up(lab), steps.act(V4.peer)
    with (
        Resolver(lab, V4.evil, [f"www.registry.example A {address}" for address in (V4.peer, *own)]),
        watching(folder, "--policy", str(file)) as watch,
    ):
        name = steps.start(job(run, "build"), looked_up, *[peer] * further)
        known(watch, run)
        assert steps.go(name) == "ok\n"
        yield watch, name


@pytest.mark.alone
def test_what_names_granted_lasts_through_a_change_of_the_policy(
    steps: Steps, lab: Lab, tmp_path: Path
) -> None:
    run = run_id("names")
    with granted(steps, lab, tmp_path, run, 3) as (watch, name):
        changes = ["a.example:80, *.registry.example", "mirror.example", "www.registry.example"]
        results = []
        for number, names in enumerate(changes, 1):
            quoted = '", "'.join(names.split(", "))
            policy(tmp_path, NAMES.replace("NAME", quoted))
            watch.process.send_signal(signal.SIGHUP)
            watch.wait_until_said("read the policy again", times=number)
            results.append(steps.go(name, number))
        seen = watch.stop()
    assert results == ["ok\n", "EPERM\n", "ok\n"]
    told = [span["egress.rule"] for span in seen.egress(run) if span["network.peer.port"] == PORT]
    assert told == [
        f"www.registry.example:{PORT}",
        f"*.registry.example:{PORT}",
        "default",
        f"www.registry.example:{PORT}",
    ]


@pytest.mark.alone
@pytest.mark.parametrize("own", [(), (V4.evil,)], ids=["", "naming-itself"])
def test_what_a_resolver_answered_grants_nothing_under_a_policy_that_does_not_allow_it(
    steps: Steps, lab: Lab, tmp_path: Path, own: tuple[str, ...]
) -> None:
    """The job may have answered to itself; also that the resolver has a name which is allowed, elsewhere."""
    with granted(steps, lab, tmp_path, run_id("resolver"), 1, *own) as (watch, name):
        names = NAMES.replace("NAME", "www.registry.example")
        policy(tmp_path, names.replace(f'"udp://{V4.evil}:53", ', ""))
        watch.process.send_signal(signal.SIGHUP)
        watch.wait_until_said("read the policy again")
        assert steps.go(name, 1) == "EPERM\n"
        watch.stop()


@pytest.mark.alone
def test_what_a_step_looked_up_before_it_was_known_lasts_through_a_change_of_the_strictest_policy(
    steps: Steps, lab: Lab, tmp_path: Path
) -> None:
    """Under which that stands; the job's own stays as it is."""
    text = NAMES.replace("NAME", "www.registry.example")
    file, run = policy(tmp_path, text), run_id("looked-up")
    looked_up = looks_up(lab)
    with (
        Resolver(lab, V4.evil, [f"www.registry.example A {V4.peer}"]),
        watching(tmp_path, "--policy", str(file)) as watch,
    ):
        watch.process.send_signal(signal.SIGSTOP)
        name = steps.start(job(run, "build"), looked_up, steps.act(V4.peer), steps.act(V4.evil))
        assert steps.go(name) == "ok\n"
        watch.process.send_signal(signal.SIGCONT)
        known(watch, run)
        policy(tmp_path, f'{text}jobs: {{"*/other": {{deny: [other.example]}}}}\n')
        watch.process.send_signal(signal.SIGHUP)
        watch.wait_until_said("read the policy again")
        assert (steps.go(name, 1), steps.go(name, 2)) == ("ok\n", "EPERM\n")
        watch.stop()


def test_what_was_chosen_for_a_job_that_runs_outlives_a_change_of_the_policy(
    steps: Steps, tmp_path: Path
) -> None:
    file, run = policy(tmp_path, SECTIONS), run_id("chosen")
    peer, evil = steps.act(V4.peer), steps.act(V4.evil)
    with watching(tmp_path, "--policy", str(file)) as watch:
        name = steps.start(job(run, "lax", CI_PROJECT_PATH=f"group/{run}"), peer, peer, evil)
        known(watch, run)
        assert steps.go(name) == "ok\n"
        assert enforce_on(watch, f"group/{run}*") == 0
        assert steps.go(name, 1) == "EPERM\n"
        policy(tmp_path, SECTIONS.replace(EVIL, PEER))
        watch.process.send_signal(signal.SIGHUP)
        watch.wait_until_said("read the policy again")
        assert steps.go(name, 2) == "EPERM\n"
        seen = watch.stop()
    told = [(span["egress.verdict"], span["egress.mode"]) for span in seen.egress(run)]
    assert told == [("audit", "audit"), ("deny", "enforce"), ("deny", "enforce")]


@pytest.mark.alone
def test_a_chain_of_processes_begins_at_the_jobs_root(steps: Steps, tmp_path: Path) -> None:
    """What started the step is none of it, `timeout` for one."""
    file = policy(
        tmp_path, f"mode: enforce\nallow: [{{host: {V4.evil}, ports: [{PORT}], lineage: [timeout]}}]\n"
    )
    run, evil = run_id("chain"), steps.act(V4.evil)
    with watching(tmp_path, "--policy", str(file)) as watch:
        variables = shlex.join(["env", *map("=".join, job(run, "build").items())])
        rounds = [steps.act(V4.evil, "timeout", "60"), evil]
        steps.start({**PATH, "CI_JOB_ID": "agent"}, *rounds, around=f"timeout 100 {variables} {{}}")
        known(watch, run)
        assert [steps.go("agent-0", number) for number in range(2)] == ["ok\n", "EPERM\n"]
        watch.stop()


@pytest.mark.alone
def test_steps_of_a_job_at_once_share_what_names_granted(steps: Steps, lab: Lab, tmp_path: Path) -> None:
    file, run = policy(tmp_path, NAMES.replace("NAME", "www.registry.example")), run_id("shared")
    looked_up = looks_up(lab)
    with (
        Resolver(lab, V4.evil, [f"www.registry.example A {V4.peer}"]),
        watching(tmp_path, "--policy", str(file)) as watch,
    ):
        one = steps.start(job(run, "build"), looked_up)
        other = steps.start(job(run, "build"), steps.act(V4.peer))
        stranger = steps.start(job(run, "test"), steps.act(V4.peer))
        watch.wait_until_said(" began", run_id=run, times=2)
        assert [steps.go(one), steps.go(other), steps.go(stranger)] == ["ok\n", "ok\n", "EPERM\n"]
        watch.stop()


@pytest.mark.parametrize("options", [["--host-enforce"], []], ids=["host-enforce", "alone"])
def test_containers_of_no_job_are_held_to_the_rules_of_all_if_asked_for(
    lab: Lab, programs: Programs, runner: Runner, tmp_path: Path, options: list[str]
) -> None:
    file = policy(tmp_path, f'{ALL_BUT_THAT}jobs: {{"*": {{allow: ["a.example"]}}}}')
    connect = shlex.join(programs.act("connect", DENIED, PORT))
    code = errno.EPERM if options else errno.ENETUNREACH
    command, shown = ["sh", "-c", f"{connect}; test $? = {code}"], [programs.directory]
    with (
        container(command, tmp_path / "bundle", network=lab.build.path, shown=shown) as made,
        watching(tmp_path, "--policy", str(file), *options) as watch,
    ):
        runner.run((PATH, made.command))
        seen = watch.stop()
    (span,) = (span for span in seen.spans if span.attributes.get("network.peer.address") == DENIED)
    told = [span.attributes.get(name) for name in ("egress.verdict", "egress.rule", "egress.attribution")]
    assert told == [*(("deny", DENIED) if options else ("allow", None)), "container"]
