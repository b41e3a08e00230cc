"""What goes wrong is on the exporter's dashboard: what waits, is lost, is too much, or is nobody's."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.stack.servers import running_stack
from tests.dashboards import dashboards, panel_of
from tests.integration.receivers import Answer, collector
from tests.kernel.watching import watching
from tests.stack.conftest import wait_until
from tests.stack.dashboard_queries import Servers, Span, View

pytestmark = [pytest.mark.alone, pytest.mark.stack, pytest.mark.kernel, pytest.mark.timeout(900)]

UID = "ci-egress-exporter"
FLOOD, HOSTS = 300, 230
_MINUTE_S = 60


class Machine:
    """One whose traces are answered with a status, and what its dashboard shows at the moment."""

    def __init__(self, servers: Servers) -> None:
        self.trace_status = 200
        self._servers = servers
        self._from_s = time.time() // _MINUTE_S * _MINUTE_S

    def view(self) -> View:
        until_s = math.ceil(time.time() / _MINUTE_S) * _MINUTE_S
        return View(dashboards()[UID], self._servers, Span(self._from_s, until_s), {})

    def number(self, title: str) -> float:
        shown = self.view().number(panel_of(UID, title))
        assert shown is not None
        return shown

    def adds_up(self) -> bool:
        """Not while a scrape falls into the middle of what an exporter sends."""
        (line,) = self.view().table(panel_of(UID, "Account of each exporter"))
        unaccounted, attempts, *parts = line[3:]
        is_whole = unaccounted == 0 and self.number("Unaccounted") == 0
        return is_whole and attempts == sum(parts) and attempts >= FLOOD + HOSTS

    def table(self, title: str) -> dict[tuple[str | None, ...], float]:
        return {tuple(line[:-1]): line[-1] for line in self.view().table(panel_of(UID, title))}

    def peaks(self, title: str) -> dict[str, float]:
        return {legend: max(points) for legend, points in self.view().curves(panel_of(UID, title)).items()}

    def sums(self, title: str) -> dict[str, float]:
        return {legend: sum(points) for legend, points in self.view().curves(panel_of(UID, title)).items()}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """`watch` on this machine, where this process belongs to no job; metrics go to the collector.

    For one test: between two, others may be alone.
    """
    with (
        running_stack(tmp_path / "stack", servers=("collector", "prometheus")) as stack,
        collector(lambda _: Answer(found.trace_status)) as traces,
    ):
        found = Machine(Servers(stack.prometheus_url, stack.jaeger_url))
        settings = stack.otlp_environ() | {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{traces.url}/v1/traces",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        }
        with watching(tmp_path, env=settings, to_files=False):
            yield found


def connect_a_lot() -> None:
    """A flood at one peer, and more hosts than are told apart."""
    peers = [("127.0.0.1", 9)] * FLOOD + [(f"127.0.1.{number}", 9) for number in range(1, HOSTS + 1)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        for peer in peers:
            sending.sendto(b"", peer)


def test_what_waits_is_pending_until_it_is_refused_and_then_dropped(machine: Machine) -> None:
    machine.trace_status = 503
    connect_a_lot()
    wait_until(lambda: machine.number("Pending") > 0)
    wait_until(machine.adds_up)
    assert max(machine.peaks("Pending by stage").values()) > 0

    machine.trace_status = 400
    wait_until(lambda: machine.number("Dropped") >= FLOOD + HOSTS)
    wait_until(machine.adds_up)
    dropped = machine.table("Dropped, by stage and reason")
    assert dropped.keys() == {("export", "400")}
    assert machine.sums("What became of the attempts")["dropped"] >= FLOOD + HOSTS


def test_a_flood_is_aggregated_and_the_account_of_the_exporter_adds_up(machine: Machine) -> None:
    machine.trace_status = 200
    connect_a_lot()
    wait_until(lambda: machine.number("Aggregated") > 0)
    wait_until(machine.adds_up)


def test_what_belongs_to_no_job_is_unattributed(machine: Machine) -> None:
    connect_a_lot()
    reason = ("no_job",)
    wait_until(lambda: machine.table("Unattributed, by reason").get(reason, 0) > 0)
    assert machine.sums("Unattributed by reason")["no_job"] > 0
    assert 0 < machine.number("Unattributed") <= 1


def test_hosts_beyond_the_limit_are_told(machine: Machine) -> None:
    connect_a_lot()
    of_no_pipeline = (None,)
    title = "Destinations beyond the limit"
    wait_until(lambda: machine.table(title).get(of_no_pipeline, 0) > 0)
