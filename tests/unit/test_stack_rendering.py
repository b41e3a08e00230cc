"""The project's configuration of Prometheus and Alertmanager, for servers on other ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from demo.stack.rendering import render_alertmanager, render_prometheus
from demo.stack.servers import ALERTMANAGER_CONFIG, DEFAULT_PORTS, PROMETHEUS_CONFIG
from exporter.common.errors import CiEgressError

if TYPE_CHECKING:
    from pathlib import Path

MOVED = {port: port + 10_000 for port in DEFAULT_PORTS.values()}


def written(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def targets(scrapes: list[dict[str, Any]]) -> list[str]:
    return [target for scrape in scrapes for group in scrape["static_configs"] for target in group["targets"]]


def test_prometheus_finds_every_server_at_its_new_port(tmp_path: Path) -> None:
    rendered = tmp_path / "prometheus.yaml"
    render_prometheus(PROMETHEUS_CONFIG, rendered, ports=MOVED, interval_s=0.5)
    before, after = written(PROMETHEUS_CONFIG), written(rendered)
    ports = [int(target.rpartition(":")[2]) for target in targets(before["scrape_configs"])]
    assert targets(after["scrape_configs"]) == [f"127.0.0.1:{MOVED[port]}" for port in ports]
    assert targets(after["alerting"]["alertmanagers"]) == [f"127.0.0.1:{MOVED[9093]}"]
    assert after["global"]["scrape_interval"] == after["global"]["evaluation_interval"] == "500ms"
    relabels = "alert_relabel_configs"
    assert after["alerting"][relabels] == before["alerting"][relabels]


def test_prometheus_evaluates_the_same_rules_at_one_interval(tmp_path: Path) -> None:
    rendered = tmp_path / "prometheus.yaml"
    render_prometheus(PROMETHEUS_CONFIG, rendered, ports=MOVED, interval_s=0.5)
    names = written(PROMETHEUS_CONFIG)["rule_files"]
    copies = written(rendered)["rule_files"]
    assert copies == [str(tmp_path / name) for name in names]
    for name in names:
        before, after = written(PROMETHEUS_CONFIG.parent / name), written(tmp_path / name)
        assert [group["rules"] for group in after["groups"]] == [group["rules"] for group in before["groups"]]
        assert not any("interval" in group for group in after["groups"])


def test_a_target_that_is_no_server_of_the_stack_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source.yaml"
    source.write_text("scrape_configs: [{job_name: x, static_configs: [{targets: ['elsewhere:1234']}]}]\n")
    with pytest.raises(CiEgressError, match="which server is elsewhere:1234"):
        render_prometheus(source, tmp_path / "prometheus.yaml", ports=MOVED, interval_s=1)


@pytest.mark.parametrize("webhook_url", [None, "http://127.0.0.1:4711/pages"])
def test_alertmanager_keeps_its_routes_and_tells_nobody_else(tmp_path: Path, webhook_url: str | None) -> None:
    rendered = tmp_path / "alertmanager.yaml"
    render_alertmanager(ALERTMANAGER_CONFIG, rendered, webhook_url=webhook_url, interval_s=0.5)
    before, after = written(ALERTMANAGER_CONFIG), written(rendered)
    names = [receiver["name"] for receiver in before["receivers"]]
    assert [receiver["name"] for receiver in after["receivers"]] == names
    assert after["route"]["receiver"] == before["route"]["receiver"]
    assert after["route"]["group_wait"] == after["route"]["group_interval"] == "500ms"
    urls = [hook["url"] for receiver in after["receivers"] for hook in receiver.get("webhook_configs", [])]
    assert urls == ([f"{webhook_url}/{name}" for name in names] if webhook_url else [])
