"""A traced job as people look into it: its trace in Jaeger, its metrics in Prometheus, its log records."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.lab import PORT, V4, Lab
from tests.launch import PLAIN_ENVIRONMENT, ci_egress, plain, spans_in, whole_lines
from tests.stack.apis import Jaeger, JaegerSpan, JaegerTrace, Prometheus, get
from tests.stack.conftest import wait_until
from tests.unit.watched_host import gitlab

if TYPE_CHECKING:
    from demo.stack.servers import Stack
    from tests.launch import JsonObject

pytestmark = [pytest.mark.stack, pytest.mark.kernel, pytest.mark.timeout(900)]

PIPELINE, TASK, RUN = "investigated/app", "package", "20260731"
POLICY = f"""
version: 1
allow: ["{V4.peer}:{PORT}"]
"""


@dataclass(frozen=True)
class Investigated:
    """What is known of the run without any server: its files."""

    spans: list[JsonObject]
    stack: Stack
    trace: JaegerTrace
    """The same, as Jaeger has it."""

    def egress_to(self, address: str) -> JaegerSpan:
        """The span of the only connect to this address."""
        (span,) = self.trace.having(server_address=address)
        return span


@pytest.fixture(scope="module")
def run(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Investigated:
    """Two programs of a job connect, one of them where its policy has nothing; servers and files have it."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "policy.yaml").write_text(POLICY)
    env = {
        **PLAIN_ENVIRONMENT,
        **gitlab(run=RUN, job="77", CI_PROJECT_PATH=PIPELINE, CI_JOB_NAME=TASK),
        **stack.otlp_environ(),
        "STATE_DIRECTORY": str(folder / "state"),
    }
    python = f"import socket; socket.create_connection(('{V4.evil}', {PORT}))"
    script = f"bash -c 'exec 3<>/dev/tcp/{V4.peer}/{PORT}'; python3 -c \"{python}\""
    with Lab() as lab:
        command = [str(each) for each in lab.command(["sh", "-c", script])]
        done = ci_egress(
            "run", "--policy", "policy.yaml", "--otlp-dir", "out", "--", *command, cwd=folder, env=env
        )
    assert done.status == 0, done.stderr
    assert done.stderr.endswith("attempts 2 = exported 2 + aggregated 0 + dropped 0 + pending 0\n")
    spans = list(spans_in(folder / "out"))
    jaeger = Jaeger(stack.jaeger_url)
    (trace_id,) = {span["traceId"] for span in spans}
    wait_until(lambda: len(found.spans if (found := jaeger.trace(trace_id)) else ()) == len(spans))
    trace = jaeger.trace(trace_id)
    assert trace
    return Investigated(spans, stack, trace)


def traces_found(run: Investigated, **tags: str) -> set[str]:
    """Ids of the traces with a span that has these attributes."""
    return {trace.spans[0].trace_id for trace in Jaeger(run.stack.jaeger_url).find(**tags)}


def test_jaeger_has_each_span_of_the_files_once_with_the_same_parent(run: Investigated) -> None:
    in_files = [(span["spanId"], span.get("parentSpanId", ""), span["name"]) for span in run.spans]
    in_jaeger = [(span.span_id, span.parent_id, span.name) for span in run.trace.spans]
    assert sorted(in_jaeger) == sorted(in_files)
    assert len(in_jaeger) == 6


def test_a_job_is_found_by_its_run_and_task(run: Investigated) -> None:
    mine = {run.trace.spans[0].trace_id}
    assert traces_found(run, cicd_pipeline_run_id=RUN, cicd_pipeline_task_name=TASK) == mine
    assert traces_found(run, cicd_pipeline_run_id=RUN, cicd_pipeline_task_name="deploy") == set()


def test_a_job_is_found_by_a_destination(run: Investigated) -> None:
    mine = {run.trace.spans[0].trace_id}
    job = {"cicd_pipeline_run_id": RUN}
    assert traces_found(run, server_address=V4.evil, **job) == mine
    assert traces_found(run, server_address=V4.unreachable, **job) == set()
    who = run.egress_to(V4.evil)
    assert who.tags["process.executable.name"].startswith("python3")
    assert run.egress_to(V4.peer).tags["process.executable.name"] == "bash"


def test_a_job_is_found_by_an_executable(run: Investigated) -> None:
    mine = {run.trace.spans[0].trace_id}
    job = {"cicd_pipeline_run_id": RUN}
    assert traces_found(run, process_executable_name="bash", **job) == mine
    assert traces_found(run, process_executable_name="ruby", **job) == set()
    did = run.trace.having(process_executable_name="bash", span_kind="client")
    assert [span.tags["server.address"] for span in did] == [V4.peer]


def test_the_chain_of_parents_leads_from_the_connect_to_the_job(run: Investigated) -> None:
    egress = run.egress_to(V4.evil)
    above = run.trace.above(egress)
    assert [span.name for span in above] == [TASK, *egress.listed("egress.lineage")]
    assert above[0].parent_id == ""
    assert above[-1].tags["process.pid"] == egress.tags["process.pid"]
    assert all(span.tags["span.kind"] == "internal" for span in above)


def test_a_log_record_leads_to_the_span_of_what_it_tells(run: Investigated) -> None:
    mine = run.trace.spans[0].trace_id.encode()
    requests = [json.loads(line) for line in whole_lines(run.stack.log_records) if mine in line]
    (record,) = (
        record
        for request in requests
        for of_resource in request["resourceLogs"]
        for of_scope in of_resource["scopeLogs"]
        for record in of_scope["logRecords"]
    )
    egress = run.egress_to(V4.evil)
    assert record["eventName"] == "cicd.egress.would_deny"
    assert (record["traceId"], record["spanId"]) == (egress.trace_id, egress.span_id)
    told = plain(record["attributes"])
    assert {name: told[name] for name in ("server.address", "process.pid", "egress.verdict")} == {
        name: egress.tags[name] for name in ("server.address", "process.pid", "egress.verdict")
    }


def connections(run: Investigated) -> dict[str, tuple[dict[str, str], float]]:
    """Labels and value of the job's series, by destination."""
    query = f'cicd_egress_connections_total{{cicd_pipeline_name="{PIPELINE}"}}'
    series = Prometheus(run.stack.prometheus_url).now(query)
    return {dict(labels)["server_address"]: (dict(labels), value) for labels, value in series.items()}


def test_prometheus_has_the_metrics_with_labels_that_are_few(run: Investigated) -> None:
    wait_until(lambda: len(connections(run)) == 2)
    found = connections(run)
    instance = run.trace.spans[0].process["service.instance.id"]
    labels = {
        "__name__": "cicd_egress_connections_total",
        "cicd_pipeline_name": PIPELINE,
        "cicd_pipeline_task_name": TASK,
        "host_name": platform.node(),
        "instance": instance,
        "job": "ci-egress",
        "network_transport": "tcp",
        "service_instance_id": instance,
        "service_name": "ci-egress",
        "server_port": str(PORT),
    }
    assert found == {
        V4.peer: ({**labels, "server_address": V4.peer, "egress_verdict": "allow"}, 1),
        V4.evil: ({**labels, "server_address": V4.evil, "egress_verdict": "audit"}, 1),
    }


def exemplars(run: Investigated) -> list[dict[str, Any]]:
    """Labels of the exemplars of the job's connects to where its policy has nothing."""
    query = f'cicd_egress_connections_total{{cicd_pipeline_name="{PIPELINE}",server_address="{V4.evil}"}}'
    now = time.time()
    answer = get(
        f"{run.stack.prometheus_url}/api/v1/query_exemplars",
        query=query,
        start=str(now - 3600),
        end=str(now + 60),
    )
    return [exemplar["labels"] for series in answer["data"] for exemplar in series["exemplars"]]


def test_an_exemplar_leads_from_the_number_to_the_span(run: Investigated) -> None:
    wait_until(lambda: bool(exemplars(run)))
    (labels,) = exemplars(run)
    egress = run.egress_to(V4.evil)
    assert labels == {"trace_id": egress.trace_id, "span_id": egress.span_id}
