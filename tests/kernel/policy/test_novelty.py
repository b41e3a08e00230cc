"""`--baseline`: what a job does that its task never did is told at once, and fails the run if asked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkout import ROOT
from tests.integration.receivers import Answer, collector
from tests.kernel.baselines import baseline, entries_of, entry, said
from tests.kernel.job_steps import Steps, job, known, run_id
from tests.kernel.lab import PORT, V4
from tests.kernel.name_connections import looked_up_and_connected
from tests.kernel.policy_runs import failed, script
from tests.kernel.resolver import lab_with_resolver
from tests.kernel.tracing import environment, logs, trace
from tests.kernel.watching import watching
from tests.launch import ci_egress

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab
    from tests.kernel.watching import Watched

pytestmark = pytest.mark.kernel

NOVEL = "cicd.egress.novel"
PEER_BY_ACT = entry(V4.peer, PORT, ("act",))


def novel_records(directory: Path) -> list[dict[str, Any]]:
    return [record for record in logs(directory) if record["eventName"] == NOVEL]


def test_another_host_and_a_known_one_by_another_program_are_novel(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    file = baseline(tmp_path / "baseline.yaml", entry(V4.peer, PORT, ("dash", "act")))
    act, evil = programs.act("connect", V4.peer, PORT), programs.act("connect", V4.evil, PORT)
    command = script(tmp_path, act, evil, ["sh", "-c", '"$@"; true', "sh", *act])
    seen = trace(lab, command, tmp_path / "otlp", "--baseline", file)
    assert seen.status == 0, seen.stderr
    assert [(span["server.address"], span["egress.novel"]) for span in seen.egress] == [
        (V4.peer, False),
        (V4.evil, True),
        (V4.peer, True),
    ]
    lines = [
        f"act (dash → act) → {V4.evil}:{PORT}, not in the baseline",
        f"act (dash → dash → act) → {V4.peer}:{PORT}, known, but not from this chain",
    ]
    assert said(seen.stderr) == lines
    assert [record["body"]["stringValue"] for record in novel_records(tmp_path / "otlp")] == [
        f"novel: {line}" for line in lines
    ]
    assert {
        (point.attributes["server.address"], point.attributes["egress.novel"]): point.value
        for point in seen.metrics["cicd.egress.connections"]
    } == {(V4.peer, False): 1, (V4.evil, True): 1, (V4.peer, True): 1}
    remark = "2 attempts to 2 destinations that the baseline doesn't have, or not from these chains"
    assert remark in seen.stderr.splitlines()


def test_a_connect_by_name_is_judged_by_its_name(tmp_path: Path) -> None:
    """Its address doesn't matter; an entry for that says nothing of the name."""
    names = {"registry.example": V4.peer, "mirror.example": V4.evil}
    records = [f"{name} A {address}" for name, address in names.items()]
    command = looked_up_and_connected(*names)
    with lab_with_resolver(V4.peer, records, tmp_path) as lab:
        honest = lab.build.call(trace, None, command, tmp_path / "honest").result()
        assert honest.status == 0, honest.stderr
        lineage = tuple(honest.egress[0]["egress.lineage"])  # type: ignore[arg-type]
        lookups = [one for one in entries_of(honest.egress) if one["port"] != PORT]
        by_address = entry(V4.evil, PORT, lineage)
        file = baseline(
            tmp_path / "baseline.yaml",
            *lookups,
            entry("*.example", PORT, ("other",)),
            by_address,
            entry("registry.example", PORT, lineage),
        )
        seen = lab.build.call(trace, None, command, tmp_path / "otlp", "--baseline", file).result()
    tcp = [span for span in seen.egress if span["network.transport"] == "tcp"]
    assert [(span["server.address"], span["egress.novel"]) for span in tcp] == [
        ("registry.example", False),
        ("mirror.example", True),
    ]
    assert said(seen.stderr) == [
        f"{lineage[-1]} ({' → '.join(lineage)}) → mirror.example:{PORT}, known, but not from this chain"
    ]


@pytest.mark.parametrize(
    ("options", "command_status", "status"),
    [
        (["--fail-on", "novel"], 0, 90),
        (["--fail-on", "novel"], 3, 3),
        ([], 0, 0),
        (["--fail-on", "audit,novel", "--allowed-endpoints", f"{V4.evil}:{PORT}"], 0, 90),
        (["--fail-on", "audit,deny", "--allowed-endpoints", f"{V4.evil}:{PORT}"], 0, 0),
    ],
    ids=["novel", "commands-own-comes-first", "not-asked", "allowed-but-novel", "allowed"],
)
def test_what_is_novel_is_a_failure_if_asked_for(
    lab: Lab, programs: Programs, tmp_path: Path, options: list[str], command_status: int, status: int
) -> None:
    file = baseline(tmp_path / "baseline.yaml", PEER_BY_ACT)
    act = programs.act("connect", V4.evil, PORT)
    command = ["sh", "-c", f'"$@"; exit {command_status}', "sh", *act]
    seen = trace(lab, command, tmp_path / "otlp", "--baseline", file, *options)
    assert seen.status == status, seen.stderr
    first = f"act (dash → act) → {V4.evil}:{PORT}, not in the baseline"
    line = f"novel: 1 attempt to what the baseline doesn't have, first: {first}"
    assert failed(seen.stderr) == ([line] if any("novel" in option for option in options) else [])


def test_what_is_known_is_no_failure(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    file = baseline(tmp_path / "baseline.yaml", PEER_BY_ACT)
    command = programs.act("connect", V4.peer, PORT)
    seen = trace(lab, command, tmp_path / "otlp", "--baseline", file, "--fail-on", "novel")
    assert (seen.status, failed(seen.stderr), said(seen.stderr)) == (0, [], [])
    assert "doesn't have" not in seen.stderr


def test_evidence_that_got_lost_comes_before_what_was_novel(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    file = baseline(tmp_path / "baseline.yaml")
    options = ("--baseline", file, "--fail-on", "novel", "--strict")
    with collector(lambda _: Answer(400)) as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "STATE_DIRECTORY": str(tmp_path / "state")}
        command = programs.act("connect", V4.peer, PORT)
        seen = trace(lab, command, tmp_path / "otlp", *options, env=env)
    assert seen.status == 92, seen.stderr
    assert len(failed(seen.stderr)) == 1


def test_of_a_task_that_the_baseline_does_not_have_all_is_novel_and_one_line_says_so(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    other = entry(V4.peer, PORT, pipeline="group/app", task="deploy")
    file = baseline(tmp_path / "baseline.yaml", other)
    env = {key: value for key, value in job(run_id("unknown"), "build").items() if key != "PATH"}
    seen = trace(lab, programs.act("connect", V4.peer, PORT), tmp_path / "otlp", "--baseline", file, env=env)
    unknown = "the baseline has nothing of pipeline group/app, task build: all that it reaches is novel"
    assert seen.stderr.splitlines().count(f"ci-egress: warning: {unknown}") == 1
    assert [span["egress.novel"] for span in seen.egress] == [True]


def test_a_baseline_that_is_not_valid_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "baseline.yaml").write_text("version: 1\nentries:\n- {destination: a.example, port: x}\n")
    for command in (["run", "--", "touch", "started"], ["watch"], ["replay", "baseline.yaml"]):
        done = ci_egress(command[0], "--baseline", "baseline.yaml", *command[1:], cwd=tmp_path)
        assert done.status == 2
        assert done.stderr.startswith("baseline.yaml:3:"), done.stderr
    assert not (tmp_path / "started").exists()


def test_a_replay_is_held_against_the_baseline_of_the_moment(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    command = programs.act("connect", V4.peer, PORT)
    recorded = trace(lab, command, tmp_path / "otlp", "--record", str(tmp_path / "job.rec"))
    assert recorded.status == 0, recorded.stderr
    for name, entries, is_novel in (("new", (), True), ("known", (PEER_BY_ACT,), False)):
        file = baseline(tmp_path / f"{name}.yaml", *entries)
        out = tmp_path / name
        done = ci_egress("replay", "--baseline", file, "--otlp-dir", str(out), "job.rec", cwd=tmp_path)
        assert done.status == 0, done.stderr
        assert bool(said(done.stderr)) == bool(novel_records(out)) == is_novel


def test_without_a_baseline_nothing_of_it_is_imported(tmp_path: Path) -> None:
    env = environment({"PYTHONPROFILEIMPORTTIME": "1"})
    command = [sys.executable, "-m", "exporter", "run", "--otlp-dir", str(tmp_path), "--", "true"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "exporter.pipeline.alerts" in imported
    assert not {name for name in imported if name.startswith(("exporter.baseline", "yaml"))}


def test_metrics_have_chains_of_processes_if_asked_for(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    command = ["sh", "-c", '"$@"; true', "sh", *programs.act("connect", V4.peer, PORT)]
    for options, lineage in (((), None), (("--metric-lineage",), "dash>act")):
        seen = trace(lab, command, tmp_path / f"otlp{len(options)}", *options)
        (point,) = seen.metrics["cicd.egress.connections"]
        assert point.attributes.get("egress.lineage") == lineage
        assert "egress.novel" not in point.attributes


def test_a_flood_of_novel_destinations_is_bounded_and_counted(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    """65,535 ports, most of which the kernel counts by themselves."""
    file = baseline(tmp_path / "baseline.yaml", entry(V4.evil, 7, transport="udp"))
    seen = trace(
        lab,
        programs.flood("scan", V4.evil),
        tmp_path / "otlp",
        *("--baseline", file, "--fail-on", "novel"),
        cwd=tmp_path,
    )
    assert seen.status == 90, seen.stderr
    (line,) = failed(seen.stderr)
    assert line.startswith("novel: 65534 attempts to what the baseline doesn't have, first: flood (flood) → ")
    assert len(said(seen.stderr)) <= 51
    assert len(novel_records(tmp_path / "otlp")) <= 4096
    points = seen.metrics["cicd.egress.connections"]
    assert sum(point.value for point in points if point.attributes["egress.novel"]) == 65_534


def judged(seen: Watched, run: str) -> set[tuple[Any, Any, Any]]:
    """Of what was done in a run: by which task, where to, and `egress.novel`."""
    return {
        (span.resource["cicd.pipeline.task.name"], span["server.address"], span["egress.novel"])
        for span in seen.egress(run)
    }


def of(task: str, address: str, pipeline: str = "group/app") -> dict[str, Any]:
    return entry(address, PORT, pipeline=pipeline, task=task)


def test_jobs_at_once_are_each_held_against_their_own_task(steps: Steps, tmp_path: Path) -> None:
    run = run_id("tasks")
    pipeline = f"group/{run}"  # what other jobs of this host are told to be unknown doesn't count
    known_tasks = (("build", V4.peer), ("deploy", V4.evil))
    file = baseline(tmp_path / "b.yaml", *(of(task, peer, pipeline) for task, peer in known_tasks))
    both = f"{steps.act(V4.peer)}; {steps.act(V4.evil)}"
    with watching(tmp_path, "--baseline", file) as watch:
        jobs = {
            task: steps.start(job(run, task, CI_PROJECT_PATH=pipeline), both)
            for task in ("build", "deploy", "other")
        }
        watch.wait_until_said(" began", run_id=run, times=3)
        for place in jobs.values():
            assert steps.go(place) == "ok\nok\n"
        watch.wait_until_said("novel: ", run_id=run, times=4)
        lines = [line for line in watch.said() if line.get("event") == NOVEL and line["run_id"] == run]
        unknown = [line["message"] for line in watch.said() if "has nothing of" in line["message"]]
        seen = watch.stop()
    assert judged(seen, run) == {
        ("build", V4.peer, False),
        ("build", V4.evil, True),
        ("deploy", V4.peer, True),
        ("deploy", V4.evil, False),
        ("other", V4.peer, True),
        ("other", V4.evil, True),
    }
    assert {(line["job"], line["destination"], line["level"], line["why"]) for line in lines} == {
        (task, f"{address}:{PORT}", "warning", "not in the baseline")
        for task, address in (
            ("build", V4.evil),
            ("deploy", V4.peer),
            ("other", V4.peer),
            ("other", V4.evil),
        )
    }
    assert [line for line in unknown if pipeline in line] == [
        f"the baseline has nothing of pipeline {pipeline}, task other: all that it reaches is novel"
    ]
    assert all("egress.novel" not in span.attributes for span in seen.spans if is_of_no_job(span))


def is_of_no_job(span: Any) -> bool:
    return "cicd.pipeline.run.id" not in span.resource


def test_a_changed_baseline_holds_for_jobs_that_run(steps: Steps, tmp_path: Path) -> None:
    file, run = tmp_path / "b.yaml", run_id("changed")
    baseline(file, of("build", V4.peer))
    evil = steps.act(V4.evil)
    with watching(tmp_path, "--baseline", str(file)) as watch:
        name = steps.start(job(run, "build"), evil, evil, evil)
        known(watch, run)
        assert steps.go(name) == "ok\n"
        watch.wait_until_said("novel: ", run_id=run)
        baseline(file, of("build", V4.evil))
        watch.process.send_signal(signal.SIGHUP)
        watch.wait_until_said("SIGHUP: read the baseline again")
        assert steps.go(name, 1) == "ok\n"
        file.write_text("version: 1\nentries: x\n")
        watch.process.send_signal(signal.SIGHUP)
        watch.wait_until_said("SIGHUP: the baseline stays as it was")
        assert steps.go(name, 2) == "ok\n"
        told = watch.said()
        seen = watch.stop()
    assert [span["egress.novel"] for span in seen.egress(run)] == [True, False, False]
    (read,) = (line for line in told if line.get("baseline") == "read")
    assert read["jobs"] >= 1
    (invalid,) = (line for line in told if "is not a valid baseline: 1 error" in line["message"])
    assert invalid["hint"] is None
    assert any(line["message"].startswith(f"{file}:2:10: ") for line in told)
    assert seen.status == 0


@pytest.mark.parametrize("broken", ["removed", "pipe"])
def test_a_baseline_that_cannot_be_read_again_changes_nothing_and_a_policy_is_read_all_the_same(
    steps: Steps, tmp_path: Path, broken: str
) -> None:
    file, run, rules = tmp_path / "b.yaml", run_id("kept"), tmp_path / "policy.yaml"
    rules.write_text("version: 1\n")
    baseline(file, of("build", V4.peer))
    with watching(tmp_path, "--baseline", str(file), "--policy", str(rules)) as watch:
        name = steps.start(job(run, "build"), steps.act(V4.peer))
        known(watch, run)
        file.unlink()
        if broken == "pipe":
            os.mkfifo(file)
        watch.process.send_signal(signal.SIGHUP)
        watch.wait_until_said("SIGHUP: the baseline stays as it was")
        assert watch.has_said("SIGHUP: read the policy again")
        assert watch.has_said(f"cannot read the baseline {file}")
        assert steps.go(name) == "ok\n"
        seen = watch.stop()
    assert judged(seen, run) == {("build", V4.peer, False)}


def test_with_nothing_to_read_again_a_hangup_says_so(tmp_path: Path) -> None:
    with watching(tmp_path) as watch:
        watch.process.send_signal(signal.SIGHUP)
        watch.wait_until_said("SIGHUP: there is neither a policy nor a baseline to read again")
        assert watch.stop().status == 0


def test_the_summary_tells_programs_what_is_novel(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    file = baseline(tmp_path / "baseline.yaml", PEER_BY_ACT)
    command = script(tmp_path, *(programs.act("connect", to, PORT) for to in (V4.peer, V4.evil)))
    seen = trace(lab, command, tmp_path / "otlp", "--baseline", file, "--json-log")
    lines = [json.loads(line) for line in seen.stderr.splitlines()]
    (summary,) = (line["summary"] for line in lines if line["message"] == "summary")
    assert {(row["destination"], row["novel"]) for row in summary["destinations"]} == {
        (f"{V4.peer}:{PORT}", True),
        (f"{V4.evil}:{PORT}", True),
    }
    told = [(line["why"], line["chain"], line["span_id"]) for line in lines if line.get("event") == NOVEL]
    by_host = {span["server.address"]: span.span_id for span in seen.egress}
    assert told == [
        ("known, but not from this chain", ["dash", "act"], by_host[V4.peer]),
        ("not in the baseline", ["dash", "act"], by_host[V4.evil]),
    ]
