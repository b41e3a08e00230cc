"""The alert on a novel destination, on real servers: in time, once, and never for an unchanged pipeline."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

import pytest
import urllib3

from tests.kernel.lab import V4, Lab
from tests.kernel.tracing import trace
from tests.stack.builds import INTERVAL_S, KNOWN, baseline_of, connecting, telemetry, variables
from tests.stack.conftest import wait_until
from tests.stack.pipeline_signals import Told, wait_until_scraping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from demo.stack.servers import Stack
    from tests.stack.pager import Pages

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(900)]  # the first one may wait for the servers' build

RUNS = 30
AT_ONCE = 2
REMINDED_AFTER_S = 60.0
"""Prometheus tells Alertmanager at once, and then that often."""
MISSED = 'prometheus_rule_group_iterations_missed_total{rule_group=~".*;cicd-egress-novelty"}'
"""Evaluations of the alert's own that Prometheus left out, since the one before took too long."""


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
    missed = sum(told.prometheus.now(MISSED).values())
    with ThreadPoolExecutor(2) as pool:
        arrival = pool.submit(moment_of, lambda: is_exposed(pipeline))
        storing = pool.submit(moment_of, lambda: bool(told.prometheus.stored(told.connections())))
        pipeline.run(0, V4.evil)
        arrived_s, stored_s = arrival.result(), storing.result()
    wait_until(lambda: bool(told.alerts))
    (alert,) = told.alerts
    assert (alert.state, alert.labels["server_address"]) == ("active", V4.evil)
    told.wait_for_evaluations()
    missed = sum(told.prometheus.now(MISSED).values()) - missed
    assert_is_scraped_in_time(told, arrived_s)
    # The first evaluation that can see it. A rule that needs one more, or a second rule in between, is late.
    assert alert.started_s - stored_s <= INTERVAL_S * (1 + missed)
    assert alert.updated_s - alert.started_s < REMINDED_AFTER_S
    told.wait_until_paged("firing")

    pipeline.run(1, V4.evil)
    told.wait_until_counted(2)
    told.wait_for_evaluations()
    (same,), (raised,) = told.alerts, told.raised
    assert (same.started_s, raised.labels["alertstate"]) == (alert.started_s, "firing")
    assert told.paged == ["firing"]


def moment_of(is_so: Callable[[], bool]) -> float:
    """When it comes to be so, or a little later: never too early."""
    wait_until(is_so)
    return time()


def is_exposed(pipeline: Pipeline) -> bool:
    """Whether the collector shows a novel connection of the pipeline."""
    lines = urllib3.request("GET", pipeline.stack.collector_metrics_url).data.decode().splitlines()
    return any(f'"{pipeline.name}"' in line and 'egress_novel="true"' in line for line in lines)


def assert_is_scraped_in_time(told: Told, arrived_s: float) -> None:
    """Within an interval, by Prometheus's own times and but for what these say that it was late."""
    (series,) = told.prometheus.stored(told.connections())
    (scrapes,) = told.prometheus.stored('up{job="otel-collector"}')
    scraped_s = series.moments_s[0]
    before_s = max(at_s for at_s, is_up in scrapes.samples if is_up and at_s < scraped_s)
    assert scraped_s - arrived_s <= max(INTERVAL_S, scraped_s - before_s)
