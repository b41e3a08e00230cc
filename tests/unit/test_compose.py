"""deploy/compose.yaml fits the files that it mounts: names, ports, paths; and has few rights."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml

from tests.checkout import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPOSE = ROOT / "deploy" / "compose.yaml"
DASHBOARDS = ROOT / "dashboards"
CONFIGS = {"otel-collector": ROOT / "otel-collector.yaml", "jaeger": ROOT / "deploy" / "jaeger.yaml"}
"""Those that take their addresses from the environment."""
VARIABLE = re.compile(r"\$\{env:(?P<name>\w+):-(?P<default>[^}]*)\}")
OWN_PORTS = {"prometheus": 9090, "alertmanager": 9093, "grafana": 3000}
"""Where the images of the others listen, on all addresses, unless they are told otherwise."""
UNCHECKED = {"otel-collector"}
"""Whose image has nothing that could ask."""


class Mount(NamedTuple):
    """A volume of a service, in the short syntax."""

    source: str
    target: str
    is_read_only: bool

    @property
    def is_file(self) -> bool:
        """Whether it is of this checkout; else a named volume."""
        return self.source.startswith(".")

    @property
    def path(self) -> Path:
        """In the checkout."""
        return (COMPOSE.parent / self.source).resolve()


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


COMPOSED: dict[str, Any] = load(COMPOSE)
SERVICES: dict[str, dict[str, Any]] = COMPOSED["services"]
each_service = pytest.mark.parametrize("name", SERVICES)


def mounts(name: str) -> list[Mount]:
    split = (each.split(":") for each in SERVICES[name].get("volumes", ()))
    return [Mount(source, target, mode == ["ro"]) for source, target, *mode in split]


def variables(name: str) -> dict[str, str]:
    """What a service's file asks the environment for, with what it takes without an answer."""
    return {each["name"]: each["default"] for each in VARIABLE.finditer(CONFIGS[name].read_text())}


def listening(name: str) -> set[int]:
    """Ports that a service serves to other containers."""
    if name not in CONFIGS:
        return {OWN_PORTS[name]}
    addresses = (each for each in SERVICES[name]["environment"].values() if each.startswith("0.0.0.0:"))
    return {int(address.rpartition(":")[2]) for address in addresses}


def assert_is_served(address: str, *, asked_by: str) -> None:
    """HOST:PORT, as a container of the network reaches it."""
    host, _, port = address.rpartition(":")
    assert int(port) in listening(asked_by if host == "localhost" else host)


@each_service
def test_images_are_of_a_stated_version(name: str) -> None:
    assert re.fullmatch(r"[a-z-]+/[a-z-]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"])


def test_the_collector_is_of_the_version_that_tests_run() -> None:
    recipe = load(ROOT / "tools" / "stack" / "otelcol" / "builder.yaml")
    assert SERVICES["otel-collector"]["image"].rpartition(":")[2] == recipe["dist"]["version"]


@each_service
def test_mounted_files_are_there_and_cannot_be_written(name: str) -> None:
    files = [mount for mount in mounts(name) if mount.is_file]
    assert files
    assert [mount for mount in files if not (mount.path.exists() and mount.is_read_only)] == []


def test_each_stored_volume_is_declared_and_one_services() -> None:
    used = [mount.source for name in SERVICES for mount in mounts(name) if not mount.is_file]
    assert sorted(used) == sorted(COMPOSED["volumes"])


@each_service
def test_nothing_is_published_beyond_loopback(name: str) -> None:
    for published in SERVICES[name]["ports"]:
        address, outside, inside = published.split(":")
        assert (address, outside) == ("127.0.0.1", inside)
        assert int(inside) in listening(name)


@each_service
def test_services_have_no_rights_to_speak_of(name: str) -> None:
    service = SERVICES[name]
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert service["read_only"]
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc"} & service.keys()


@each_service
def test_health_is_asked_of_where_a_service_listens(name: str) -> None:
    if name in UNCHECKED:
        assert "healthcheck" not in SERVICES[name]
        return
    url = urlsplit(SERVICES[name]["healthcheck"]["test"][-1])
    own = (
        {int(each.rpartition(":")[2]) for each in variables(name).values() if ":" in each}
        if name in CONFIGS
        else set()
    )
    assert url.hostname == "127.0.0.1"
    assert url.port in listening(name) | own


@pytest.mark.parametrize("name", CONFIGS)
def test_the_environment_sets_what_the_file_asks_for(name: str) -> None:
    assert SERVICES[name]["environment"].keys() <= variables(name).keys()


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_stored_is_where_the_volume_is(name: str) -> None:
    environment = SERVICES[name]["environment"]
    (state,) = [value for variable, value in environment.items() if variable.endswith("_STATE")]
    assert state in {mount.target for mount in mounts(name) if not mount.is_file}


def test_the_collector_sends_traces_to_where_jaeger_takes_them() -> None:
    assert_is_served(SERVICES["otel-collector"]["environment"]["JAEGER_OTLP"], asked_by="otel-collector")


def test_prometheus_scrapes_and_tells_services_at_their_ports() -> None:
    config = load(DASHBOARDS / "prometheus" / "prometheus.yaml")
    asked = (*config["scrape_configs"], *config["alerting"]["alertmanagers"])
    targets = [target for each in asked for group in each["static_configs"] for target in group["targets"]]
    assert {target.rpartition(":")[0] for target in targets} == {
        "otel-collector",
        "alertmanager",
        "localhost",
    }
    for target in targets:
        assert_is_served(target, asked_by="prometheus")


def test_grafana_asks_services_at_their_ports() -> None:
    sources = load(DASHBOARDS / "grafana" / "provisioning" / "datasources" / "ci-egress.yaml")["datasources"]
    addresses = [urlsplit(source["url"]).netloc for source in sources]
    assert {address.partition(":")[0] for address in addresses} == {"prometheus", "jaeger"}
    for address in addresses:
        assert_is_served(address, asked_by="grafana")


def test_grafana_finds_the_dashboards_where_they_are_mounted() -> None:
    providers = load(DASHBOARDS / "grafana" / "provisioning" / "dashboards" / "ci-egress.yaml")["providers"]
    (mount,) = [each for each in mounts("grafana") if each.path == DASHBOARDS / "grafana"]
    assert [each["options"]["path"] for each in providers] == [mount.target]
    assert list(mount.path.glob("*.json"))


def configured(name: str) -> Iterator[PurePosixPath]:
    """The configuration files that a service's command line names."""
    for argument in SERVICES[name].get("command", ()):
        option, _, value = argument.partition("=")
        if option in {"--config", "--config.file"}:
            yield PurePosixPath(value)


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"grafana"}))
def test_the_configuration_of_the_command_line_is_a_file_of_this_checkout(name: str) -> None:
    (config,) = configured(name)
    (mount,) = [each for each in mounts(name) if config.is_relative_to(each.target)]
    assert (mount.path / config.relative_to(mount.target)).is_file()


def test_rules_are_mounted_beside_the_file_that_names_them() -> None:
    (config,) = configured("prometheus")
    (mount,) = [each for each in mounts("prometheus") if each.is_file]
    assert str(config.parent) == mount.target
    for rules in load(mount.path / config.name)["rule_files"]:
        assert (mount.path / rules).is_file()
