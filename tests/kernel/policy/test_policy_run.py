"""`ci-egress run` under a policy: what fails, what is told of it, and what doesn't start."""

from __future__ import annotations

import errno
import json
import shlex
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.lab import PORT, RUN_LIMIT_S, V4, V6, Lab
from tests.kernel.policy_runs import GITLAB, policy, replay
from tests.kernel.running_exporter import nothing_left, running, wait_for
from tests.kernel.tracing import Trace, copy_of_the_program, copy_with, environment, logs, run_command, trace
from tests.kernel.watching import watching

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

PEER_THEN_EVIL = (V4.peer, V4.evil)


def statuses(otlp_dir: Path) -> dict[str, int]:
    """By the name of the span."""
    return {
        span["name"]: span.get("status", {}).get("code", 0)
        for line in (otlp_dir / "traces.jsonl").read_text().splitlines()
        for per_resource in json.loads(line)["resourceSpans"]
        for per_scope in per_resource["scopeSpans"]
        for span in per_scope["spans"]
    }


def connecting_to(
    lab: Lab, programs: Programs, addresses: Sequence[str], otlp_dir: Path, *options: str
) -> Trace:
    """Connect to one after the other, whatever comes of it."""
    acts = (shlex.join(programs.act("connect", address, PORT)) for address in addresses)
    return trace(lab, ["sh", "-c", "; ".join([*acts, "true"])], otlp_dir, *options)


def test_what_no_rule_allows_is_denied_and_told(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    peers = [f"{V4.peer}:{PORT}", f"[{V6.peer}]:{PORT}"]
    evils = [f"{V4.evil}:{PORT}", f"[{V6.evil}]:{PORT}"]
    file = policy(tmp_path, f"mode: enforce\nallow: {json.dumps(peers)}\n")
    addresses = (V4.peer, V6.peer, V4.evil, V6.evil)
    with lab.watch() as watch:
        seen = connecting_to(lab, programs, addresses, tmp_path, "--policy", file)
    assert seen.stdout == "ok\nok\nEPERM\nEPERM\n"
    assert [watch.arrivals.packets_to(network.evil) for network in (V4, V6)] == [0, 0]
    allowed, denied = seen.egress[:2], seen.egress[2:]
    common = {"egress.mode": "enforce", "security_rule.ruleset.name": file}
    for span, rule in zip(allowed, peers, strict=True):
        ruling = {"egress.verdict": "allow", "egress.rule": rule, "security_rule.name": rule}
        assert {**common, **ruling}.items() <= span.attributes.items()
    ruling = {"egress.verdict": "deny", "egress.rule": "default", "egress.outcome": "denied"}
    for span in denied:
        assert {**common, **ruling, "error.type": "EPERM"}.items() <= span.attributes.items()
    assert [statuses(tmp_path)[span.name] for span in seen.egress] == [0, 0, 2, 2]
    blocked = [f"blocked: act (dash → act) → {evil}, rule default" for evil in evils]
    said = seen.stderr.splitlines()
    assert [f"ci-egress: {each}" for each in blocked] == [line for line in said if "blocked: " in line]
    assert "2 attempts to 2 destinations denied by the policy" in said
    records = logs(tmp_path)
    told = {(record["eventName"], record["severityText"]) for record in records}
    assert told == {("cicd.egress.denied", "ERROR")}
    assert [record["body"]["stringValue"] for record in records] == blocked
    assert [(record["traceId"], record["spanId"]) for record in records] == [
        (span.trace_id, span.span_id) for span in denied
    ]
    verdicts = {
        point.attributes["server.address"]: point.attributes["egress.verdict"]
        for point in seen.metrics["cicd.egress.connections"]
    }
    assert verdicts == {V4.peer: "allow", V6.peer: "allow", V4.evil: "deny", V6.evil: "deny"}
    assert [point.value for point in seen.metrics["cicd.egress.enforcing"]] == [1]
    assert seen.account == "attempts 4 = exported 4 + aggregated 0 + dropped 0 + pending 0"


@pytest.mark.parametrize("options", [[], ["--json-log"]], ids=["plain", "json"])
def test_what_is_denied_is_told_while_the_job_goes_on(
    lab: Lab, programs: Programs, tmp_path: Path, options: list[str]
) -> None:
    act = programs.act("connect", V4.evil, PORT)
    command = lab.command(["sh", "-c", '"$@"; read -r _', "sh", *act])
    allowed = ("--enforce", "--allowed-endpoints", f"{V4.peer}:{PORT}")
    with running(command, tmp_path, *allowed, *options) as run:
        assert run.next_line() == "EPERM"
        line = run.message("blocked: ")
        file = tmp_path / "logs.jsonl"
        wait_for(lambda: file.exists() and file.read_text().endswith("\n"))
        (record,) = logs(tmp_path)
        run.tell("go on")
        seen = run.end()
    (denied,) = seen.egress
    assert (record["traceId"], record["spanId"]) == (denied.trace_id, denied.span_id)
    blocked = f"blocked: act (dash → act) → {V4.evil}:{PORT}, rule default"
    assert record["body"] == {"stringValue": blocked}
    if not options:
        assert line == f"ci-egress: {blocked}"
        return
    told = json.loads(line)
    assert told.pop("time") > 0
    assert told == {
        "level": "error",
        "message": blocked,
        "event": "cicd.egress.denied",
        "pid": denied["process.pid"],
        "chain": ["dash", "act"],
        "destination": f"{V4.evil}:{PORT}",
        "transport": "tcp",
        "rule": "default",
        "ruleset": "--allowed-endpoints",
        "trace_id": denied.trace_id,
        "span_id": denied.span_id,
    }


def test_audit_denies_nothing_and_tells_what_it_would(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    file = policy(tmp_path, f'allow: ["{V4.peer}:{PORT}"]\n')
    seen = connecting_to(lab, programs, PEER_THEN_EVIL, tmp_path, "--policy", file)
    assert seen.stdout == "ok\nok\n"
    told = [(span["egress.verdict"], span["egress.mode"], span["egress.outcome"]) for span in seen.egress]
    assert told == [("allow", "audit", "established"), ("audit", "audit", "established")]
    assert set(statuses(tmp_path).values()) == {0}
    (record,) = logs(tmp_path)
    assert (record["eventName"], record["severityText"]) == ("cicd.egress.would_deny", "WARN")
    assert "blocked" not in seen.stderr
    assert "1 attempt to 1 destination that the policy would deny" in seen.stderr.splitlines()
    assert [point.value for point in seen.metrics["cicd.egress.enforcing"]] == [0]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("mode: audit\n", ["--enforce"]),
        ('mode: audit\njobs: {"*/publish": {mode: enforce}}\n', []),
        ('mode: enforce\njobs: {"*/publish": {mode: audit}}\n', []),
    ],
    ids=["option", "section", "file"],
)
def test_the_strictest_mode_wins(
    lab: Lab, programs: Programs, tmp_path: Path, text: str, options: list[str]
) -> None:
    act = ["sh", "-c", '"$@"; true', "sh", *programs.act("udp-sendto", V4.evil, PORT)]
    seen = trace(lab, act, tmp_path, "--policy", policy(tmp_path, text), *options, env=GITLAB)
    assert seen.stdout == "EPERM\n"
    assert [span["egress.mode"] for span in seen.egress] == ["enforce"]


def test_a_section_for_another_job_does_not_count(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    text = f'mode: enforce\ntrust_names: true\njobs: {{"*/build": {{allow: ["{V4.peer}:{PORT}"]}}}}\n'
    act = ["sh", "-c", '"$@"; true', "sh", *programs.act("connect", V4.peer, PORT)]
    assert trace(lab, act, tmp_path, "--policy", policy(tmp_path, text), env=GITLAB).stdout == "EPERM\n"


def test_endpoints_alone_are_a_policy(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    allowed = f"{V4.peer}:{PORT} 198.51.100.1:443"
    seen = connecting_to(lab, programs, PEER_THEN_EVIL, tmp_path, "--enforce", "--allowed-endpoints", allowed)
    assert seen.stdout == "ok\nEPERM\n"
    assert {span["security_rule.ruleset.name"] for span in seen.egress} == {"--allowed-endpoints"}


def test_descendants_are_denied_too(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    command = programs.lineage("double-fork", *programs.act("connect", V4.evil, PORT))
    with lab.watch() as watch:
        seen = trace(
            lab,
            ["sh", "-c", '"$@"; true', "sh", *command],
            tmp_path,
            "--enforce",
            "--allowed-endpoints",
            "192.0.2.77",
        )
    assert watch.arrivals.packets_to(V4.evil) == 0
    assert [span["egress.verdict"] for span in seen.egress] == ["deny"]


def test_a_recording_tells_the_same_of_the_policy(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    file = policy(tmp_path, f'mode: enforce\nallow: ["{V4.peer}:{PORT}"]\n')
    recording = tmp_path / "a.rec"
    seen = connecting_to(
        lab, programs, PEER_THEN_EVIL, tmp_path / "run", "--policy", file, "--record", str(recording)
    )
    replayed = replay(recording, tmp_path / "replay")
    assert [span.attributes for span in seen.egress] == [span.attributes for span in replayed.egress]
    assert len(seen.egress) == 2


REFUSED = {
    "version: 1\nmode: enforced\n": ":2:7: `mode` can't be `enforced`; did you mean `enforce`?",
}


@pytest.mark.parametrize("text", REFUSED)
def test_with_a_policy_that_cannot_be_held_to_nothing_starts(tmp_path: Path, text: str) -> None:
    file, marker = tmp_path / "policy.yaml", tmp_path / "started"
    file.write_text(text)
    seen = trace(None, ["touch", str(marker)], tmp_path / "otlp", "--policy", str(file))
    assert (seen.status, marker.exists()) == (2, False)
    assert seen.stderr.splitlines()[0] == f"{file}{REFUSED[text]}"


def test_enforcing_nothing_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "started"
    seen = trace(None, ["touch", str(marker)], tmp_path / "otlp", "--enforce")
    assert (seen.status, marker.exists()) == (2, False)
    assert seen.stderr.startswith("ci-egress: error: --enforce needs a policy; name one with --policy FILE")


def test_a_job_stays_denied_when_tracing_fails(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    env = environment(copy_of_the_program(tmp_path / "copy"))
    tracing = tmp_path / "copy/exporter/session/run.py"
    broken = tracing.read_text().replace("ended_ns = wait(", "raise RuntimeError; ended_ns = wait(")
    tracing.write_text(broken)
    command = lab.command(["sh", "-c", 'read -r _; exec "$@"', "sh", *programs.act("connect", V4.evil, PORT)])
    run = run_command(tmp_path / "otlp", command, "--enforce", "--allowed-endpoints", f"{V4.peer}:{PORT}")
    pipe = subprocess.PIPE
    with (
        nothing_left(),
        subprocess.Popen(
            run, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env, cwd=tmp_path
        ) as process,
    ):
        assert process.stderr is not None
        while "tracing failed, COMMAND goes on untraced" not in (line := process.stderr.readline()):
            assert line, "it was not said"
        stdout, _ = process.communicate("go on\n", timeout=RUN_LIMIT_S)
    assert (stdout, process.returncode) == ("EPERM\n", errno.EPERM)


def test_an_orphan_that_found_no_room_in_the_table_is_denied(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    env = copy_with(tmp_path / "copy", procs=2, found_steps=2)
    orphan = programs.lineage("double-fork", *programs.act("connect", V4.evil, PORT))
    options = ("--enforce", "--allowed-endpoints", f"{V4.peer}:{PORT}")
    with lab.watch() as watch:
        seen = trace(
            lab,
            ["sh", "-c", 'sh -c "$1 & wait"; true', "sh", shlex.join(orphan)],
            tmp_path / "otlp",
            *options,
            env=env,
            cwd=tmp_path,
        )
    assert "processes found the table of processes full" in seen.stderr
    assert seen.stdout == "EPERM\n"
    assert watch.arrivals.packets_to(V4.evil) == 0


def test_with_a_policy_that_has_no_room_in_the_kernel_nothing_starts(tmp_path: Path) -> None:
    env = copy_with(tmp_path / "copy", policy=4)
    marker = tmp_path / "started"
    with nothing_left():
        seen = trace(
            None,
            ["touch", str(marker)],
            tmp_path / "otlp",
            *("--enforce", "--allowed-endpoints", "192.0.2.10 192.0.2.11 192.0.2.12"),
            env=env,
            cwd=tmp_path,
        )
    assert (seen.status, marker.exists()) == (91, False)
    assert "rules is more than the kernel's tables hold; " in seen.stderr


NAMES_ELSEWHERE = (
    'mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf; mount -t tmpfs none /run; '
    'mkdir -p /run/systemd/resolve; mount --bind "$1/resolve" /run/systemd/resolve; shift; exec "$@"'
)


@contextmanager
def elsewhere(tmp_path: Path, hosts: str) -> Iterator[list[str]]:
    """What a command is run under where systemd-resolved listens, and nsswitch.conf has that for `hosts`."""
    (tmp_path / "nsswitch.conf").write_text(f"hosts: {hosts}\n")
    (tmp_path / "resolve").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as resolved:
        resolved.bind(str(tmp_path / "resolve/io.systemd.Resolve"))
        resolved.listen()
        yield ["unshare", "-m", "sh", "-c", NAMES_ELSEWHERE, "sh", str(tmp_path)]


@pytest.mark.parametrize("refuses", [True, False], ids=["deny", "any"])
def test_where_lookups_are_refused_whoever_asks_for_others_is_warned_of(
    tmp_path: Path, *, refuses: bool
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"version: 1\n{'dns: deny' if refuses else ''}\nallow: [registry.example]\n")
    with elsewhere(tmp_path, "files dns") as under:
        seen = trace(None, ["true"], tmp_path / "otlp", "--policy", str(file), under=under)
        with watching(tmp_path, "--policy", str(file), under=tuple(under)) as watch:
            watched = watch.stop().said
    assert seen.status == 0, seen.stderr
    warned = "no `dns: deny` for what systemd-resolved is asked at /run/systemd/resolve/io.systemd.Resolve"
    assert [warned in seen.stderr, any(warned in str(line) for line in watched)] == [refuses] * 2


@pytest.mark.parametrize(("endpoint", "is_warned"), [("registry.example", True), ("192.0.2.10:443", False)])
def test_where_names_come_by_no_packet_a_policy_of_names_is_warned_of(
    tmp_path: Path, endpoint: str, *, is_warned: bool
) -> None:
    with elsewhere(tmp_path, "files resolve [!UNAVAIL=return] dns") as under:
        seen = trace(None, ["true"], tmp_path / "otlp", "--allowed-endpoints", endpoint, under=under)
    assert seen.status == 0, seen.stderr
    warned = (
        "warning: no rules for names in policies, and no names in traces: `resolve` in /etc/nsswitch.conf"
    )
    assert (warned in seen.stderr) == is_warned
