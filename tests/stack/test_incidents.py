"""Attacks on builds from end to end: the baseline of what was, the span, the page, and then the denial."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.kernel.incidents import (
    BOTH,
    INCIDENTS,
    RECORDS,
    TOKEN,
    Incident,
    connections_at_evil,
    thefts,
    workspace,
)
from tests.kernel.lab import RESOLVER, Lab
from tests.kernel.resolver import lab_with_resolver
from tests.kernel.tracing import Span, Trace, trace
from tests.stack.apis import Alertmanager, Destination, Jaeger, JaegerTrace, Prometheus
from tests.stack.builds import TASK, learnt, ran, telemetry, variables, way_out
from tests.stack.conftest import wait_until
from tests.stack.pipeline_signals import ALERT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from demo.stack.servers import Stack
    from tests.stack.pager import Pages

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(900)]  # the first one may wait for the servers' build

EVIL = {network.evil for network in BOTH}


@dataclass(frozen=True)
class Builds:
    """Of one pipeline, one after the other, traced by a ci-egress beside them."""

    lab: Lab
    incident: Incident
    pipeline: str
    folder: Path
    telemetry: dict[str, str]
    """Variables that lead it to the servers."""

    def honest(self, name: str) -> Path:
        """One from before anything was poisoned, told to files only."""
        seen = self._run(name, is_poisoned=False, telemetry={})
        assert seen.status == 0
        return self.folder / name / "otlp"

    def poisoned(self, name: str, *options: str | Path) -> Trace:
        """One with the theft, told to the servers, too."""
        return self._run(name, *options, is_poisoned=True, telemetry=self.telemetry)

    def _run(self, name: str, *options: str | Path, is_poisoned: bool, telemetry: dict[str, str]) -> Trace:
        home = self.folder / name
        home.mkdir()
        env = {
            **variables(self.pipeline, f"{self.pipeline}-{name}"),
            "PATH": workspace(home, self.incident, is_poisoned=is_poisoned),
            "BUILD_TOKEN": TOKEN,
            "STATE_DIRECTORY": str(home / "state"),
            **telemetry,
        }
        command = ["sh", "-c", f"cd {home}; {self.incident.command}; exit 0"]
        tracing = self.lab.build.call(trace, None, command, home / "otlp", *map(str, options), env=env)
        return tracing.result()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One whose names are all that the incidents look up."""
    with lab_with_resolver(RESOLVER, RECORDS, tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def exporting(lab: Lab, stack: Stack) -> Iterator[dict[str, str]]:
    """Variables that lead telemetry from the lab to the servers."""
    with way_out(lab, stack.ports["otlp_http"]) as port:
        yield telemetry(stack, port=port)


@pytest.mark.parametrize("incident", INCIDENTS.values(), ids=INCIDENTS)
def test_an_incident_is_a_span_and_a_page_and_denied_once_enforced(
    lab: Lab, stack: Stack, pages: Pages, exporting: dict[str, str], incident: Incident, tmp_path: Path
) -> None:
    pipeline = f"payments/{list(INCIDENTS.values()).index(incident)}"
    builds = Builds(lab, incident, pipeline, tmp_path, exporting)
    baseline = learnt(tmp_path, builds.honest("first"), builds.honest("second"))

    attacked = builds.poisoned("attacked", "--baseline", baseline)
    policy = exported(tmp_path, baseline, incident)
    with lab.watch() as watch:
        denied = builds.poisoned("denied", "--policy", policy, "--enforce")

    assert_only_the_theft_is_novel(attacked, incident)
    assert_is_in_jaeger(Jaeger(stack.jaeger_url), attacked, incident)
    assert_is_paged(stack, pages, attacked, pipeline)
    assert_is_denied(denied, incident)
    assert connections_at_evil(watch.arrivals) == incident.honest_at_evil
    if not incident.honest_at_evil:
        assert [watch.arrivals.packets_to(address) for address in EVIL] == [0] * len(EVIL)
    assert_is_counted_as_denied(Prometheus(stack.prometheus_url), denied, pipeline)


def exported(folder: Path, baseline: Path, incident: Incident) -> Path:
    """The policy of the baseline, as who reviewed it left it: where a chain matters, a rule says so."""
    policy = folder / "policy.yaml"
    ran(folder, "baseline", "export", baseline, "--output", policy)
    text = policy.read_text()
    for rule in incident.allow:
        if isinstance(rule, dict):
            (port,) = rule["ports"]
            wide = f'"{rule["host"]}:{port}"'
            assert text.count(wide) == 1
            text = text.replace(wide, json.dumps(rule))
    policy.write_text(text)
    ran(folder, "policy", "check", policy)
    return policy


def assert_only_the_theft_is_novel(attacked: Trace, incident: Incident) -> None:
    """All of what the thief's program did, lookups included, and nothing that the build did before."""
    assert attacked.status == 0
    novel = [span for span in attacked.egress if span["egress.novel"]]
    stolen = thefts(attacked.egress, incident)
    assert len(stolen) == len(EVIL)
    assert {span.span_id for span in stolen} <= {span.span_id for span in novel}
    assert {tuple(span["egress.lineage"]) for span in novel} == {incident.chain}  # type: ignore[arg-type]
    known = {span["server.address"] for span in attacked.egress if not span["egress.novel"]}
    assert known == {RESOLVER, *incident.honest}


def assert_is_in_jaeger(jaeger: Jaeger, attacked: Trace, incident: Incident) -> None:
    """Each theft is found by where it went and by what did it, below all that led to it."""
    for span in thefts(attacked.egress, incident):
        by = ("server.address", "process.executable.name", "cicd.pipeline.run.id")
        wanted = {name: str(span[name]) for name in by}
        found = whole_trace(jaeger, wanted, attacked)
        (theft,) = (one for one in found.spans if one.span_id == span.span_id)
        assert (theft.name, theft.tags["egress.novel"]) == (span.name, True)
        assert theft.listed("egress.lineage") == list(incident.chain)
        job, *programs = found.above(theft)
        assert (job.name, job.parent_id) == (TASK, "")
        assert [one.tags["process.executable.name"] for one in programs] == list(incident.chain)
        assert programs[-1].tags["process.command_line"].startswith(incident.culprit)


def whole_trace(jaeger: Jaeger, wanted: dict[str, str], told: Trace) -> JaegerTrace:
    """The one trace that has such a span, once all of it is there."""

    def is_whole() -> bool:
        return [len(one.spans) for one in jaeger.find(**wanted)] == [len(told.spans)]

    wait_until(is_whole)
    (found,) = jaeger.find(**wanted)
    return found


def assert_is_paged(stack: Stack, pages: Pages, attacked: Trace, pipeline: str) -> None:
    """One alert for each novel destination and no other, which leads to the trace; the right people know."""
    novel = {where(span) for span in attacked.egress if span["egress.novel"]}
    known = {where(span) for span in attacked.egress if not span["egress.novel"]}
    alertmanager, of_it = Alertmanager(stack.alertmanager_url), f'cicd_pipeline_name="{pipeline}"'
    wait_until(lambda: len(alertmanager.alerts(of_it)) >= len(novel))
    alerts = alertmanager.alerts(of_it)
    same = {
        "alertname": ALERT,
        "cicd_pipeline_name": pipeline,
        "cicd_pipeline_task_name": TASK,
        "egress_verdict": "allow",
        "severity": "critical",
        "team": "payments",
    }
    reasons = {one: "chain" if one in known else "destination" for one in novel}
    assert {Destination.of(alert.labels): alert.labels["reason"] for alert in alerts} == reasons
    assert [{**alert.labels, **same} for alert in alerts] == [alert.labels for alert in alerts]
    for alert in alerts:
        query = parse_qs(urlsplit(alert.annotations["jaeger_url"]).query)
        (found,) = Jaeger(stack.jaeger_url).find(**json.loads(query["tags"][0]))
        assert found.spans[0].trace_id == attacked.job.trace_id
    assert_are_told(pages, pipeline, reasons)


def assert_are_told(pages: Pages, pipeline: str, reasons: dict[Destination, str]) -> None:
    """Both, of each theft; of the lookup of its name only where an export came between the two."""
    lookups = {one for one, reason in reasons.items() if (one.server_port, reason) == ("53", "chain")}
    both = ("security-page", "payments")
    thefts_told = {(receiver, one) for receiver in both for one in reasons.keys() - lookups}
    lookups_told = {(receiver, one) for receiver in both for one in lookups}
    assert thefts_told

    def are_told() -> bool:
        told = {(page.receiver, Destination.of(page.labels)) for page in pages.of(pipeline, ALERT)}
        return thefts_told <= told <= thefts_told | lookups_told

    wait_until(are_told)


def assert_is_denied(denied: Trace, incident: Incident) -> None:
    """The theft, at once, and nothing of what the build always did."""
    assert denied.status == 0
    stolen = thefts(denied.egress, incident)
    assert [(span["egress.outcome"], span["error.type"]) for span in stolen] == [("denied", "EPERM")] * len(
        EVIL
    )
    allowed = {span["server.address"] for span in denied.egress if span["egress.verdict"] == "allow"}
    assert allowed == {RESOLVER, *incident.honest}


def assert_is_counted_as_denied(prometheus: Prometheus, denied: Trace, pipeline: str) -> None:
    """In Prometheus, attempt by attempt."""
    counted = Counter(where(span) for span in denied.egress if span["egress.verdict"] == "deny")
    selector = f'cicd_egress_connections_total{{cicd_pipeline_name="{pipeline}",egress_verdict="deny"}}'

    def is_counted() -> bool:
        values = prometheus.now(selector).items()
        return {Destination.of(dict(labels)): value for labels, value in values} == counted

    wait_until(is_counted)


def where(span: Span) -> Destination:
    """It went to, as the metrics have it."""
    return Destination.of({name: str(span[name.replace("_", ".")]) for name in Destination._fields})
