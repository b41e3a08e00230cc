"""The reference is what the code has, and what real runs have: no attribute more, and none less."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.otlp.settings import Signal
from tests.checkout import ROOT
from tests.docs import tutorial_week
from tests.docs.conftest import Week
from tests.docs.pages import DOCS
from tools.reference import attributes, cli, logs, metrics
from tools.reference.__main__ import generated

OF_NO_RUN_HERE = {
    "container.id": "needs a container: tests/kernel/lineage/test_traced_containers.py",
    "egress.dns.names": "each lookup asks for one name: tests/kernel/names/test_traced_names.py",
    "egress.job.attempt": "the sample job's GitLab tells none: tests/unit/jobs/test_attributes.py",
    "egress.job.step": "GitLab has no steps: tests/kernel/acts/test_scenarios.py",
    "egress.truncated": "needs long text: tests/kernel/lineage/test_traced_argv.py",
}
"""Attributes that the week's spans don't have, why, and the tests that have them."""
OF_NO_RESOURCE_HERE = {
    "cicd.pipeline.run.url.full",
    "cicd.worker.name",
    "vcs.owner.name",
    "vcs.ref.head.name",
    "vcs.ref.head.revision",
    "vcs.ref.head.type",
    "vcs.repository.name",
    "vcs.repository.url.full",
}
"""What one types on Monday names neither a repository nor a runner: tests/unit/jobs/test_attributes.py."""
NOT_ALWAYS = {"process.working_directory": "of processes that still live when they are looked up"}
OF_NO_METRIC_HERE = {
    "cicd.egress.exporter.unattributed": "all was attributed: tests/kernel/watch/test_watch.py",
    "egress.lineage": "with --metric-lineage: tests/unit/pipeline/test_metrics.py",
    "error.type": "nothing was dropped: tests/unit/pipeline/test_metrics.py",
}
OF_NO_LOG_HERE = {
    "cicd.egress.tamper": "nobody tampers: tests/kernel/lifetimes/test_tampering.py",
    "cicd.egress.exporter.loss": "nothing is lost: tests/integration/test_loss_records.py",
    "cicd.egress.exporter.adopted": "nothing was killed: tests/kernel/lifetimes/test_adopt.py",
}

kernel = pytest.mark.kernel
week_long = pytest.mark.timeout(tutorial_week.WITHIN_S)


def requests(workspace: Path, signal: Signal) -> Iterator[dict[str, Any]]:
    for path in workspace.glob(f"**/{signal}.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def names(of: dict[str, Any]) -> set[str]:
    return {attribute["key"] for attribute in of.get("attributes", ())}


def described(*tables: tuple[attributes.Attribute, ...]) -> set[str]:
    return {attribute.name for table in tables for attribute in table}


def test_the_pages_are_what_the_code_makes() -> None:
    made = generated()
    assert {path.name: path.read_text() for path in (DOCS / "reference").glob("*.md")} == {
        path.name: text for path, text in made.items()
    }


@kernel
@week_long
def test_spans_have_the_attributes_of_the_reference_each_in_its_place(worked_week: Week) -> None:
    found = defaultdict[str, set[str]](set)
    for request in requests(worked_week.workspace, Signal.TRACES):
        for of_resource in request["resourceSpans"]:
            found["resource"] |= names(of_resource["resource"])
            for span in (span for scope in of_resource["scopeSpans"] for span in scope["spans"]):
                kind = "egress" if span["kind"] == 3 else "program"
                if not any(name.startswith("process.") for name in names(span)):
                    kind = "job"
                found[kind] |= names(span)
    excepted = {*OF_NO_RUN_HERE, *NOT_ALWAYS}
    common = described(attributes.JOB, attributes.PROGRAM)
    assert found["job"] - excepted == described(attributes.JOB) - excepted
    assert found["program"] - excepted == (common | described(attributes.PROGRAM_ALONE)) - excepted
    assert found["egress"] - excepted == (common | described(attributes.EGRESS)) - excepted
    resource = described(attributes.JOB, attributes.RESOURCE) - OF_NO_RESOURCE_HERE
    assert found["resource"] - excepted == resource - excepted
    missing = OF_NO_RUN_HERE.keys() | OF_NO_RESOURCE_HERE
    assert not any(names & missing for names in found.values())


@kernel
@week_long
def test_metrics_have_the_attributes_of_the_reference(worked_week: Week) -> None:
    found = defaultdict[str, set[str]](set)
    for request in requests(worked_week.workspace, Signal.METRICS):
        for scope in (scope for of in request["resourceMetrics"] for scope in of["scopeMetrics"]):
            for metric in scope["metrics"]:
                (data,) = (metric[kind] for kind in ("sum", "gauge", "histogram") if kind in metric)
                found[metric["name"]] |= {name for point in data["dataPoints"] for name in names(point)}
    expected = {
        name: set(of) - OF_NO_METRIC_HERE.keys()
        for name, of in metrics.ATTRIBUTES.items()
        if name not in OF_NO_METRIC_HERE
    }
    assert found == expected


@kernel
@week_long
def test_log_records_are_those_of_the_reference(worked_week: Week) -> None:
    found: dict[str, tuple[int, set[str]]] = {}
    for request in requests(worked_week.workspace, Signal.LOGS):
        for scope in (scope for of in request["resourceLogs"] for scope in of["scopeLogs"]):
            for record in scope["logRecords"]:
                found[record["eventName"]] = record["severityNumber"], names(record)
    expected = {record.name: record for record in logs.RECORDS if record.name not in OF_NO_LOG_HERE}
    assert found.keys() == expected.keys()
    assert {name: severity for name, (severity, _) in found.items()} == {
        name: record.severity for name, record in expected.items()
    }
    of_spans = described(attributes.JOB, attributes.PROGRAM, attributes.EGRESS) - {"egress.attempts"}
    assert all(attributes <= of_spans for _, attributes in found.values())


@pytest.mark.parametrize(
    "reason", [*OF_NO_RUN_HERE.values(), *OF_NO_METRIC_HERE.values(), *OF_NO_LOG_HERE.values()]
)
def test_what_no_run_here_has_another_test_has(reason: str) -> None:
    assert (ROOT / reason.rpartition(" ")[2]).is_file()


def test_variables_of_the_reference_are_those_that_the_code_reads() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "exporter").rglob("*.py"))
    read = set(re.findall(r'"(OTEL_[A-Z_]+|CI_EGRESS_[A-Z_]+)"', text)) - {"CI_EGRESS_CHECK_RUN_ID"}
    told = set(re.findall(r"OTEL_[A-Z_]*[A-Z]|CI_EGRESS_[A-Z_]+", cli.text()))
    general = {name for name in told if name.startswith("OTEL_EXPORTER_OTLP_")}
    assert read <= told
    assert all(f'"{name.rpartition("OTLP_")[2].removeprefix("TRACES_")}"' in text for name in general)
