"""`ci-egress run` in a CI job, from the connect of a child process to what a real Collector received."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import pwd
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from demo.stack.servers import free_ports
from exporter import __version__
from tests.launch import PLAIN_ENVIRONMENT, Done, JsonObject, ci_egress, plain, spans_in
from tests.stack.conftest import Collector, wait_until
from tests.unit.jobs.provider_environments import environment

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.timeout(900),
]  # the first one may wait for the Collector's build
both_protocols = pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FLUSH_S = 10
"""For all that is left in the end, together."""

CLIENT = """
import json, os, socket, sys, time
with socket.socket() as client:
    client.bind(("127.0.0.1", 0))
    client.connect(("127.0.0.1", int(sys.argv[1])))
    told = {name: os.environ.get(name) for name in ("TRACEPARENT", "TRACESTATE")}
    told |= {"pid": os.getpid(), "shell": os.getppid(), "port": client.getsockname()[1], "at": time.time()}
    print(json.dumps(told))
deadline_s = time.monotonic() + 40
while sys.argv[2:] and time.monotonic() < deadline_s:
    with open(sys.argv[2]) as traces:
        if "connect " in traces.read():
            break
    time.sleep(0.02)
"""
JOB = {
    "cicd.pipeline.name": "group/app",
    "cicd.pipeline.run.id": "987",
    "cicd.pipeline.task.name": "spec: [ruby, 3.3]",
    "cicd.pipeline.task.run.id": "4321",
}
"""What the environment of tests/unit/jobs/environments/gitlab.env says."""


@dataclass(frozen=True)
class Server:
    """Something on loopback to connect to, and a COMMAND whose child does it; its status is 3."""

    port: int
    traces: str | None = None
    """The file with whose span the child ends: of a live process alone, /proc tells the working directory."""

    @property
    def client(self) -> list[str]:
        return [sys.executable, "-S", "-c", CLIENT, str(self.port), *([self.traces] if self.traces else [])]

    @property
    def command(self) -> list[str]:
        return ["sh", "-c", f"{shlex.join(self.client)}; exit 3"]


@pytest.fixture
def server() -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Server(listener.getsockname()[1])


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Where nobody listens, nor will."""
    with free_ports("closed") as ports:
        yield ports["closed"]


def run(server: Server, cwd: Path, env: dict[str, str], *options: str) -> Done:
    """Run COMMAND as a GitLab job, `env` added."""
    everything = PLAIN_ENVIRONMENT | environment("gitlab") | {"STATE_DIRECTORY": f"{cwd}/state"} | env
    return ci_egress("run", *options, "--", *server.command, cwd=cwd, env=everything)


@dataclass(frozen=True)
class Traced:
    """The four spans of one run of COMMAND, attributes as Python values."""

    job: JsonObject
    shell: JsonObject
    client: JsonObject
    egress: JsonObject


def traced(spans: list[JsonObject]) -> Traced:
    """Sort the spans by what their place says; there must be four."""
    (egress,) = (span for span in spans if span["kind"] == 3)
    by_id = {span["spanId"]: span for span in spans}
    client = by_id[egress["parentSpanId"]]
    shell = by_id[client["parentSpanId"]]
    job = by_id[shell["parentSpanId"]]
    assert len(spans) == 4
    assert {span["traceId"] for span in spans} == {job["traceId"]}
    return Traced(job, shell, client, egress)


def received(collector: Collector) -> list[JsonObject]:
    """The spans of one run, as soon as the job's, which comes last, is there."""
    wait_until(
        lambda: any(span["name"] == JOB["cicd.pipeline.task.name"] for _, _, span in collector.spans())
    )
    return [{**span, "attributes": plain(span["attributes"])} for _, _, span in collector.spans()]


def gitlab_ids() -> tuple[str, str]:
    """Trace and job span of the documented job by the contract's formula; GitLab has no attempts."""
    fields = ("gitlab", "https://gitlab.example", "group/app", "987", "")
    trace = hashlib.sha256("\0".join(fields).encode()).hexdigest()[:32]
    return trace, hashlib.sha256("\0".join((*fields, "4321")).encode()).hexdigest()[:16]


def name_of(program: str) -> str:
    return Path(os.path.realpath(shutil.which(program) or program)).name


def about_program(program: str, arguments: list[str], pid: int) -> dict[str, Any]:
    """What every span says of the program that it belongs to."""
    return {
        **JOB,
        "egress.attribution": "lineage",
        "process.pid": pid,
        "process.executable.name": name_of(program),
        "process.executable.path": os.path.realpath(shutil.which(program) or program),
        "process.command_line": shlex.join(arguments),
        "process.command_args": arguments,
    }


def about_client(server: Server, told: JsonObject) -> dict[str, Any]:
    """What the spans of the connecting child have in common."""
    return about_program(sys.executable, server.client, told["pid"]) | {
        "process.parent_pid": told["shell"],
        "egress.lineage": [name_of("sh"), name_of(sys.executable)],
        "egress.ancestors": [shlex.join(server.command)],
    }


def about_egress(server: Server, told: JsonObject, cwd: Path) -> dict[str, Any]:
    """Everything that the connect's span says."""
    return about_client(server, told) | {
        "process.working_directory": str(cwd),
        "process.owner": pwd.getpwuid(os.geteuid()).pw_name,
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "network.peer.address": "127.0.0.1",
        "network.peer.port": server.port,
        "network.local.address": "127.0.0.1",
        "network.local.port": told["port"],
        "network.transport": "tcp",
        "network.type": "ipv4",
        "egress.verdict": "allow",
        "egress.attempts": 1,
        "egress.outcome": "established",
        "egress.bytes_sent": 0,
        "egress.bytes_received": 0,
    }


def without_container(attributes: JsonObject) -> JsonObject:
    """`container.id` is there where these tests run in a container, and only there."""
    found = {name: value for name, value in attributes.items() if name != "container.id"}
    in_container = attributes.get("container.id")
    assert in_container is None or in_container in Path("/proc/self/cgroup").read_text()
    return found


def without_measurements(attributes: JsonObject) -> JsonObject:
    """Nor are round trips the same each time."""
    found = without_container(attributes)
    assert 0 < found.pop("egress.rtt_us") < 1_000_000
    return found


@both_protocols
def test_every_span_arrives_with_everything_it_has(
    collector: Collector, server: Server, protocol: str, tmp_path: Path
) -> None:
    server = replace(server, traces="traces.jsonl")
    begin_ns = time.time_ns()
    done = run(server, tmp_path, collector.environ(protocol))
    end_ns = time.time_ns()
    assert done.status == 3, done.stderr
    assert done.stderr.endswith("attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0\n")
    assert not (tmp_path / "ci-egress").exists()
    told = json.loads(done.stdout)
    spans = traced(received(collector))

    trace_id, job_span_id = gitlab_ids()
    assert (spans.job["traceId"], spans.job["spanId"]) == (trace_id, job_span_id)
    assert told["TRACEPARENT"] == f"00-{trace_id}-{job_span_id}-01"
    assert told["TRACESTATE"] is None
    assert not spans.job.get("parentSpanId")

    assert spans.egress["name"] == f"connect 127.0.0.1:{server.port}"
    assert without_measurements(spans.egress["attributes"]) == about_egress(server, told, tmp_path)
    assert spans.client["name"] == name_of(sys.executable)
    client = without_container(spans.client["attributes"])
    client.pop("process.working_directory")
    assert client == about_client(server, told) | {"process.exit.code": 0}
    assert spans.shell["name"] == name_of("sh")
    shell = spans.shell["attributes"]
    assert shell.pop("process.parent_pid") > 1
    assert shell == about_program("sh", server.command, told["shell"]) | {
        "egress.lineage": [name_of("sh")],
        "egress.ancestors": [],
        "process.exit.code": 3,
    }
    assert spans.job["name"] == JOB["cicd.pipeline.task.name"]
    assert spans.job["attributes"] == JOB

    assert [span["kind"] for span in (spans.job, spans.shell, spans.client)] == [1, 1, 1]
    moments = [span["startTimeUnixNano"] for span in (spans.job, spans.shell, spans.client, spans.egress)]
    moments += [span["endTimeUnixNano"] for span in (spans.client, spans.shell, spans.job)]
    assert moments == sorted(moments)
    assert begin_ns < int(moments[0]) < int(moments[-1]) < end_ns
    assert int(moments[3]) < int(spans.egress["endTimeUnixNano"]) < end_ns


@both_protocols
def test_the_resource_tells_service_host_worker_and_repository(
    collector: Collector, server: Server, protocol: str, tmp_path: Path
) -> None:
    env = collector.environ(protocol) | {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=ci"}
    run(server, tmp_path, env)
    received(collector)
    own = {
        "deployment.environment.name": "ci",
        "service.name": "ci-egress",
        "service.version": __version__,
        "host.name": platform.node(),
        "cicd.worker.name": "my runner",
    }
    of_spans = own | {
        **JOB,
        "cicd.pipeline.run.url.full": "https://gitlab.example/group/app/-/pipelines/987",
        "vcs.owner.name": "group",
        "vcs.repository.name": "app",
        "vcs.repository.url.full": "https://gitlab.example/group/app",
        "vcs.ref.head.name": "main",
        "vcs.ref.head.type": "branch",
        "vcs.ref.head.revision": "9d59409acf479dfa0df1aa568182e43e43df8bbe",
    }
    wait_until(lambda: bool(collector.metrics()))
    resources = [plain(resource["attributes"]) for resource, _, _ in collector.spans()]
    metric_resources = [plain(resource["attributes"]) for resource, _, _ in collector.metrics()]
    (instance_id,) = {each.pop("service.instance.id") for each in (*resources, *metric_resources)}
    assert instance_id
    assert all(each == of_spans for each in resources)
    assert all(each == own for each in metric_resources)
    scopes = [scope for _, scope, _ in (*collector.spans(), *collector.metrics())]
    assert all(scope == {"name": "ci_egress", "version": __version__} for scope in scopes)


def points(metric: JsonObject) -> list[tuple[JsonObject, int]]:
    """Attributes and value (of a histogram, the count) of every point, in a stable order."""
    (data,) = (metric[kind] for kind in ("sum", "gauge", "histogram") if kind in metric)
    found = [
        (plain(point.get("attributes", [])), int(point.get("asInt") or point["count"]))
        for point in data["dataPoints"]
    ]
    return sorted(found, key=lambda point: sorted(point[0].items()))


def kind_of(metric: JsonObject) -> str:
    if "gauge" in metric:
        return "gauge"
    if "histogram" in metric:
        return "histogram"
    cumulative = metric["sum"]["aggregationTemporality"] == 2
    kind = "counter" if metric["sum"].get("isMonotonic") else "updowncounter"
    return kind if cumulative else f"delta {kind}"


@both_protocols
def test_the_metrics_arrive_as_the_contract_has_them(
    collector: Collector, server: Server, protocol: str, tmp_path: Path
) -> None:
    run(server, tmp_path, collector.environ(protocol))
    spans = traced(received(collector))
    wait_until(lambda: bool(collector.metrics()))
    metrics = {metric["name"]: metric for _, _, metric in collector.metrics()}
    pipeline = {"cicd.pipeline.name": JOB["cicd.pipeline.name"]}
    connection = pipeline | {
        "cicd.pipeline.task.name": JOB["cicd.pipeline.task.name"],
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "network.transport": "tcp",
        "egress.verdict": "allow",
    }
    connected = pipeline | {"server.address": "127.0.0.1", "egress.outcome": "established"}
    exported = {"egress.stage": "export", "egress.result": "exported"}
    aggregated = {"egress.stage": "kernel", "egress.result": "aggregated"}
    pending = [({"egress.stage": stage}, 0) for stage in ("queue", "ring", "spool")]
    assert {name: (kind_of(metric), metric["unit"], points(metric)) for name, metric in metrics.items()} == {
        "cicd.egress.connections": ("counter", "{connection}", [(connection, 1)]),
        "cicd.egress.connect.duration": ("histogram", "s", [(connected, 1)]),
        "cicd.egress.jobs": ("updowncounter", "{job}", [(pipeline, 0)]),
        "cicd.egress.enforcing": ("gauge", "1", [(pipeline, 0)]),
        "cicd.egress.exporter.attempts": ("counter", "{event}", [({}, 1)]),
        "cicd.egress.exporter.events": ("counter", "{event}", [(aggregated, 0), (exported, 1)]),
        "cicd.egress.exporter.pending": ("gauge", "{event}", pending),
    }
    (point,) = metrics["cicd.egress.connections"]["sum"]["dataPoints"]
    (exemplar,) = point["exemplars"]
    assert (exemplar["traceId"], exemplar["spanId"]) == (spans.egress["traceId"], spans.egress["spanId"])


def test_a_collector_and_a_folder_both_get_everything(
    collector: Collector, server: Server, tmp_path: Path
) -> None:
    done = run(server, tmp_path, collector.environ("http/protobuf"), "--otlp-dir", "out")
    assert done.stderr.endswith("attempts 1 = exported 1 + aggregated 0 + dropped 0 + pending 0\n")
    compared = ("traceId", "spanId", "parentSpanId", "name", "kind", "startTimeUnixNano", "attributes")

    def essence(spans: list[JsonObject]) -> list[list[Any]]:
        return sorted([span.get(name) or "" for name in compared] for span in spans)

    in_files = list(spans_in(tmp_path / "out"))
    assert len(in_files) == 4
    assert essence(received(collector)) == essence(in_files)
    assert "cicd.egress.connections" in (tmp_path / "out/metrics.jsonl").read_text()
    wait_until(lambda: bool(collector.metrics()))


@both_protocols
def test_the_job_nests_under_traceparent_and_command_under_the_job(
    collector: Collector, server: Server, protocol: str, tmp_path: Path
) -> None:
    handed_down = {"TRACEPARENT": TRACEPARENT, "TRACESTATE": "vendor=x"}
    done = run(server, tmp_path, collector.environ(protocol) | handed_down)
    job = traced(received(collector)).job
    _, trace_id, parent_id, _ = TRACEPARENT.split("-")
    assert (job["traceId"], job["parentSpanId"]) == (trace_id, parent_id)
    assert (job["spanId"], job["traceState"]) == (gitlab_ids()[1], "vendor=x")
    told = json.loads(done.stdout)
    assert told["TRACEPARENT"] == f"00-{trace_id}-{job['spanId']}-01"
    assert told["TRACESTATE"] == "vendor=x"


def test_what_a_descendant_sets_in_its_environment_changes_nothing(server: Server, tmp_path: Path) -> None:
    pretended = {
        **environment("github"),
        "CI_PROJECT_PATH": "someone/else",
        "CI_PIPELINE_ID": "1",
        "CI_JOB_ID": "2",
        "TRACEPARENT": TRACEPARENT,
        "OTEL_SDK_DISABLED": "true",
    }
    settings = [f"{name}={value}" for name, value in pretended.items()]
    command = ["sh", "-c", '"$@"; true', "sh", "env", *settings, *server.client]
    env = PLAIN_ENVIRONMENT | environment("gitlab")
    done = ci_egress("run", "--otlp-dir", "out", "--", *command, cwd=tmp_path, env=env)
    assert json.loads(done.stdout)["TRACEPARENT"] == TRACEPARENT
    spans = list(spans_in(tmp_path / "out"))
    (egress,) = (span for span in spans if span["kind"] == 3)
    assert {name: egress["attributes"][name] for name in JOB} == JOB
    assert {span["traceId"] for span in spans} == {gitlab_ids()[0]}
    assert not any(span.get("links") for span in spans)


def test_on_github_the_job_nests_under_the_workflow(server: Server, tmp_path: Path) -> None:
    github = environment("github")
    env = PLAIN_ENVIRONMENT | github
    done = ci_egress("run", "--otlp-dir", "out", "--", *server.command, cwd=tmp_path, env=env)
    spans = traced(list(spans_in(tmp_path / "out")))
    run_and_attempt = github["GITHUB_RUN_ID"] + github["GITHUB_RUN_ATTEMPT"]
    trace_id = hashlib.sha256(f"{run_and_attempt}t".encode()).hexdigest()[:32]
    root_span_id = hashlib.sha256(f"{run_and_attempt}s".encode()).hexdigest()[16:32]
    assert (spans.job["traceId"], spans.job["parentSpanId"]) == (trace_id, root_span_id)
    assert json.loads(done.stdout)["TRACEPARENT"] == f"00-{trace_id}-{spans.job['spanId']}-01"
    assert spans.egress["attributes"]["egress.job.attempt"] == github["GITHUB_RUN_ATTEMPT"]


@pytest.fixture
def black_hole() -> Iterator[int]:
    """The port of something that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


def test_a_collector_that_is_away_costs_the_job_nothing_and_evidence_waits_on_disk(
    server: Server, closed_port: int, black_hole: int, tmp_path: Path
) -> None:
    late = [(protocol, port) for protocol in ("http/protobuf", "grpc") for port in (closed_port, black_hole)]
    with ThreadPoolExecutor(len(late)) as pool:
        for number in range(3):  # a busy machine only adds to it: the quickest one tells how long it takes
            took_s = list(pool.map(partial(took_without, server, tmp_path, f"state-{number}"), late))
            # Were there so much time for each signal, it would take longer than this.
            late = [case for case, each_s in zip(late, took_s, strict=True) if each_s >= 2 * FLUSH_S]
    assert late == []


def took_without(server: Server, folder: Path, state: str, case: tuple[str, int]) -> float:
    """Seconds from COMMAND's connect to the end, where telemetry goes by a protocol to a port in vain."""
    protocol, port = case
    env = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "STATE_DIRECTORY": f"{folder}/{state}",
    }
    done = run(server, folder, env)
    ended_at = time.time()
    assert done.status == 3, done.stderr
    assert done.stderr.count(f"spans can't be sent to http://127.0.0.1:{port}") == 1, done.stderr
    assert done.stderr.count("can't be sent") == 1, done.stderr
    assert f"spans (1 attempt), metrics wait in {folder}/{state}/spool" in done.stderr
    assert done.stderr.endswith("attempts 1 = exported 0 + aggregated 0 + dropped 0 + pending 1\n")
    assert "Traceback" not in done.stderr
    began_at: float = json.loads(done.stdout)["at"]
    return ended_at - began_at


def test_a_disabled_sdk_exports_nothing_and_says_so(
    collector: Collector, server: Server, tmp_path: Path
) -> None:
    disabled = {"OTEL_SDK_DISABLED": "true"}
    done = run(server, tmp_path, collector.environ("http/protobuf") | disabled, "--otlp-dir", "out")
    assert done.status == 3
    assert done.stderr.count("OTEL_SDK_DISABLED is set: nothing was exported") == 1
    assert done.stderr.endswith("attempts 1 = exported 0 + aggregated 0 + dropped 1 + pending 0\n")
    assert list(tmp_path.glob("out/*")) == list(tmp_path.glob("ci-egress")) == []
    assert collector.spans() == collector.metrics() == []


def test_samplers_and_limits_have_no_effect_and_that_is_said_once(server: Server, tmp_path: Path) -> None:
    server = replace(server, traces="out/traces.jsonl")
    env = {"OTEL_TRACES_SAMPLER": "always_off", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1"}
    done = run(server, tmp_path, env, "--otlp-dir", "out")
    (line,) = (line for line in done.stderr.splitlines() if "ignored" in line)
    assert "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT, OTEL_TRACES_SAMPLER" in line
    spans = traced(list(spans_in(tmp_path / "out")))
    about = about_egress(server, json.loads(done.stdout), tmp_path)
    assert without_measurements(spans.egress["attributes"]) == about


def test_json_log_is_json_line_by_line(server: Server, closed_port: int, tmp_path: Path) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{closed_port}",
        "OTEL_TRACES_SAMPLER": "always_off",
    }
    done = run(server, tmp_path, env, "--json-log", "--otlp-dir", "out")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all(isinstance(line["time"], float) and line["level"] and line["message"] for line in lines)
    told = [line["level"] for line in lines if not line["message"].startswith("sending the rest")]
    assert told == ["warning"] * (len(told) - 1) + ["info"]
    assert any("OTEL_TRACES_SAMPLER" in line["message"] for line in lines)
    assert any("can't be sent" in line["message"] for line in lines)
    summary = lines[-1]
    assert (summary["message"], summary["trace_id"]) == ("summary", gitlab_ids()[0])
    assert (summary["account"]["attempts"], summary["account"]["exported"]) == (1, 1)
    (destination,) = summary["summary"]["destinations"]
    assert destination == {
        "destination": f"127.0.0.1:{server.port}",
        "transport": "tcp",
        "chain": [name_of("sh"), name_of(sys.executable)],
        "is_loopback": True,
        "verdict": "allow",
        "count": 1,
        "failed": 0,
        "bytes_sent": 0,
        "bytes_received": 0,
    }
