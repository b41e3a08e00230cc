"""Acts of a job that lies and that nothing allows: what is told of them stays true, harmless and theirs."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import threading
from typing import TYPE_CHECKING, Any

import dns.name
import pytest

from tests.integration.receivers import Answer, collector
from tests.kernel.forged_answers import ASK_AND_CONNECT, HOSTILE_LABELS, kind_of, query
from tests.kernel.job_variables import GITLAB, PRETENDED, TRACEPARENTS
from tests.kernel.lab import HOSTILE_ARGUMENTS, PORT, V4, V6, Lab, Network
from tests.kernel.policy_runs import MODES, Ruled, bracketed, policy, script, under
from tests.kernel.resolver import Resolver
from tests.kernel.running_exporter import running, wait_for
from tests.kernel.tracing import Span, logs
from tests.launch import PYTHON_NAME, SYSTEM_PYTHON

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel

NETWORKS = (V4, V6)
SECRET = f"hunter2-{secrets.token_hex(8)}"
FILE_NAME = b"\x1b[31mred\nci-egress: blocked: \xe2\x80\xaertl\xff<script>|`md`|"
SHOWN_NAME = r"\x1b[31mred\nci-egress: blocked: \u202ertl" + "\ufffd<script>|`md`|"
"""The same on a terminal."""


def asking_hostile_names(network: Network) -> list[str]:
    """A program that looks up names of hostile labels, all of them evil's, and connects there."""
    questions = [query(name, network).hex() for name in hostile_names()]
    ask = [SYSTEM_PYTHON, "-c", ASK_AND_CONNECT, network.peer, "1", network.evil, str(PORT), *questions]
    return ["sh", "-c", '"$@" 2>/dev/null', "sh", *ask]


def hostile_names() -> list[str]:
    return [dns.name.Name((label, b"example", b"")).to_text() for label in HOSTILE_LABELS]


def hostile_job(programs: Programs, directory: Path) -> list[str]:
    """Connects to evil in every way that could harm whoever reads of it."""
    renamed = os.fsencode(directory) + b"/" + FILE_NAME
    commands = []
    for network in NETWORKS:
        act = programs.act("connect", network.evil, PORT, "--")
        shutil.copy(os.fsencode(act[0]), renamed)
        commands += [
            programs.lineage("argv-bytes", *act),
            programs.lineage("argv", 100_000, *act),
            [os.fsdecode(renamed), *act[1:]],
            [*act, f"--token={SECRET}"],
            asking_hostile_names(network),
        ]
    return script(directory, *commands)


def policy_rules() -> list[str]:
    """The resolver, and names as those that are asked for pretend to be."""
    resolvers = [f"udp://{bracketed(network.peer)}:53" for network in NETWORKS]
    return [*resolvers, f"*.example:{PORT}"]


def run_hostile_job(lab: Lab, programs: Programs, directory: Path, mode: str, *options: str) -> Ruled:
    records = [
        f"{name} {kind_of(network)} {network.evil}" for name in hostile_names() for network in NETWORKS
    ]
    with Resolver(lab, V4.peer, records), Resolver(lab, V6.peer, records), lab.watch() as watch:
        ruled = under(
            lab,
            mode,
            policy_rules(),
            hostile_job(programs, directory),
            directory,
            *("-v", "--process-spans", "all", "--record", str(directory / "recording"), *options),
        )
    evil = sum(watch.arrivals.packets_to(network.evil) for network in NETWORKS)
    assert (evil == 0) == ruled.is_enforced
    written = {path.name: path.read_bytes() for path in (directory / "otlp").iterdir()}
    written |= {"recording": (directory / "recording").read_bytes(), "stderr": ruled.seen.stderr.encode()}
    assert [name for name, text in written.items() if SECRET.encode() in text] == []
    return ruled


def connections(ruled: Ruled) -> list[Span]:
    return [span for span in ruled.seen.egress if span["network.transport"] == "tcp"]


def expected_lines() -> list[str]:
    return [
        f"{name} (dash → {chain}) → {bracketed(network.evil)}:{PORT}, rule default"
        for network in NETWORKS
        for name, chain in (
            ("act", "act"),
            ("act", "act"),
            (SHOWN_NAME, f"{SHOWN_NAME[:39]}…"),
            ("act", "act"),
            (PYTHON_NAME, f"dash → {PYTHON_NAME}"),
        )
    ]


@MODES
def test_hostile_text_of_acts_that_nothing_allows_is_told_as_text_and_shown_harmlessly(
    lab: Lab, programs: Programs, tmp_path: Path, mode: str
) -> None:
    ruled = run_hostile_job(lab, programs, tmp_path, mode)
    spans = connections(ruled)
    ruled.assert_against(spans)
    ruled.assert_told(list(zip(spans, expected_lines(), strict=True)))
    assert {span["server.address"] for span in spans} == {V4.evil, V6.evil}, "such names name nothing"
    assert re.findall(r"[^\n -~→\ufffd…]", ruled.seen.stderr) == []
    hostile, long, renamed, secret, _ = spans[:5]
    shown = [argument.decode(errors="replace") for argument in HOSTILE_ARGUMENTS]
    assert texts(hostile)[-len(shown) :] == shown
    assert sum(map(len, texts(long))) <= 32_768
    assert "process.command_args" in long["egress.truncated"]  # type: ignore[operator]
    assert renamed["process.executable.name"] == FILE_NAME.decode(errors="replace")
    assert texts(secret)[-1] == "--token=<redacted>"
    looked_up = len(HOSTILE_LABELS) * len(NETWORKS)
    ruled.assert_account(len(spans) + looked_up)


def texts(span: Span) -> list[str]:
    value = span["process.command_args"]
    assert isinstance(value, list)
    return value


def test_hostile_text_breaks_no_json_line(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    ruled = run_hostile_job(lab, programs, tmp_path, "enforce", "--json-log")
    messages = [json.loads(line) for line in ruled.seen.stderr.splitlines()]
    told = [message for message in messages if message.get("event") == "cicd.egress.denied"]
    assert [message["message"] for message in told] == [f"blocked: {line}" for line in expected_lines()]
    assert told[2]["chain"] == ["dash", FILE_NAME.decode(errors="replace")]
    assert [message["span_id"] for message in told] == [span.span_id for span in connections(ruled)]


@MODES
def test_what_a_build_script_sets_moves_it_under_no_other_jobs_policy(
    lab: Lab, programs: Programs, tmp_path: Path, mode: str
) -> None:
    """Another job's section would allow all of it."""
    acts = [
        [
            "env",
            "-i",
            *(f"{name}={value}" for name, value in {**PRETENDED, "TRACEPARENT": parent}.items()),
            *act,
        ]
        for network in NETWORKS
        for act in [programs.act("connect", network.evil, PORT)]
        for parent in TRACEPARENTS
    ]
    everything = [f"any://{bracketed(network.evil)}" for network in NETWORKS]
    sections = json.dumps({"someone/*": {"allow": everything}, "group/app/build": {"mode": mode}})
    with lab.watch() as watch:
        ruled = under(
            lab,
            "audit",
            ["192.0.2.77"],
            script(tmp_path, *acts),
            tmp_path,
            more=f"trust_names: true\njobs: {sections}\n",
            env=GITLAB,
        )
    ruled = Ruled(ruled.seen, mode, ruled.file, ruled.records)
    assert (watch.arrivals.packets == {}) == ruled.is_enforced
    assert ruled.seen.stdout.split() == [ruled.errno()] * len(acts)
    ruled.assert_against(ruled.seen.egress)
    assert {
        tuple(value for name, value in span.attributes.items() if name.startswith("cicd."))
        for span in ruled.seen.egress
    } == {("group/app", "987", "build", "4321")}
    assert {span.trace_id for span in ruled.seen.spans} == {ruled.seen.job.trace_id}
    ruled.assert_account(len(acts))


@MODES
def test_what_nothing_allows_while_the_collector_is_away_is_told_when_it_is_back(
    lab: Lab, programs: Programs, tmp_path: Path, mode: str
) -> None:
    is_back = threading.Event()
    acts = [programs.act("connect", network.evil, PORT) for network in NETWORKS]
    command = ["sh", "-c", f"sh {script(tmp_path, *acts)[1]}; read -r _"]
    file = policy(tmp_path, f"mode: {mode}\n")
    with collector(lambda _: Answer(200 if is_back.is_set() else 503)) as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "STATE_DIRECTORY": str(tmp_path / "state")}
        with running(lab.command(command), tmp_path / "otlp", "--policy", file, env=env) as run:
            result = [run.next_line(), run.next_line()]
            wait_for(lambda: any(request.path == "/v1/logs" for request in receiver.requests))
            assert receiver.taken == []
            is_back.set()
            run.tell("go on")
            ruled = Ruled(run.end(), mode, file, logs(tmp_path / "otlp"))
    assert result == [ruled.errno()] * 2
    ruled.assert_against(ruled.seen.egress)
    arrived: list[Any] = receiver.logs()
    assert [(record.trace_id.hex(), record.span_id.hex()) for record in arrived] == [
        (span.trace_id, span.span_id) for span in ruled.seen.egress
    ]
    assert [record.body.string_value for record in arrived] == [
        record["body"]["stringValue"] for record in ruled.records
    ]
    assert {span.name for span in ruled.seen.spans} == set(receiver.spans())
