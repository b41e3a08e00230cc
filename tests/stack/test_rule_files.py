"""What the servers' own tools say of the project's rules and routes, and what the collector exposes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from demo.stack.servers import Binaries, Stack, prepare, running_stack
from exporter.events.destinations import Destination
from exporter.events.facts import Outcome
from exporter.pipeline.account import Account
from exporter.pipeline.metrics import Metrics
from exporter.pipeline.ruling import Ruling
from tests.checkout import ROOT
from tests.stack.apis import ANSWER_WITHIN_S
from tests.stack.span_sender import telemetry_to
from tests.unit.samples import JOB, attempt, by

pytestmark = pytest.mark.timeout(900)  # the first one may wait for the collector's build

PROMETHEUS = ROOT / "dashboards/prometheus"
ALERTMANAGER = ROOT / "dashboards/alertmanager.yaml"
RULE_FILES = ("recording.yaml", "alerts.yaml")
CASES = sorted((PROMETHEUS / "tests").glob("*.yaml"))
ACCOUNT = Account(
    attempts=12,
    exported=5,
    aggregated=2,
    dropped={("kernel", "ring_full"): 3},
    pending={"ring": 1, "queue": 0, "spool": 1},
)


@pytest.fixture(scope="module")
def binaries() -> Binaries:
    """The servers' programs and tools; whoever lacks them is told how to get them."""
    return prepare()


@pytest.fixture(scope="module")
def collector(binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The collector alone."""
    with running_stack(tmp_path_factory.mktemp("stack"), binaries=binaries, servers=["collector"]) as stack:
        yield stack


def succeeds(*command: str | Path) -> str:
    """Run a tool, which must find nothing to complain of; what it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROMETHEUS / "tests")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_and_configurations_are_valid(binaries: Binaries) -> None:
    succeeds(binaries.promtool, "check", "rules", "--lint-fatal", *(PROMETHEUS / name for name in RULE_FILES))
    succeeds(binaries.promtool, "check", "config", "--lint-fatal", PROMETHEUS / "prometheus.yaml")
    succeeds(binaries.amtool, "check-config", ALERTMANAGER)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_rules_pass_their_unit_tests(binaries: Binaries, case: Path) -> None:
    assert "SUCCESS" in succeeds(binaries.promtool, "test", "rules", case)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("alertname=CICDEgressNovelDestination", "security-page"),
        ("alertname=CICDEgressNovelDestination team=payments", "security-page,payments"),
        ("alertname=CICDEgressNovelDestinationByHistory team=mobile", "security,mobile"),
        ("alertname=CICDEgressEnforcementOff", "security-page"),
        ("alertname=CICDEgressEnforcementOff team=mobile severity=critical", "security-page,mobile"),
        (
            "alertname=CICDEgressEnforcementOff team=payments cicd_pipeline_name=payments/release "
            "severity=critical",
            "security-page,payments-page",
        ),
        ("alertname=CICDEgressEnforcementDowngraded team=mobile", "mobile"),
        ("alertname=CICDEgressDeniedBurst team=payments cicd_pipeline_name=payments/app", "payments"),
        ("alertname=CICDEgressDeniedBurst cicd_pipeline_name=of-no-team", "platform"),
        ("alertname=CICDEgressTelemetryLoss loss=dropped", "platform"),
        ("alertname=CICDEgressUnattributed", "platform"),
        ("alertname=CICDEgressExporterGone gone=job severity=warning team=payments", "platform"),
        ("alertname=CICDEgressExporterGone gone=runner severity=critical", "platform-page"),
        ("alertname=SomethingElse", "platform"),
    ],
)
def test_an_alert_goes_to_whom_it_concerns(binaries: Binaries, labels: str, receivers: str) -> None:
    said = succeeds(
        binaries.amtool, "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels.split()
    )
    assert said.strip() == receivers


@pytest.mark.parametrize(
    ("common", "title"), [({}, "of the first"), ({"summary": "of all"}, "of all")], ids=["differ", "alike"]
)
def test_a_pager_shows_what_all_alerts_say_or_else_the_first(
    binaries: Binaries, tmp_path: Path, common: dict[str, str], title: str
) -> None:
    (text,) = re.findall(r'^ +# +description: "(.+)"$', ALERTMANAGER.read_text(), re.MULTILINE)
    alerts = [{"annotations": {"summary": f"of the {which}"}} for which in ("first", "second")]
    data, none = tmp_path / "data.json", tmp_path / "none.tmpl"
    data.write_text(json.dumps({"alerts": alerts, "commonAnnotations": common}))
    none.touch()
    render = ("template", "render", f"--template.glob={none}", f"--template.data={data}")
    assert succeeds(binaries.amtool, *render, f"--template.text={text}") == title


def test_the_group_that_is_filled_in_is_cut_out_as_the_runbook_says(
    binaries: Binaries, tmp_path: Path
) -> None:
    runbook = (ROOT / "docs/runbooks.md").read_text()
    (expression,) = re.findall(r"^sed '(.+)' recording\.yaml >history\.yaml$", runbook, re.MULTILINE)
    history = tmp_path / "history.yaml"
    history.write_text(succeeds("sed", expression, PROMETHEUS / "recording.yaml"))
    succeeds(binaries.promtool, "check", "rules", history)
    first, *_ = yaml.safe_load((PROMETHEUS / "recording.yaml").read_text())["groups"]
    assert yaml.safe_load(history.read_text()) == {"groups": [first]}


def test_rules_ask_for_names_and_labels_that_the_collector_has(collector: Stack) -> None:
    with telemetry_to(collector.otlp_environ()) as telemetry:
        metrics = Metrics(telemetry.meter, telemetry.add_producer, lambda: ACCOUNT, has_lineages=True)
        job = metrics.of(JOB)
        metrics.began(job, is_enforcing=True)
        where = Destination("registry.example", 443, "tcp", None)
        met = attempt(where, by("bash", "curl"), Ruling(is_novel=True))
        job.connection(met)
        job.transferred(met, 5, 7)
        job.connect_took(met, Outcome.ESTABLISHED, 0.03)
        metrics.unattributed("process_record_lost")
    series = exposed(collector)

    for expression in expressions():
        asked = selectors(expression)
        assert asked.keys() <= series.keys()
        for name, labels in asked.items():
            assert labels <= series[name]
        assert groupings(expression) <= set().union(*(series[name] for name in asked))


def exposed(stack: Stack) -> dict[str, set[str]]:
    """Labels of each metric that Prometheus would scrape."""
    page = urllib3.request("GET", stack.collector_metrics_url, timeout=ANSWER_WITHIN_S).data.decode()
    return {
        name: set(re.findall(r'(\w+)="', labels))
        for name, labels in re.findall(r"^(\w+)\{(.*)\} \S+$", page, re.MULTILINE)
    }


def expressions() -> list[str]:
    """Those of all rules that read what the collector exposes."""
    files: list[Any] = [yaml.safe_load((PROMETHEUS / name).read_text()) for name in RULE_FILES]
    rules = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    found = [rule["expr"] for rule in rules if selectors(rule["expr"])]
    assert found
    return found


def selectors(expression: str) -> dict[str, set[str]]:
    """Labels that are asked for of each of the exporter's metrics; recorded ones have colons."""
    found: dict[str, set[str]] = {}
    for name, matchers in re.findall(
        r"(?<![\w:])(cicd_egress_\w+)(?![\w:])(?:\{(.*?)\})?", expression, re.DOTALL
    ):
        found.setdefault(name, set()).update(re.findall(r"(\w+) ?(?:=~|!~|!=|=)", matchers))
    return found


def groupings(expression: str) -> set[str]:
    """Labels that an expression groups or joins by."""
    listed = re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
    return {label.strip() for labels in listed for label in labels.split(",")}
