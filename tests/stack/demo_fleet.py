"""A fleet of one runner for dashboards to show: the demo, traced by the real `ci-egress run`, a run a trace.

Two honest runs of the pipeline `release` come first. Then, in the time range that most panels are about, one
with a poisoned dependency, against a policy that audits; one of a second task, `smoke`, whose only connect is
refused; and one of `hourly`, a pipeline that is new, with the same dependency and the policy enforced.
"""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import names
from demo.job import CI_EGRESS, COMMAND, Run, environment
from demo.network import network
from demo.sites import Beacon, UnreachableBeacon
from demo.stack.servers import Stack
from tests.stack.conftest import wait_until
from tests.stack.dashboard_queries import Servers, Span

HONEST, POISONED, SMOKE = 8, 11, 2
"""Attempts of a run."""

BEACON = "beacon.example"
NAMES = [names.RESOLVER, BEACON, "git.example", "metrics.example", "mirror.example", "registry.example"]
"""Where the fleet connects to."""

_COLLECTOR = f"http://collector.example:{names.OTLP_PORT}"
_CURL_CANNOT_CONNECT = 7
_MINUTE_S = 60
_CONNECTIONS = "cicd_egress_connections_total"
_NOVEL_ALERTS = 'ALERTS{alertname="CICDEgressNovelDestination", alertstate="firing"}'

_POLICY = """\
version: 1
mode: audit
allow:
  - udp://192.0.2.53:53
  - git.example:80
  - git.example:81
  - registry.example:80
  - mirror.example:80
  - udp://metrics.example:8125
"""
_KNOWN = {
    "build": [
        *((f"{name}.example", 80, "tcp") for name in ("git", "mirror", "registry")),
        ("metrics.example", 8125, "udp"),
        (names.RESOLVER, 53, "udp"),
    ],
    "smoke": [("git.example", 81, "tcp"), (names.RESOLVER, 53, "udp")],
}


def _baseline() -> str:
    """What an honest run connects to, of both pipelines."""
    entries = [
        f"  - {{pipeline: {pipeline}, task: {task}, destination: {host}, port: {port}, "
        f"transport: {transport}, lineage: any}}"
        for pipeline in ("hourly", "release")
        for task, known in _KNOWN.items()
        for host, port, transport in sorted(known)
    ]
    return "\n".join(["version: 1", "entries:", *entries, ""])


@dataclass(frozen=True)
class Fleet:
    """What there is to show."""

    servers: Servers
    recent: Span
    """The last three runs, and not the honest ones before them."""
    whole: Span
    """All of them."""
    trace_ids: Mapping[int, str]
    """By the id of the job: 1 and 2 are honest, 3 is poisoned, 4 the smoke test, 5 that of `hourly`."""
    egress: Mapping[int, list[dict[str, Any]]]
    """The attributes of every egress span, as Jaeger has them, by the id of the job."""

    def payload(self, direction: str, jobs: tuple[int, ...], *hosts: str) -> float:
        """Bytes, counted from the spans."""
        counted: Counter[str] = Counter()
        for job in jobs:
            for tags in self.egress[job]:
                counted[tags["server.address"]] += tags.get(f"egress.bytes_{direction}", 0)
        return float(sum(counted[host] for host in hosts or counted))


def run_fleet(stack: Stack, scratch: Path) -> Fleet:
    """Run all five and wait until everything has arrived."""
    servers = Servers(stack.prometheus_url, stack.jaeger_url)
    runner = _Runner(stack.ports["otlp_http"], scratch)
    from_s = time.time() // _MINUTE_S * _MINUTE_S - _MINUTE_S
    for job_id in (1, 2):
        runner.run(Run(100 + job_id, job_id))
    _wait_for(servers, from_s, _CONNECTIONS, 2 * HONEST)
    recent_s = math.ceil(time.time())
    wait_until(lambda: time.time() >= recent_s)
    runner.run(Run(103, 3), *runner.judged, beacon=Beacon())
    runner.smoke_test(Run(104, 4))
    files = scratch / "denied"
    enforced = (*runner.judged, "--enforce", "--otlp-dir", str(files))
    runner.run(Run(105, 5), *enforced, pipeline="hourly", beacon=UnreachableBeacon(files / "logs.jsonl"))
    _wait_for(servers, from_s, _CONNECTIONS, 2 * HONEST + 2 * POISONED + SMOKE)
    _wait_for(servers, from_s, _NOVEL_ALERTS, 2)
    # Grafana's steps are whole minutes; the one that has begun shall be among them.
    end_s = math.ceil(time.time() / _MINUTE_S) * _MINUTE_S
    recent, whole = Span(recent_s, end_s), Span(from_s, end_s)
    traces = _traces(servers, whole)
    return Fleet(
        servers,
        recent,
        whole,
        {job: trace["traceID"] for job, trace in traces.items()},
        {job: list(_egress(trace)) for job, trace in traces.items()},
    )


class _Runner:
    def __init__(self, collector_port: int, scratch: Path) -> None:
        self._collector_port, self._scratch = collector_port, scratch
        (scratch / "policy.yaml").write_text(_POLICY)
        (scratch / "baseline.yaml").write_text(_baseline())
        files = scratch / "policy.yaml", scratch / "baseline.yaml"
        self.judged = "--policy", str(files[0]), "--baseline", str(files[1])

    def run(self, run: Run, *options: str, pipeline: str = "release", beacon: Beacon | None = None) -> None:
        """Without a beacon nothing is poisoned."""
        job = environment(run) | {"CI_PIPELINE_NAME": pipeline}
        assert self._traced(job, beacon, [COMMAND], options) == 0

    def smoke_test(self, run: Run) -> None:
        """Nobody listens there."""
        job = environment(run) | {"CI_JOB_NAME": "smoke"}
        status = self._traced(job, None, ["curl", "-s", "http://git.example:81/"], self.judged)
        assert status == _CURL_CANNOT_CONNECT

    def _traced(
        self, job: dict[str, str], beacon: Beacon | None, command: list[str], options: tuple[str, ...]
    ) -> int:
        folder = self._scratch / job["CI_JOB_ID"]
        workspace = folder / "workspace"
        workspace.mkdir(parents=True)
        shutil.copy(names.PIPELINE / "ci.sh", workspace)
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": _COLLECTOR, "STATE_DIRECTORY": str(folder / "state")}
        traced = [str(CI_EGRESS), "run", "--metric-lineage", *options, "--", *command]
        with network(beacon, folder, collector_port=self._collector_port) as build:
            return build.run(traced, directory=workspace, environment=job | settings)


def _wait_for(servers: Servers, from_s: float, selector: str, total: int) -> None:
    def has_come() -> bool:
        now = Span(from_s, time.time())
        query = f"sum(max_over_time({selector}[{now.length_s}s]))"
        found = servers.prometheus("query", now, query=query)["result"]
        return bool(found) and float(found[0]["value"][1]) == total

    wait_until(has_come)


def _traces(servers: Servers, whole: Span) -> dict[int, dict[str, Any]]:
    """By the job's id, when all their spans are there."""
    attempts = {1: HONEST, 2: HONEST, 3: POISONED, 4: SMOKE, 5: POISONED}
    found: dict[int, dict[str, Any]] = {}

    def have_come() -> bool:
        for trace in servers.traces(whole, "ci-egress", {}, 20):
            egress = next(_egress(trace), None)
            if egress:
                found[int(egress["cicd.pipeline.task.run.id"])] = trace
        return {job: len(list(_egress(trace))) for job, trace in sorted(found.items())} == attempts

    wait_until(have_come)
    return found


def _egress(trace: dict[str, Any]) -> Any:
    listed = ({tag["key"]: tag["value"] for tag in span["tags"]} for span in trace["spans"])
    return (tags for tags in listed if "server.address" in tags)
