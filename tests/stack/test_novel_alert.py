"""The alert on a novel destination, on real servers: in time, once, and never for an unchanged pipeline."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic, sleep, time
from typing import TYPE_CHECKING

import pytest
import urllib3

from tests.kernel.lab import V4, Lab
from tests.kernel.tracing import trace
from tests.stack.builds import INTERVAL_S, KNOWN, baseline_of, connecting, telemetry, variables
from tests.stack.conftest import wait_until
from tests.stack.told import ARRIVAL_WITHIN_S, Told, wait_until_scraping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from demo.stack.servers import Stack
    from tests.stack.pages import Pages

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(900)]  # the first one may wait for the servers' build

RUNS = 30
AT_ONCE = 2
STORED_WITHIN_S = 0.1
"""From the end of a scrape until its samples are there for an evaluation, on a busy machine."""
HANDED_OVER_WITHIN_S = 1.0
"""From the evaluation to Alertmanager, on a busy machine."""


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
        otlp = self.folder / f"run-{number}"
        env = variables(self.name, f"{self.name}-{number}") | telemetry(self.stack)
        env["STATE_DIRECTORY"] = str(self.folder / "state")
        options = ("--baseline", str(self.baseline))
        done = trace(self.lab, connecting(*KNOWN, *addresses), otlp, *options, env=env)
        assert done.status == 0, done.stderr
        assert done.account.endswith("+ dropped 0 + pending 0")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture
def pipeline(request: pytest.FixtureRequest, lab: Lab, stack: Stack, tmp_path: Path) -> Pipeline:
    """One whose name no other test has."""
    wait_until_scraping(stack)
    name: str = request.node.name
    return Pipeline(name, lab, stack, tmp_path, baseline_of(lab, tmp_path, name))


@pytest.fixture
def told(stack: Stack, pages: Pages, pipeline: Pipeline) -> Told:
    return Told(stack, pages, pipeline.name)


def test_thirty_runs_of_an_unchanged_pipeline_raise_nothing(pipeline: Pipeline, told: Told) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(pipeline.run, range(RUNS)))
    told.wait_until_counted(RUNS * len(KNOWN), is_novel=False)
    known = told.prometheus.stored(told.connections(is_novel=False))
    assert len({series.labels["instance"] for series in known}) == RUNS
    told.wait_for_evaluations()
    assert told.all_raised == []
    assert told.prometheus.stored(told.connections()) == []
    assert (told.alerts, told.paged) == ([], [])


def test_a_novel_destination_is_an_alert_within_two_intervals_and_once(
    pipeline: Pipeline, told: Told
) -> None:
    with ThreadPoolExecutor(1) as pool:
        arrival = pool.submit(first_exposed, pipeline)
        pipeline.run(0, V4.evil)
        arrived_s = arrival.result()
    wait_until(lambda: bool(told.alerts), within_s=ARRIVAL_WITHIN_S)
    (alert,) = told.alerts
    assert (alert.state, alert.labels["server_address"]) == ("active", V4.evil)
    assert_is_in_time(told, arrived_s)
    told.wait_until_paged("firing")

    pipeline.run(1, V4.evil)
    told.wait_until_counted(2)
    told.wait_for_evaluations()
    (same,), (raised,) = told.alerts, told.raised
    assert (same.started_s, raised.labels["alertstate"]) == (alert.started_s, "firing")
    assert told.paged == ["firing"]


def first_exposed(pipeline: Pipeline) -> float:
    """When the collector shows a novel connection of the pipeline, or a little later: never too early."""
    deadline_s = monotonic() + ARRIVAL_WITHIN_S
    while monotonic() < deadline_s:
        lines = urllib3.request("GET", pipeline.stack.collector_metrics_url).data.decode().splitlines()
        if any(f'"{pipeline.name}"' in line and 'egress_novel="true"' in line for line in lines):
            return time()
        sleep(0.005)
    raise AssertionError("nothing is novel")


def assert_is_in_time(told: Told, arrived_s: float) -> None:
    """Within two intervals, by the servers' own times and but for what these say that they were late.

    A rule that needs one more evaluation, or a second rule in between, takes three.
    """
    (alert,), (series,) = told.alerts, told.prometheus.stored(told.connections())
    (scrapes,) = told.prometheus.stored('up{job="otel-collector"}')
    (durations,) = told.prometheus.stored('scrape_duration_seconds{job="otel-collector"}')
    scraped_s = series.moments_s[0]
    before_s = max(at_s for at_s in scrapes.moments_s if at_s < scraped_s)
    late_s = max(0.0, scraped_s - before_s - INTERVAL_S)
    slow_s = STORED_WITHIN_S + dict(durations.samples)[scraped_s] + INTERVAL_S * evaluations_missed(told)
    assert scraped_s - arrived_s <= INTERVAL_S + late_s
    assert alert.started_s - scraped_s <= INTERVAL_S + slow_s
    assert alert.started_s - arrived_s <= 2 * INTERVAL_S + late_s + slow_s
    assert alert.updated_s - alert.started_s <= HANDED_OVER_WITHIN_S


def evaluations_missed(told: Told) -> float:
    """How many of the alert's own Prometheus left out lately, since the one before took too long."""
    missed = 'prometheus_rule_group_iterations_missed_total{rule_group=~".*;cicd-egress-novelty"}'
    return sum(told.prometheus.now(f"{missed} - {missed} offset 10s").values())
