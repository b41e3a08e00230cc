"""Who is told how often: real Alertmanager, the project's routes, and a web hook of the test's own."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import urllib3

from demo.stack.servers import PROJECT, Stack, prepare, running_stack
from tests.integration.receivers import Collector, collector
from tests.stack.apis import Alertmanager, get
from tests.stack.conftest import wait_until
from tests.stack.exposition import Connections, Exposition, exposing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.timeout(900)  # the first one may wait for the servers' build

NOVEL = "CICDEgressNovelDestination"
BY_HISTORY = "CICDEgressNovelDestinationByHistory"
GONE = "CICDEgressExporterGone"
PIPELINES = 40
BEACON = {"server_address": "beacon.example", "server_port": "443", "network_transport": "tcp"}
OTHER = BEACON | {"server_address": "other.example"}
DNS = {"server_port": "53", "network_transport": "udp"}

Labels = dict[str, str]


@dataclass(frozen=True)
class Notification:
    """One page, mail or message."""

    receiver: str
    alerts: list[Labels]
    summary: str | None = None
    """What all of its alerts say alike."""

    @property
    def pipelines(self) -> list[str]:
        """Those it lists."""
        return sorted(alert["cicd_pipeline_name"] for alert in self.alerts)


@dataclass(frozen=True)
class Paging:
    """Alertmanager, and what it told."""

    stack: Stack
    hook: Collector
    collector: Exposition
    """What Prometheus scrapes."""

    def raise_alerts(self, cluster: str, *alerts: Labels) -> None:
        """As Prometheus does after an evaluation: all at once. Clusters are told of apart."""
        body = json.dumps([{"labels": {"cluster": cluster, **labels}} for labels in alerts])
        url = f"{self.stack.alertmanager_url}/api/v2/alerts"
        headers = {"content-type": "application/json"}
        assert urllib3.request("POST", url, body=body, headers=headers).status == 200

    def told(self, cluster: str | None, receiver: str) -> list[Notification]:
        """Notifications so far; those of alerts that Prometheus raised have no cluster."""
        bodies = [json.loads(request.body) for request in list(self.hook.taken)]
        found = [
            Notification(
                body["receiver"],
                [alert["labels"] for alert in body["alerts"]],
                body["commonAnnotations"].get("summary"),
            )
            for body in bodies
        ]
        return [
            one
            for one in found
            if one.receiver == receiver and {alert.get("cluster") for alert in one.alerts} == {cluster}
        ]

    def wait_told(self, cluster: str | None, receiver: str, number: int = 1) -> list[Notification]:
        """Wait for so many notifications, which may be more."""
        wait_until(lambda: len(self.told(cluster, receiver)) >= number)
        return self.told(cluster, receiver)

    def state(self, cluster: str, **labels: str) -> list[str]:
        """Whether alerts with these labels are active or suppressed."""
        matchers = [f'{name}="{value}"' for name, value in (labels | {"cluster": cluster}).items()]
        return [alert.state for alert in Alertmanager(self.stack.alertmanager_url).alerts(*matchers)]


@pytest.fixture(scope="module")
def paging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paging]:
    binaries = prepare()
    servers = ("alertmanager", "prometheus")
    folder = tmp_path_factory.mktemp("paging")
    with (
        collector() as hook,
        running_stack(folder, binaries=binaries, webhook_url=hook.url, servers=servers) as stack,
        exposing(stack.ports["collector_metrics"]) as page,
    ):
        yield Paging(stack, hook, page)


def pipelines(prefix: str, number: int) -> Sequence[str]:
    return [f"{prefix}/service-{index:02}" for index in range(number)]


def test_one_dependency_in_forty_pipelines_is_one_page_and_one_message_for_each_team(paging: Paging) -> None:
    """From series to messages, by the real rules. A second destination comes last, and shows that was all."""
    names = [*pipelines("payments", 10), *pipelines("mobile", 5), *pipelines("search", 25)]
    bad = [Connections(name, "beacon.example", f"runner-{name}", is_novel=True) for name in names]
    usual = [Connections(name, "registry.example", f"runner-{name}", is_novel=False) for name in names]
    paging.collector.show([*bad, *usual])
    (page,) = paging.wait_told(None, "security-page")
    assert page.pipelines == sorted(names)
    assert {alert["server_address"] for alert in page.alerts} == {"beacon.example"}
    assert page.alerts[0]["severity"] == "critical"
    assert page.summary == "CI jobs connected to beacon.example:443, which their baseline doesn't have"

    another = Connections("search/service-00", "other.example", "runner-search", is_novel=True)
    paging.collector.show([*bad, *usual, another])
    pages = paging.wait_told(None, "security-page", 2)
    assert [one.pipelines for one in pages] == [sorted(names), ["search/service-00"]]
    (of_payments,) = paging.wait_told(None, "payments")
    (of_mobile,) = paging.wait_told(None, "mobile")
    assert of_payments.pipelines == sorted(pipelines("payments", 10))
    assert of_mobile.pipelines == sorted(pipelines("mobile", 5))


def test_two_dependencies_are_two_pages(paging: Paging) -> None:
    names = pipelines("search", PIPELINES)
    alerts = [
        {"alertname": NOVEL, "cicd_pipeline_name": name, **where}
        for name in names
        for where in (BEACON, OTHER)
    ]
    paging.raise_alerts("two", *alerts)
    paging.wait_told("two", "security-page", 2)
    paging.raise_alerts("two", {"alertname": "CICDEgressDeniedBurst", "cicd_pipeline_name": names[0]})
    paging.wait_told("two", "platform")

    pages = paging.told("two", "security-page")
    assert len(pages) == 2
    assert all(page.pipelines == names for page in pages)
    assert {page.alerts[0]["server_address"] for page in pages} == {"beacon.example", "other.example"}


def test_what_history_says_is_left_out_where_the_baseline_said_it(paging: Paging) -> None:
    known = {"cicd_pipeline_name": "app", **BEACON}
    elsewhere = {"cicd_pipeline_name": "of-no-baseline", **BEACON}
    paging.raise_alerts(
        "history",
        {"alertname": NOVEL, **known},
        {"alertname": BY_HISTORY, **known},
        {"alertname": BY_HISTORY, **elsewhere},
    )
    (message,) = paging.wait_told("history", "security")
    assert message.pipelines == ["of-no-baseline"]
    assert paging.state("history", alertname=BY_HISTORY, cicd_pipeline_name="app") == ["suppressed"]


def test_without_the_collector_nobody_else_is_missed(paging: Paging) -> None:
    paging.raise_alerts(
        "blind",
        {"alertname": GONE, "gone": "collector", "severity": "critical"},
        {"alertname": GONE, "gone": "runner", "severity": "critical", "host_name": "runner-1"},
        {"alertname": GONE, "gone": "job", "severity": "warning", "host_name": "runner-2"},
        {"alertname": "CICDEgressTelemetryLoss", "loss": "stuck", "host_name": "runner-2"},
        {"alertname": "CICDEgressUnattributed", "host_name": "runner-3"},
    )
    (page,) = paging.wait_told("blind", "platform-page")
    assert [alert["gone"] for alert in page.alerts] == ["collector"]
    (message,) = paging.wait_told("blind", "platform")
    assert [alert["alertname"] for alert in message.alerts] == ["CICDEgressUnattributed"]
    assert len(paging.told("blind", "platform-page")) == 1
    for gone in ("runner", "job"):
        assert paging.state("blind", alertname=GONE, gone=gone) == ["suppressed"]


def test_a_cause_is_told_and_its_consequences_are_not(paging: Paging) -> None:
    paging.raise_alerts(
        "cause",
        {"alertname": "CICDEgressEnforcementOff", "cicd_pipeline_name": "app", "team": "mobile"},
        {"alertname": "CICDEgressEnforcementDowngraded", "cicd_pipeline_name": "app", "team": "mobile"},
        {"alertname": "CICDEgressTelemetryLoss", "loss": "dropped", "host_name": "runner-1"},
        {"alertname": "CICDEgressUnattributed", "host_name": "runner-1"},
        {"alertname": GONE, "gone": "runner", "severity": "critical", "host_name": "runner-1"},
        {"alertname": GONE, "gone": "job", "severity": "warning", "host_name": "runner-1"},
    )
    (of_mobile,) = paging.wait_told("cause", "mobile")
    assert [alert["alertname"] for alert in of_mobile.alerts] == ["CICDEgressEnforcementOff"]
    (of_platform,) = paging.wait_told("cause", "platform")
    assert [alert["alertname"] for alert in of_platform.alerts] == ["CICDEgressTelemetryLoss"]
    for alertname in ("CICDEgressEnforcementDowngraded", "CICDEgressUnattributed"):
        assert paging.state("cause", alertname=alertname) == ["suppressed"]
    assert paging.state("cause", alertname=GONE, gone="job") == ["suppressed"]


def test_prometheus_understands_every_query_of_the_runbooks(paging: Paging) -> None:
    page = (PROJECT / "docs/runbooks.md").read_text()
    queries = re.findall(r"^ *```promql\n(.*?)\n *```$", page, re.MULTILINE | re.DOTALL)
    assert len(queries) == page.count("```promql") >= 8
    for query in queries:
        assert get(f"{paging.stack.prometheus_url}/api/v1/query", query=query)["status"] == "success"


def test_the_lookup_of_a_new_destination_is_no_page_of_its_own_and_a_lookup_alone_is(paging: Paging) -> None:
    lookup = {"server_address": "192.0.2.53", "reason": "chain", **DNS}
    paging.raise_alerts(
        "lookup",
        {"alertname": NOVEL, "cicd_pipeline_name": "app", "reason": "destination", **BEACON},
        {"alertname": NOVEL, "cicd_pipeline_name": "app", **lookup},
        {"alertname": NOVEL, "cicd_pipeline_name": "sends-data-in-names", **lookup},
    )
    pages = paging.wait_told("lookup", "security-page", 2)
    assert {(*page.pipelines, page.alerts[0]["server_address"]) for page in pages} == {
        ("app", "beacon.example"),
        ("sends-data-in-names", "192.0.2.53"),
    }
    assert paging.state("lookup", cicd_pipeline_name="app", server_port="53") == ["suppressed"]


def test_a_new_resolver_is_a_page_whatever_else_is_new(paging: Paging) -> None:
    """From series to messages: the usual one is known, another isn't, and the attempt at both is new."""
    usual = Connections("resolves", "192.0.2.53", "runner-1", is_novel=False, port=53)
    elsewhere = Connections("resolves", "198.51.100.53", "runner-1", is_novel=True, port=53)
    bad = Connections("resolves", "resolved.example", "runner-1", is_novel=True)
    paging.collector.show([usual, usual._replace(is_novel=True), elsewhere, bad])

    def told() -> list[str]:
        pages = [page for page in paging.told(None, "security-page") if page.pipelines == ["resolves"]]
        return sorted(page.alerts[0]["server_address"] for page in pages)

    wait_until(lambda: len(told()) >= 2)
    assert told() == ["198.51.100.53", "resolved.example"]
    alerts = Alertmanager(paging.stack.alertmanager_url).alerts('cicd_pipeline_name="resolves"')
    assert {(alert.labels["server_address"], alert.labels["reason"], alert.state) for alert in alerts} == {
        ("192.0.2.53", "chain", "suppressed"),
        ("198.51.100.53", "destination", "active"),
        ("resolved.example", "destination", "active"),
    }


def test_what_was_told_and_is_denied_now_is_no_second_page(paging: Paging) -> None:
    same = {"alertname": NOVEL, "cicd_pipeline_name": "app", "reason": "destination", **BEACON}
    denied = same | {"egress_verdict": "deny"}
    paging.raise_alerts("denied", same | {"egress_verdict": "allow"}, denied, denied | OTHER)
    pages = paging.wait_told("denied", "security-page", 2)
    assert {
        (alert["server_address"], alert["egress_verdict"]) for page in pages for alert in page.alerts
    } == {("beacon.example", "allow"), ("other.example", "deny")}
    assert paging.state("denied", server_address="beacon.example", egress_verdict="deny") == ["suppressed"]
