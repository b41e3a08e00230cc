"""What can be said of the alerts without Prometheus: each is explained, leads somewhere, and is tested."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import ROOT

PROMETHEUS = ROOT / "dashboards/prometheus"
DOCS = "https://ci-egress.example/"
JAEGER = "https://jaeger.example/search?service=ci-egress&"
NAMES = {
    "CICDEgressNovelDestination",
    "CICDEgressNovelDestinationByHistory",
    "CICDEgressEnforcementOff",
    "CICDEgressEnforcementDowngraded",
    "CICDEgressDeniedBurst",
    "CICDEgressTelemetryLoss",
    "CICDEgressUnattributed",
    "CICDEgressExporterGone",
}
"""Other people's silences and routes have them."""

Rule = dict[str, Any]


def load(path: Path) -> Rule:
    loaded: Rule = yaml.safe_load(path.read_text())
    return loaded


def rules(name: str) -> list[Rule]:
    return [rule for group in load(PROMETHEUS / name)["groups"] for rule in group["rules"]]


RULES = [*rules("recording.yaml"), *rules("alerts.yaml")]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = [rule["record"] for rule in RULES if "record" in rule]
CASES = [case for path in sorted((PROMETHEUS / "tests").glob("*.yaml")) for case in load(path)["tests"]]
each_alert = pytest.mark.parametrize(
    "alert", ALERTS, ids=lambda alert: "-".join([alert["alert"], *list(alert["labels"].values())[1:]])
)


def anchors(page: Path) -> set[str]:
    """What a link can lead to, as GitHub makes it of the page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_alerts_have_the_fixed_names() -> None:
    assert {alert["alert"] for alert in ALERTS} == NAMES


@each_alert
def test_an_alert_leads_to_a_section_that_exists(alert: Rule) -> None:
    url = alert["annotations"]["runbook_url"]
    assert url.startswith(DOCS)
    page, _, anchor = url.removeprefix(DOCS).partition("#")
    assert page == "docs/runbooks.md"
    assert anchor == alert["alert"].lower()
    assert anchor in anchors(ROOT / page)


def test_a_link_within_the_runbooks_leads_to_a_section_that_exists() -> None:
    page = ROOT / "docs/runbooks.md"
    linked = set(re.findall(r"\]\(#([^)]+)\)", page.read_text()))
    assert linked >= {name.lower() for name in NAMES}
    assert linked <= anchors(page)


def test_every_section_says_how_to_confirm_what_to_do_and_when_it_is_false() -> None:
    sections = (ROOT / "docs/runbooks.md").read_text().split("\n## ")[1:]
    assert {section.partition("\n")[0] for section in sections} == NAMES
    for section in sections:
        said = re.findall(r"^\*\*(.+?)\.\*\*", section, re.MULTILINE)
        assert said[:3] == ["Confirm", "Do", "False alarm"]
        assert "```promql" in section
        assert "Jaeger" in section


@each_alert
def test_an_alert_says_what_it_is_and_shows_its_spans(alert: Rule) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "description", "jaeger_url", "runbook_url"}
    assert alert["annotations"]["jaeger_url"].startswith(JAEGER)


@each_alert
def test_an_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(alert: Rule) -> None:
    of_kind = {name: value for name, value in alert["labels"].items() if name != "severity"}
    fired = [
        expected
        for case in CASES
        for look in case.get("alert_rule_test", ())
        if look["alertname"] == alert["alert"]
        for expected in look["exp_alerts"]
        if of_kind.items() <= expected["exp_labels"].items()
    ]
    silent = [
        look
        for case in CASES
        for look in case.get("alert_rule_test", ())
        if look["alertname"] == alert["alert"] and look["exp_alerts"] == []
    ]
    assert fired
    assert silent


@pytest.mark.parametrize("name", RECORDED)
def test_what_a_recording_rule_records_is_compared(name: str) -> None:
    looks = [look for case in CASES for look in case.get("promql_expr_test", ())]
    assert any(look["expr"].startswith(name) and look["exp_samples"] for look in looks)


def test_what_alerts_read_is_recorded() -> None:
    read = {name for alert in ALERTS for name in re.findall(r"\b\w+:\w+:\w+\b", alert["expr"])}
    assert read <= set(RECORDED)
