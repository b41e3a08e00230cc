"""`ci-egress enforce`: the next connect of a running job sees it, and what is told of it is so."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from exporter.jobs.claims import named
from exporter.kernel.instances.control import instances, jobs_of, matching, switch
from exporter.kernel.maps.registry import JobMode, Registered
from exporter.policy.compile import compile_policy
from exporter.policy.parse import parse_policy
from exporter.policy.sections import effective
from tests.kernel.kernel_side import kernel_side
from tests.kernel.lab import NETWORKS, PORT, V4, Lab, Network
from tests.kernel.policy_runs import GITLAB, policy, replay
from tests.kernel.running_exporter import wait_for
from tests.kernel.steered_runs import Host, agent, asked, end_agent, kill
from tests.kernel.tamper_records import tampering

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kernel

NO_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
PEER = f"{V4.peer}:{PORT} [2001:db8::2]:{PORT}"
AUDITED = ("--allowed-endpoints", PEER)


def job(pipeline: str, task: str) -> dict[str, str]:
    return {**GITLAB, "CI_PROJECT_PATH": pipeline, "CI_JOB_NAME": task}


@NETWORKS
def test_the_next_connect_sees_a_flip_and_what_is_open_goes_on(
    host: Host, lab: Lab, tmp_path: Path, network: Network
) -> None:
    with host.running(lab.command(agent()), tmp_path, *AUDITED) as run:
        assert run.next_line() == "ready"
        assert asked(run, "open", "before", "tcp", network.evil, PORT) == "ok"
        assert asked(run, "open", "peer", "tcp", network.peer, PORT) == "ok"
        host.ci_egress("enforce", "on")
        with lab.watch() as watch:
            assert asked(run, "open", "denied", "tcp", network.evil, PORT) == "EPERM"
            assert asked(run, "open", "denied", "udp", network.evil, PORT) == "EPERM"
            assert asked(run, "open", "allowed", "tcp", network.peer, PORT) == "ok"
        assert watch.arrivals.packets_to(network.evil) == 0
        assert asked(run, "say", "before") == "ok"
        # Before it is turned off: an exporter that waits for the processor sees the last mode alone.
        assert run.message("ci-egress: enforcement") == "ci-egress: enforcement turned on for run by root"
        host.ci_egress("enforce", "off")
        assert asked(run, "open", "after", "tcp", network.evil, PORT) == "ok"
        seen = run.end()
    told = [(span["egress.verdict"], span["egress.mode"]) for span in seen.egress]
    deny = ("deny", "enforce")
    audit = ("audit", "audit")
    assert told == [audit, ("allow", "audit"), deny, deny, ("allow", "enforce"), audit]
    assert [line for line in seen.stderr.splitlines() if line.startswith("ci-egress: enforcement")] == [
        "ci-egress: enforcement turned off for run by root"
    ]
    assert [point.value for point in seen.metrics["cicd.egress.enforcing"]] == [0]
    assert tampering(tmp_path) == []


def test_the_metric_says_what_is_in_force(host: Host, tmp_path: Path) -> None:
    with host.running(agent(), tmp_path, *AUDITED) as run:
        assert run.next_line() == "ready"
        host.ci_egress("enforce", "on")
        assert asked(run, "open", "evil", "udp", V4.evil, PORT) == "EPERM"
        seen = run.end()
    assert [point.value for point in seen.metrics["cicd.egress.enforcing"]] == [1]


def test_status_for_scripts_is_the_kernels_word(host: Host, tmp_path: Path) -> None:
    file = policy(tmp_path, 'mode: enforce\nresolvers: system\nallow: ["192.0.2.1:443", "192.0.2.2:443"]\n')
    env = job("group/release", "publish")
    with host.running(agent(), tmp_path, "--policy", file, env=env) as run:
        assert run.next_line() == "ready"
        (row,) = host.status()
        name = row["instance"]
        expected = {"instance": name, "job": "group/release/publish", "rules": 2}
        assert row == {**expected, "requested": "enforce", "effective": "enforce"}
        host.ci_egress("enforce", "off", "--instance", name[:6])
        assert host.status() == [{**expected, "requested": "enforce", "effective": "audit"}]
        told = host.ci_egress("enforce", "status").stdout
        assert told.split() == [
            *("instance", "job", "requested", "effective", "rules", "exporter"),
            *(name, "group/release/publish", "enforce", "audit", "2", "runs"),
        ]
        kill(run)
        assert "is gone" in host.ci_egress("enforce", "status").stdout
        host.ci_egress("enforce", "on")
        assert host.modes() == [("enforce", "enforce")]
        assert asked(run, "open", "evil", "udp", V4.evil, PORT) == "EPERM"
        end_agent(run)
        assert host.ci_egress("stop").stdout == f"instance {name}: detached and removed\n"
        assert host.status() == []


def test_an_exporter_that_was_told_nothing_says_what_others_changed(host: Host, tmp_path: Path) -> None:
    code = """
import struct, sys
from exporter.kernel.bpf import Map
modes = Map("/sys/fs/bpf/ci-egress/" + sys.argv[1] + "/map_modes")
(key,) = modes
modes.delete(key)
"""
    with host.running(agent(), tmp_path, "--enforce", *AUDITED) as run:
        assert run.next_line() == "ready"
        (row,) = host.status()
        host.python(code, row["instance"])
        assert asked(run, "open", "evil", "udp", V4.evil, PORT) != "EPERM"
        seen = run.end()
    told = "run is held to no policy any more, and not by `ci-egress enforce`"
    assert f"ci-egress: error: {told}" in seen.stderr.splitlines()
    assert tampering(tmp_path) == [("policy", told)]
    assert [point.value for point in seen.metrics["cicd.egress.enforcing"]] == [0]


def test_patterns_and_ids_select_jobs(host: Host, tmp_path: Path) -> None:
    jobs = {"a": job("group/release", "publish"), "b": job("group/dev", "test")}
    with (
        host.running(agent(), tmp_path / "a", *AUDITED, env=jobs["a"]) as a,
        host.running(agent(), tmp_path / "b", *AUDITED, env=jobs["b"]) as b,
    ):
        assert [a.next_line(), b.next_line()] == ["ready", "ready"]

        def effective() -> dict[str, str]:
            return {row["job"]: row["effective"] for row in host.status()}

        host.ci_egress("enforce", "on", "--job", "group/rel*")
        assert effective() == {"group/release/publish": "enforce", "group/dev/test": "audit"}
        assert asked(a, "open", "evil", "udp", V4.evil, PORT) == "EPERM"
        assert asked(b, "open", "evil", "udp", "127.0.0.1", PORT) == "ok"
        host.ci_egress("enforce", "on", "--job", "*/test")
        host.ci_egress("enforce", "off", "--job", "group/release")
        assert effective() == {"group/release/publish": "audit", "group/dev/test": "enforce"}
        (row,) = host.status("--job", "group/dev")
        host.ci_egress("enforce", "off", "--instance", row["instance"])
        assert effective() == {"group/release/publish": "audit", "group/dev/test": "audit"}
        host.ci_egress("enforce", "on")
        assert set(effective().values()) == {"enforce"}


def test_who_turns_it_on_is_told_that_the_policy_is_not_read_again(host: Host, tmp_path: Path) -> None:
    with host.running(agent(), tmp_path, "--policy", policy(tmp_path, "")) as run:
        assert run.next_line() == "ready"
        policy(tmp_path, f'allow: ["udp://{V4.peer}:{PORT}"]\n')
        of_whom, said = host.ci_egress("enforce", "on").stderr.splitlines()
        assert of_whom.startswith("ci-egress: this was for all jobs of this host; ")
        assert said.endswith("send SIGHUP to `watch`; `run` reads it at its next start")
        (said_of_one,) = host.ci_egress("enforce", "on", "--job", "run").stderr.splitlines()
        assert said_of_one == said
        assert asked(run, "open", "peer", "udp", V4.peer, PORT) == "EPERM"
        assert host.ci_egress("enforce", "off").stderr == ""


def test_what_selects_nothing_is_an_error(host: Host, tmp_path: Path) -> None:
    assert "there is no job; " in host.ci_egress("enforce", "on", status=1).stderr
    with host.running(agent(), tmp_path, *AUDITED) as run:
        assert run.next_line() == "ready"
        for command in (("on",), ("off",), ("status",), ("status", "--json")):
            done = host.ci_egress("enforce", *command, "--job", "group/*", status=1)
            assert done.stderr.startswith("ci-egress: error: there is no job that matches 'group/*'; ")
            assert done.stdout == ""
        for command in (("enforce", "on"), ("enforce", "status")):
            told = host.ci_egress(*command, "--instance", "zz", status=1).stderr
            assert told.startswith("ci-egress: error: there is no instance 'zz'; ")
        assert host.modes() == [("audit", "audit")]


def test_a_job_without_a_policy_is_refused_by_name_and_may_be_turned_off(host: Host, tmp_path: Path) -> None:
    with (
        host.running(agent(), tmp_path / "a", env=job("group/plain", "build")) as plain,
        host.running(agent(), tmp_path / "b", *AUDITED) as audited,
    ):
        assert [plain.next_line(), audited.next_line()] == ["ready", "ready"]
        done = host.ci_egress("enforce", "on", status=1)
        assert done.stderr.startswith("ci-egress: error: group/plain/build (instance ")
        assert "has no policy: there is nothing to enforce; " in done.stderr
        rows = {row["job"]: row for row in host.status()}
        assert rows["run"]["effective"] == "enforce"
        assert "detached" not in host.ci_egress("enforce", "status").stdout
        plain_row = rows["group/plain/build"]
        assert (plain_row["requested"], plain_row["effective"], plain_row["rules"]) == (None, None, 0)
        off = host.ci_egress("enforce", "off")
        assert sorted(line.partition("): ")[2] for line in off.stdout.splitlines()) == [
            "auditing",
            "held to no policy",
        ]


def test_a_long_name_is_cut_in_whole_characters(host: Host, tmp_path: Path) -> None:
    with host.running(agent(), tmp_path, *AUDITED, env=job("g/" + "ü" * 200, "t")) as run:
        assert run.next_line() == "ready"
        assert [row["job"] for row in host.status("--job", "g/*")] == ["g/" + "ü" * 127 + "/t"]


def test_a_recording_tells_the_same_of_a_flip(host: Host, lab: Lab, tmp_path: Path) -> None:
    recording = tmp_path / "a.rec"
    options = (*AUDITED, "--record", str(recording))
    with host.running(lab.command(agent()), tmp_path / "run", *options) as run:
        assert run.next_line() == "ready"
        assert asked(run, "open", "a", "tcp", V4.peer, PORT) == "ok"
        host.ci_egress("enforce", "on")
        assert asked(run, "open", "b", "tcp", V4.evil, PORT) == "EPERM"
        wait_for(lambda: "Switched" in recording.read_text())
        assert asked(run, "open", "c", "tcp", V4.peer, PORT) == "ok"
        seen = run.end()
    replayed = replay(recording, tmp_path / "replay")
    assert [span["egress.mode"] for span in seen.egress] == ["audit", "enforce", "enforce"]
    assert [span.attributes for span in replayed.egress] == [span.attributes for span in seen.egress]


def test_what_was_chosen_survives_another_policy() -> None:
    """However the two writers meet: the exporter that puts policies in force, and the command."""
    audited = compile_policy(effective(parse_policy(b"version: 1\nallow: [192.0.2.1]", "a"), named("a", "b")))
    with kernel_side() as kernel:
        tracer = kernel.tracer
        tracer.register(1, Registered("group/race", "b", 1, 1, 1, JobMode.AUDIT))
        kernel.hold(1, audited)
        (job_of_it,) = jobs_of(matching(instances(), tracer.name))
        is_over = threading.Event()

        def put_in_force() -> None:
            while not is_over.is_set():
                tracer.register(1, Registered("group/race", "b", 1, 1, 1, JobMode.AUDIT))
                kernel.hold(1, audited)

        with ThreadPoolExecutor(1) as writer:
            writing = writer.submit(put_in_force)
            for mode in [JobMode.ENFORCE, JobMode.AUDIT] * 50:
                switch(job_of_it, mode, by=0)
                assert tracer.mode(1) is mode
            is_over.set()
            writing.result()
        assert tracer.mode(1) is JobMode.AUDIT
        assert tracer.registered(1) == Registered(
            "group/race", "b", 1, 1, 1, JobMode.AUDIT, JobMode.AUDIT, switched_by=0
        )


def test_without_rights_it_says_which(host: Host) -> None:
    for command in (("enforce", "status"), ("enforce", "on"), ("stop",)):
        told = host.ci_egress(*command, rights=NO_RIGHTS, status=91).stderr
        assert "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN are missing; " in told


def test_ten_thousand_rules_are_turned_at_once(host: Host, tmp_path: Path) -> None:
    rules = "".join(f'  - "udp://10.{n >> 8}.{n & 255}.1:443"\n' for n in range(10_000))
    with host.running(agent(), tmp_path, "--policy", policy(tmp_path, f"allow:\n{rules}")) as run:
        assert run.next_line() == "ready"
        assert host.status()[0]["rules"] == 10_000
        assert asked(run, "open", "evil", "udp", V4.evil, PORT) != "EPERM"
        host.ci_egress("enforce", "on")
        assert asked(run, "open", "evil", "udp", V4.evil, PORT) == "EPERM"
        assert asked(run, "open", "allowed", "udp", "10.3.7.1", 443) != "EPERM"


def test_programs_that_were_detached_enforce_nothing(host: Host, tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from exporter.kernel.bpf import detach_link, open_pinned
detach_link(open_pinned(Path("/sys/fs/bpf/ci-egress/" + sys.argv[1] + "/link_on_connect6")))
"""
    with host.running(agent(), tmp_path, "--enforce", *AUDITED) as run:
        assert run.next_line() == "ready"
        (row,) = host.status()
        host.python(code, row["instance"])
        assert host.modes() == [("enforce", None)]
        assert "detached" in host.ci_egress("enforce", "status").stdout
        told = host.ci_egress("enforce", "on", status=1).stderr
        assert "its programs are not all attached" in told
        assert run.process.stderr is not None
        assert "tampering: programs of ci-egress were detached" in run.process.stderr.readline()
        run.end()
    assert [kind for kind, _ in tampering(tmp_path)] == ["detached"]
