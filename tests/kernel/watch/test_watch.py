"""`ci-egress watch` on this very host: it finds the jobs of a runner, and tells them apart from all else."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.command_process import bit, masks
from tests.integration.receivers import Answer, Request, collector
from tests.kernel.lab import PORT, V4
from tests.kernel.running_exporter import nothing_left, wait_for
from tests.kernel.watching import Runner, Watched, watching
from tests.unit.jobs.provider_environments import documented_providers, environment
from tests.unit.watched_host import gitlab

if TYPE_CHECKING:
    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab

PATH = {"PATH": os.environ.get("PATH", os.defpath)}
PEER = f"connect {V4.peer}:{PORT}"


def job(run: str, **more: str) -> dict[str, str]:
    """The variables of a job of the run `run`."""
    return {**PATH, **gitlab(run=run, job=f"job-of-{run}"), **more}


def script(*commands: list[str], then: str = "") -> list[str]:
    """A step that runs them one by one."""
    lines = "; ".join(" ".join(command) for command in commands)
    return ["sh", "-c", f"{lines}; {then or 'true'}"]


def run_id(name: str) -> str:
    """One that no other test of this host has."""
    return f"{name}-{os.getpid()}"


def test_a_step_that_is_gone_before_anybody_looks_is_attributed(
    runner: Runner, act: list[str], tmp_path: Path
) -> None:
    run = run_id("short")
    with watching(tmp_path) as watch:
        watch.process.send_signal(signal.SIGSTOP)  # nothing can be read from /proc meanwhile
        runner.run((job(run), act))
        watch.process.send_signal(signal.SIGCONT)
        watch.wait_until_said(" began", run_id=run)
        seen = watch.stop()
    (egress,), (span,) = seen.egress(run), seen.jobs(run)
    assert (egress.name, egress.trace_id) == (PEER, span.trace_id)
    assert egress["egress.lineage"] == ["act"]
    assert egress["process.command_line"] == f"{act[-4]} connect {V4.peer} {PORT}"


@pytest.mark.alone  # what others do may get lost meanwhile
def test_a_job_is_said_to_have_begun_while_its_commands_are_still_found_one_by_one(
    runner: Runner, tmp_path: Path
) -> None:
    """As where a shell has none of the job's variables, and gives them to each command."""
    run, over = run_id("one-by-one"), tmp_path / "over"
    variables = [f"{name}={value}" for name, value in job(run).items()]
    commands = shlex.join(["env", *variables, "true"])
    loop = (PATH, ["sh", "-c", f"until test -e {over}; do {commands}; done"])
    with watching(tmp_path) as watch:
        runner.start(loop, loop, loop)
        watch.wait_until_said(" began", run_id=run)
        over.touch()
        watch.wait_for_end(run)


def test_jobs_of_many_systems_at_once_do_not_bleed(runner: Runner, act: list[str], tmp_path: Path) -> None:
    systems = {name: {**PATH, **environment(name)} for name in documented_providers()}
    mine = {f"mine-{number}": job(run_id(str(number))) for number in range(20 - len(systems))}
    jobs = {**systems, **mine}
    assert len(jobs) == 20
    steps = [
        (environ, script(*[act] * (1 + number % 3), then=f": step of {name}"))
        for number, (name, environ) in enumerate(jobs.items())
    ]
    with watching(tmp_path) as watch:
        runner.run(*steps)
        seen = watch.stop()
    found: dict[tuple[str, str], Counter[str]] = {}
    for span in seen.spans:
        above = "\n".join(span.attributes.get("egress.ancestors", [])) if span.name == PEER else ""  # type: ignore[arg-type]
        if ": step of " in above:  # a stranger's lab may have the same peer
            name = above.split(": step of ")[1].partition("\n")[0].rstrip("'")
            key = (span.trace_id, str(span.resource.get("cicd.pipeline.run.id")))
            found.setdefault(key, Counter())[name] += 1
    assert {name: n for names in found.values() for name, n in names.items()} == {
        name: 1 + number % 3 for number, name in enumerate(jobs)
    }
    assert all(len(names) == 1 for names in found.values())


def test_steps_of_a_job_are_one_trace_with_one_span_of_the_job(
    runner: Runner, act: list[str], tmp_path: Path
) -> None:
    run = run_id("steps")
    with watching(tmp_path) as watch:
        for _ in range(3):
            runner.run((job(run), script(act, act)))
        seen = watch.stop()
    (span,), egress = seen.jobs(run), seen.egress(run)
    assert len(egress) == 6
    assert {one.trace_id for one in seen.of_run(run)} == {span.trace_id}
    steps = [one for one in seen.of_run(run) if one.parent_id == span.span_id]
    assert [step.name for step in steps] == [seen.egress(run)[0]["egress.lineage"][0]] * 3  # type: ignore[index]
    ids = {one.span_id: one for one in seen.of_run(run)}
    assert len(ids) == len(seen.of_run(run))
    assert {ids[ids[one.parent_id].parent_id].span_id for one in egress} == {s.span_id for s in steps}
    assert span.started_ns <= min(one.started_ns for one in steps)


def test_what_is_done_says_in_which_step(runner: Runner, act: list[str], tmp_path: Path) -> None:
    run = run_id("named-steps")
    base = {**PATH, "GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": run, "GITHUB_RUN_ATTEMPT": "1"}
    lie = ["env", "GITHUB_ACTION=another", *act]
    with watching(tmp_path) as watch:
        for step in ("checkout", "__run"):
            runner.run(({**base, "GITHUB_ACTION": step}, script(act, lie)))
        seen = watch.stop()
    assert [one["egress.job.step"] for one in seen.egress(run)] == ["checkout"] * 2 + ["__run"] * 2
    assert len(seen.jobs(run)) == 1


def test_a_build_cannot_charge_what_it_does_to_another_job(
    runner: Runner, act: list[str], tmp_path: Path
) -> None:
    victim, thief = run_id("victim"), run_id("thief")
    lies = [
        f"CI_PIPELINE_ID={victim}",
        f"CI_JOB_ID=job-of-{victim}",
        f"TRACEPARENT=00-{'b' * 32}-{'c' * 16}-01",
    ]
    steal = ["env", *lies, "setsid", "sh", "-c", f"'{' '.join(act)}; true'"]
    with watching(tmp_path) as watch:
        runner.run((job(victim), script(act)), (job(thief), script(steal, steal)))
        seen = watch.stop()
    assert len(seen.egress(victim)) == 1
    assert len(seen.egress(thief)) == 2
    assert {span.trace_id for span in seen.of_run(thief)}.isdisjoint({"b" * 32})
    assert (len(seen.jobs(victim)), len(seen.jobs(thief))) == (1, 1)


def test_a_job_that_runs_already_is_taken_in(runner: Runner, act: list[str], tmp_path: Path) -> None:
    run, ready, go = run_id("early"), tmp_path / "ready", tmp_path / "go"
    connect = " ".join(act)
    wait = f"touch {ready}; until test -e {go}; do sleep 0.1; done; env -i {connect}; {connect}; true"
    runner.start((job(run), ["sh", "-c", f"env -i PATH={PATH['PATH']} sh -c '{wait}'; true"]))
    wait_for(ready.exists)
    with watching(tmp_path) as watch:
        go.touch()
        watch.wait_for(lambda: len(watch.egress(run)) == 2)
        seen = watch.stop()
    (span,), egress = seen.jobs(run), seen.egress(run)
    assert [one.name for one in egress] == [PEER, PEER]
    assert {one.trace_id for one in egress} == {span.trace_id}
    assert egress[0]["egress.lineage"][1:] == [egress[0]["egress.lineage"][0], "act"]  # type: ignore[index]


def test_a_step_whose_environment_got_lost_is_found_as_long_as_it_lives(
    runner: Runner, programs: Programs, act: list[str], tmp_path: Path
) -> None:
    run, go = run_id("lost"), tmp_path / "go"
    wait = f"until test -e {go}; do sleep 0.1; done"
    with watching(tmp_path) as watch:
        watch.process.send_signal(signal.SIGSTOP)  # the ring fills up
        runner.run((PATH, programs.lineage("burst", 3000, "/bin/true")))
        runner.start((job(run), ["sh", "-c", f"{wait}; {' '.join(act)}; true"]))
        watch.process.send_signal(signal.SIGCONT)
        watch.wait_until_said(" began", run_id=run)
        go.touch()
        watch.wait_for(lambda: bool(watch.egress(run)))
        seen = watch.stop()
    assert len(seen.egress(run)) == 1
    assert any("environments of" in line["message"] for line in seen.said)


def test_traffic_of_no_job_is_told_in_the_hosts_trace_and_counted(
    runner: Runner, act: list[str], tmp_path: Path
) -> None:
    with watching(tmp_path) as watch:
        runner.run((PATH, act))
        seen = watch.stop()
    (egress,) = seen.of_program(act[-4])
    (host,) = (span for span in seen.spans if span.name == "host")
    assert (egress.trace_id, egress.parent_id) == (host.trace_id, host.span_id)
    assert egress["egress.attribution"] == "host"
    counted = seen.metrics["cicd.egress.exporter.unattributed"]
    assert [point.value >= 1 for point in counted if point.attributes == {"error.type": "no_job"}] == [True]


def test_what_it_exports_itself_is_not_traced(runner: Runner, act: list[str], tmp_path: Path) -> None:
    run = run_id("loop")
    with collector() as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_METRIC_EXPORT_INTERVAL": "100"}
        with watching(tmp_path, env=env) as watch:
            runner.run((job(run), act))
            watch.wait_for(lambda: PEER in receiver.spans())
            watch.wait_for(lambda: len(receiver.requests) > 20)
            seen = watch.stop()
        port = receiver.server.server_port
    assert len(seen.egress(run)) == 1
    assert [span for span in seen.spans if span.attributes.get("network.peer.port") == port] == []
    assert [span for span in seen.spans if span.attributes.get("process.pid") == watch.process.pid] == []


def test_a_job_ends_when_its_worker_is_gone(act: list[str], tmp_path: Path) -> None:
    run = run_id("worker")
    with watching(tmp_path) as watch:
        with Runner() as worker:
            worker.run((job(run), act))
            watch.wait_until_said(" began", run_id=run)
        watch.wait_for_end(run)
        assert watch.stop().status == 0


def test_a_job_whose_worker_lives_ends_when_it_is_idle_and_goes_on_as_another_part(
    runner: Runner, act: list[str], tmp_path: Path
) -> None:
    run = run_id("idle")
    with watching(tmp_path) as watch:
        runner.run((job(run), act))
        watch.wait_for_end(run)
        runner.run((job(run), act))
        watch.wait_until_said(" began", times=2, run_id=run)
        seen = watch.stop()
    first, second = sorted(seen.jobs(run), key=lambda span: span.started_ns)
    assert first.trace_id == second.trace_id
    assert first.span_id != second.span_id
    assert first.ended_ns <= second.started_ns


def test_sigterm_tells_all_there_is_and_leaves_nothing(
    runner: Runner, act: list[str], tmp_path: Path
) -> None:
    run = run_id("term")
    with nothing_left(), watching(tmp_path) as watch:
        runner.start((job(run), script(act, then="exec sleep 1000")))
        watch.wait_until_said(" began", run_id=run)
        watch.wait_for(lambda: bool(watch.egress(run)))
        seen = watch.stop()
        assert watch.systemd.recv(100) == b"STOPPING=1"
    assert seen.status == 0
    assert len(seen.egress(run)) == len(seen.jobs(run)) == 1
    assert_all_is_exported(seen)


def assert_all_is_exported(seen: Watched) -> None:
    """Whatever strangers did meanwhile."""
    account = seen.said[-1]["account"]
    assert account["attempts"] == account["exported"] + account["aggregated"]
    assert seen.account.endswith(" + dropped 0 + pending 0")


def test_a_signal_while_it_starts_ends_it_with_nothing_left(tmp_path: Path) -> None:
    with nothing_left(), watching(tmp_path, until_ready=False) as watch:
        wait_for(lambda: catches(watch.process.pid, signal.SIGTERM))
        assert watch.stop().status == 0


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for that."""
    return bool(masks(Path(f"/proc/{pid}/status").read_text())["SigCgt"] & bit(number))


def test_it_goes_on_after_sighup(runner: Runner, act: list[str], tmp_path: Path) -> None:
    run = run_id("hup")
    with watching(tmp_path) as watch:
        watch.process.send_signal(signal.SIGHUP)
        watch.wait_until_said("SIGHUP")
        runner.run((job(run), act))
        watch.wait_until_said(" began", run_id=run)
        seen = watch.stop(signal.SIGINT)
    assert seen.status == 0
    assert len(seen.egress(run)) == 1


def test_files_are_bounded_and_the_oldest_go(
    runner: Runner, lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    crowd = lab.command(programs.lineage("burst", 3000, *programs.act("connect", V4.peer, PORT)))
    with watching(tmp_path, "--otlp-dir-limit", "24") as watch:
        runner.run((job(run_id("crowd")), [str(part) for part in crowd]))
        watch.wait_for((watch.otlp_dir / "traces.7.jsonl").exists)
        seen = watch.stop()
    files = {path.name: path.stat().st_size for path in watch.otlp_dir.glob("traces*")}
    assert sorted(files) == sorted(["traces.jsonl", *(f"traces.{age}.jsonl" for age in range(1, 8))])
    assert max(files.values()) <= 1 << 20
    assert_all_is_exported(seen)


def test_a_stderr_that_nobody_reads_holds_nothing_up(runner: Runner, act: list[str], tmp_path: Path) -> None:
    runs = [run_id(f"unread-{number}") for number in range(5)]
    reader, writer = os.pipe()
    room = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    assert os.write(writer, b"x" * room) == room
    try:
        with watching(tmp_path, stderr=writer) as watch:
            for run in runs:
                runner.run((job(run), act))
            watch.wait_for(lambda: all(map(watch.egress, runs)))
            seen = watch.stop()
    finally:
        os.close(reader)
        os.close(writer)
    assert seen.status == 0
    assert [len(seen.egress(run)) for run in runs] == [1] * len(runs)


@pytest.mark.alone  # what others do may get lost, too
@pytest.mark.parametrize(("refused", "status"), [("/v1/traces", 92), ("/v1/logs", 92), ("/v1/nothing", 0)])
def test_what_got_lost_is_a_failure_if_asked_for(
    refused: str, status: int, runner: Runner, lab: Lab, programs: Programs, act: list[str], tmp_path: Path
) -> None:
    tamper = [str(part) for part in lab.command(programs.tamper("packet-socket"))]

    def answer(request: Request) -> Answer:
        return Answer(400 if request.path == refused else 200)

    with collector(answer) as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
        with watching(tmp_path, "--strict", env=env, to_files=False) as watch:
            runner.run((job(run_id("strict")), script(act, tamper)))
            seen = watch.stop()
    assert seen.status == status
