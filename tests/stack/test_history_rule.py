"""The alert that needs no baseline, on a real Prometheus that has nine days of history."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from demo.stack.servers import DEFAULT_PORTS, Binaries, Stack, free_ports, make_stack, prepare
from tests.stack.apis import JsonObject, get
from tests.stack.conftest import wait_until
from tests.stack.exposition import SEEN, Connections, exposing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(900)  # the first one may wait for the servers' build

ALERT = "CICDEgressNovelDestinationByHistory"
HOUR_S = 3600
HALF_DAY_S = 12 * HOUR_S
DAY_S = 24 * HOUR_S
NEVER_PAST_S = 3 * HOUR_S
"""Nothing later is filled in, since Prometheus would still have it in memory."""


@pytest.fixture
def binaries() -> Binaries:
    """The servers' programs and tools."""
    return prepare()


@pytest.fixture
def stack(binaries: Binaries, tmp_path: Path) -> Iterator[Stack]:
    """Servers that don't run yet, so that there can be a history before."""
    with free_ports(*DEFAULT_PORTS) as ports:
        servers = make_stack(tmp_path, binaries, ports, interval_s=1.0)
        try:
            yield servers
        finally:
            servers.prometheus.stop()


def past() -> dict[Connections, tuple[int, int]]:
    """From when to when each series was there, in days ago. A runner lives for a day."""
    steady = {Connections("app", "registry.example", f"app-{day}"): (day + 1, day) for day in range(9)}
    paused = {Connections("paused", "mirror.example", f"paused-{day}"): (day + 1, day) for day in (7, 8)}
    return steady | paused


NOW = [
    Connections("app", "registry.example", "app-today"),
    Connections("app", "beacon.example", "app-today"),
    Connections("paused", "mirror.example", "paused-today"),
    Connections("paused", "beacon.example", "paused-today"),
    Connections("new", "registry.example", "new-today"),
    Connections("new", "beacon.example", "new-today"),
]


def test_after_days_of_history_only_what_is_new_fires(stack: Stack, binaries: Binaries) -> None:
    data = stack.prometheus.folder / "data"
    end_s = int(time.time()) - NEVER_PAST_S
    samples = stack.prometheus.folder / "history.txt"
    data.mkdir(parents=True)
    samples.write_text(open_metrics(end_s))
    fill = ("tsdb", "create-blocks-from", "openmetrics", samples, data)
    filled = subprocess.run([binaries.promtool, *fill], capture_output=True, text=True, check=False)
    assert filled.returncode == 0, filled.stderr

    with exposing(stack.ports["collector_metrics"]) as collector:
        stack.prometheus.start()
        collector.show(NOW)
        expected = {("app", "beacon.example"), ("paused", "beacon.example")}
        wait_until(lambda: firing(stack) >= expected)
        # One scrape brought all of them, and one evaluation saw them.
        assert firing(stack) == expected
        wait_until(lambda: "unknown" not in healths(stack))  # of a group whose turn hasn't come
        assert healths(stack) == {"ok"}


def open_metrics(end_s: int) -> str:
    """The past as promtool reads it: what runners told twice a day, and what was recorded of it."""
    moments = {
        series: range(end_s - first * DAY_S, end_s - last * DAY_S, HALF_DAY_S)
        for series, (first, last) in past().items()
    }
    told = [series.line(1, at_s) for series, when in moments.items() for at_s in when]
    recorded = [series.seen(at_s) for series, when in moments.items() for at_s in when]
    return "".join(
        [
            "# TYPE cicd_egress_connections counter\n",
            *told,
            f"# TYPE {SEEN} gauge\n",
            *recorded,
            "# EOF\n",
        ]
    )


def firing(stack: Stack) -> set[tuple[str, str]]:
    """Pipeline and destination of each alert that fires."""
    alerts: list[JsonObject] = get(f"{stack.prometheus_url}/api/v1/alerts")["data"]["alerts"]
    return {
        (alert["labels"]["cicd_pipeline_name"], alert["labels"]["server_address"])
        for alert in alerts
        if alert["labels"]["alertname"] == ALERT and alert["state"] == "firing"
    }


def healths(stack: Stack) -> set[str]:
    """Of all rules."""
    groups: list[JsonObject] = get(f"{stack.prometheus_url}/api/v1/rules")["data"]["groups"]
    return {rule["health"] for group in groups for rule in group["rules"]}
