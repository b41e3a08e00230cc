"""The alert on a novel destination, on real servers: in time, once, and never for an unchanged pipeline."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic, sleep, time
from typing import TYPE_CHECKING

import pytest
import urllib3

from tests.kernel.lab import V4, V6, Lab
from tests.kernel.tracing import trace
from tests.stack.apis import Alert, Alertmanager, Prometheus
from tests.stack.builds import INTERVAL_S, connecting, learnt, telemetry, variables
from tests.stack.conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from demo.stack.servers import Stack
    from tests.stack.pages import Pages

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(900)]  # the first one may wait for the servers' build

ALERT = "CICDEgressNovelDestination"
RUNS = 30
AT_ONCE = 2
ARRIVAL_WITHIN_S = 20.0
HANDED_OVER_WITHIN_S = 1.0
"""From the evaluation to Alertmanager, on a busy machine."""
KNOWN = (V4.peer, V6.peer)


@dataclass(frozen=True)
class Pipeline:
    """One with a baseline, told to the servers by a new `ci-egress run` each time."""

    name: str
    lab: Lab
    stack: Stack
    folder: Path
    baseline: Path

    def run(self, number: int, *addresses: str) -> None:
        """Connect to what is known, and then to further addresses."""
        otlp = self.folder / f"{self.name}-{number}"
        env = variables(self.name, f"{self.name}-{number}") | telemetry(self.stack)
        env["STATE_DIRECTORY"] = str(self.folder / "state")
        done = trace(
            self.lab, connecting(*KNOWN, *addresses), otlp, "--baseline", str(self.baseline), env=env
        )
        assert done.status == 0, done.stderr
        assert done.account.endswith("+ dropped 0 + pending 0")

    @property
    def alerts(self) -> list[Alert]:
        """What Alertmanager has of it."""
        of_it = (f'alertname="{ALERT}"', f'cicd_pipeline_name="{self.name}"')
        return Alertmanager(self.stack.alertmanager_url).alerts(*of_it)

    def connections(self, *, is_novel: bool) -> str:
        """The selector of what was counted."""
        novel = str(is_novel).lower()
        return f'cicd_egress_connections_total{{cicd_pipeline_name="{self.name}",egress_novel="{novel}"}}'


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture
def prometheus(stack: Stack) -> Prometheus:
    """Prometheus, once it scrapes: it begins some seconds after it serves."""
    prometheus = Prometheus(stack.prometheus_url)
    wait_until(lambda: bool(prometheus.now('up{job="otel-collector"} == 1')), within_s=ARRIVAL_WITHIN_S)
    return prometheus


def learnt_pipeline(name: str, lab: Lab, stack: Stack, folder: Path) -> Pipeline:
    """One whose first two runs the baseline is made of."""
    first = [folder / f"learnt-{number}" for number in range(2)]
    for number, otlp in enumerate(first):
        trace(lab, connecting(*KNOWN), otlp, env=variables(name, f"learnt-{number}"))
    return Pipeline(name, lab, stack, folder, learnt(folder, *first))


def test_thirty_runs_of_an_unchanged_pipeline_raise_nothing(
    lab: Lab, stack: Stack, prometheus: Prometheus, pages: Pages, tmp_path: Path
) -> None:
    pipeline = learnt_pipeline("unchanged", lab, stack, tmp_path)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(pipeline.run, range(RUNS)))
    known = pipeline.connections(is_novel=False)

    def told() -> bool:
        return len({series.labels["instance"] for series in prometheus.stored(known)}) == RUNS

    wait_until(told, within_s=ARRIVAL_WITHIN_S)
    assert prometheus.now(f"sum({known})") == {frozenset(): RUNS * len(KNOWN)}
    wait_for_evaluations(prometheus, 2)
    assert prometheus.stored(f'ALERTS{{cicd_pipeline_name="{pipeline.name}"}}') == []
    assert prometheus.stored(pipeline.connections(is_novel=True)) == []
    assert (pipeline.alerts, pages.of(pipeline.name, ALERT)) == ([], [])


def test_a_novel_destination_is_an_alert_within_two_intervals_and_once(
    lab: Lab, stack: Stack, prometheus: Prometheus, pages: Pages, tmp_path: Path
) -> None:
    pipeline = learnt_pipeline("poisoned", lab, stack, tmp_path)
    with ThreadPoolExecutor(1) as pool:
        arrival = pool.submit(first_exposed, stack.collector_metrics_url, pipeline.name)
        pipeline.run(0, V4.evil)
        arrived_s = arrival.result()
    wait_until(lambda: bool(pipeline.alerts), within_s=ARRIVAL_WITHIN_S)
    (alert,) = pipeline.alerts
    assert_is_in_time(alert, arrived_s, pipeline, prometheus)
    assert alert.state == "active"
    assert alert.labels["server_address"] == V4.evil

    pipeline.run(1, V4.evil)
    wait_until(lambda: len(prometheus.stored(pipeline.connections(is_novel=True))) == 2)
    wait_for_evaluations(prometheus, 2)
    (same,) = pipeline.alerts
    assert same.started_s == alert.started_s
    (firing,) = prometheus.stored(f'ALERTS{{cicd_pipeline_name="{pipeline.name}"}}')
    assert firing.moments_s[0] == pytest.approx(alert.started_s, abs=0.002)
    assert [page.status for page in pages.of(pipeline.name, ALERT)] == ["firing"]


def first_exposed(url: str, pipeline: str) -> float:
    """When the collector shows a novel connection of the pipeline, or a little later: never too early."""
    deadline_s = monotonic() + ARRIVAL_WITHIN_S
    while monotonic() < deadline_s:
        lines = urllib3.request("GET", url).data.decode().splitlines()
        if any(f'"{pipeline}"' in line and 'egress_novel="true"' in line for line in lines):
            return time()
        sleep(0.005)
    raise AssertionError(f"nothing of {pipeline} is novel")


def assert_is_in_time(alert: Alert, arrived_s: float, pipeline: Pipeline, prometheus: Prometheus) -> None:
    """Within two intervals by the servers' own times, less what they tell to have been late themselves."""
    (series,) = prometheus.stored(pipeline.connections(is_novel=True))
    scraped_s = series.moments_s[0]
    scrape = '{job="otel-collector"}'
    (scrapes,), (durations,) = (
        prometheus.stored(f"up{scrape}"),
        prometheus.stored(f"scrape_duration_seconds{scrape}"),
    )
    before_s = max(at_s for at_s in scrapes.moments_s if at_s < scraped_s)
    took_s = dict(durations.samples)[scraped_s]
    late_s = max(0.0, scraped_s - before_s - INTERVAL_S)
    missed = sum(prometheus.now("prometheus_rule_group_iterations_missed_total").values())
    assert missed == 0
    assert scraped_s - arrived_s <= INTERVAL_S + late_s
    assert alert.started_s - scraped_s <= INTERVAL_S + took_s
    assert alert.started_s - arrived_s <= 2 * INTERVAL_S + late_s + took_s
    assert alert.updated_s - alert.started_s <= HANDED_OVER_WITHIN_S


def wait_for_evaluations(prometheus: Prometheus, count: int) -> None:
    """Wait until all rules were evaluated so often from now on."""
    query = "min(prometheus_rule_group_last_evaluation_timestamp_seconds)"
    begin_s = time()
    wait_until(lambda: max(prometheus.now(query).values(), default=0) > begin_s + (count - 1) * INTERVAL_S)
