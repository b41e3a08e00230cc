"""The project's own configuration files, for servers on other ports and with shorter intervals.

The collector and Jaeger read ports from the environment, so their files are used unchanged. Prometheus and
Alertmanager know no variables: their files are read, changed where they must be, and written anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from exporter.common.errors import CiEgressError

if TYPE_CHECKING:
    from collections.abc import Mapping

Config = dict[str, Any]


def render_prometheus(source: Path, target: Path, *, ports: Mapping[int, int], interval_s: float) -> None:
    """Write Prometheus's file for other ports, with `interval_s` between scrapes and evaluations.

    Raises:
        CiEgressError: a target has a port that isn't in `ports`.
    """
    config = _load(source)
    config["global"] = config.get("global", {}) | {
        "scrape_interval": _duration(interval_s),
        "scrape_timeout": _duration(interval_s),
        "evaluation_interval": _duration(interval_s),
    }
    alertmanagers = config.get("alerting", {}).get("alertmanagers", [])
    for scrape in (*config["scrape_configs"], *alertmanagers):
        scrape.pop("scrape_interval", None)
        scrape.pop("scrape_timeout", None)
        for group in scrape.get("static_configs", ()):
            group["targets"] = [_moved(each, ports, source) for each in group["targets"]]
    target.parent.mkdir(parents=True, exist_ok=True)
    rules = [path for pattern in config.get("rule_files", ()) for path in sorted(source.parent.glob(pattern))]
    config["rule_files"] = [str(_without_intervals(path, target.parent / path.name)) for path in rules]
    _write(target, config)


def render_alertmanager(source: Path, target: Path, *, webhook_url: str | None, interval_s: float) -> None:
    """Write Alertmanager's file with the same routes, which notify after `interval_s`, and other receivers.

    Each receiver posts to `webhook_url` followed by `/` and its name; without a URL it does nothing.
    """
    config = _load(source)
    config["receivers"] = [_receiver(each["name"], webhook_url) for each in config["receivers"]]
    config.pop("global", None)  # credentials of the former receivers
    _hurry(config["route"], interval_s)
    _write(target, config)


def _receiver(name: str, webhook_url: str | None) -> Config:
    if webhook_url is None:
        return {"name": name}
    return {"name": name, "webhook_configs": [{"url": f"{webhook_url}/{name}", "send_resolved": True}]}


def _hurry(route: Config, interval_s: float) -> None:
    for wait in ("group_wait", "group_interval"):
        if wait in route:
            route[wait] = _duration(interval_s)
    for child in route.get("routes", ()):
        _hurry(child, interval_s)


def _moved(address: str, ports: Mapping[int, int], source: Path) -> str:
    port = int(address.rpartition(":")[2])
    if port not in ports:
        raise CiEgressError(
            f"{source}: which server is {address}?", hint=f"the stack knows ports {sorted(ports)}"
        )
    return f"127.0.0.1:{ports[port]}"


def _without_intervals(source: Path, target: Path) -> Path:
    """Copy rules without their groups' own intervals, which are longer than the whole run."""
    rules = _load(source)
    for group in rules["groups"]:
        group.pop("interval", None)
    _write(target, rules)
    return target


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _load(path: Path) -> Config:
    loaded: Config = yaml.safe_load(path.read_text())
    return loaded


def _write(path: Path, config: Config) -> None:
    path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
