"""A real OpenTelemetry Collector, built from the Go module proxy and started on free loopback ports."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

import pytest

from demo.stack.servers import Stack, free_ports, prepare, running_stack
from exporter.common.errors import CiEgressError
from tests.checkout import ROOT
from tests.launch import whole_lines
from tests.stack.pager import Pages, taking_pages
from tests.turns import turn_left

WITHIN_S = 120.0
"""Long enough for a machine that has much else to do: only a failure takes that long."""
JsonObject = dict[str, Any]


class Collector:
    """Starts, stops and starts again on the same ports; what it received stands in files."""

    def __init__(self, binary: Path, certificates: Path, directory: Path, ports: Mapping[str, int]) -> None:
        self._binary = binary
        self._certificates = certificates
        self._directory = directory
        self._ports = ports
        self._process: subprocess.Popen[bytes] | None = None
        self._config = directory / "collector.yaml"
        template = Template(Path(__file__).with_name("collector.yaml").read_text())
        self._config.write_text(template.substitute(ports, certificates=certificates, directory=directory))

    def environ(self, protocol: str) -> dict[str, str]:
        """The variables that lead telemetry here."""
        port = self._ports["grpc" if protocol == "grpc" else "http"]
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        }

    def tls_environ(self, protocol: str) -> dict[str, str]:
        """The same for the ports where both sides show a certificate."""
        port = self._ports["grpcs" if protocol == "grpc" else "https"]
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(self._certificates / "ca.pem"),
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(self._certificates / "client.pem"),
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(self._certificates / "client.key"),
        }

    def start(self) -> None:
        """Start it and wait until it listens."""
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen([self._binary, "--config", self._config], stdout=log, stderr=log)
        wait_until(self._ready)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def spans(self) -> list[tuple[JsonObject, JsonObject, JsonObject]]:
        """(resource, scope, span) of every span that arrived."""
        return [
            (by_resource["resource"], by_scope["scope"], span)
            for by_resource in self._received("traces")
            for by_scope in by_resource["scopeSpans"]
            for span in by_scope["spans"]
        ]

    def metrics(self) -> list[tuple[JsonObject, JsonObject, JsonObject]]:
        """(resource, scope, metric) of every metric that arrived."""
        return [
            (by_resource["resource"], by_scope["scope"], metric)
            for by_resource in self._received("metrics")
            for by_scope in by_resource["scopeMetrics"]
            for metric in by_scope["metrics"]
        ]

    def logs(self) -> list[tuple[JsonObject, JsonObject, JsonObject]]:
        """(resource, scope, record) of every log record that arrived."""
        return [
            (by_resource["resource"], by_scope["scope"], record)
            for by_resource in self._received("logs")
            for by_scope in by_resource["scopeLogs"]
            for record in by_scope["logRecords"]
        ]

    def _received(self, signal: str) -> list[JsonObject]:
        lines = whole_lines(self._directory / f"{signal}.jsonl")
        key = {"traces": "resourceSpans", "metrics": "resourceMetrics", "logs": "resourceLogs"}[signal]
        return [entry for line in lines for entry in json.loads(line)[key]]

    def _ready(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self._directory / "log").read_text()
        return all(listens(port) for port in self._ports.values())


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], *, within_s: float = WITHIN_S) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {within_s} s"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def otelcol() -> Path:
    """The Collector's binary, built if need be: minutes, and the Go module proxy."""
    script = ROOT / "tools/stack/servers.sh"
    with turn_left():
        built = subprocess.run([script, "otelcol"], capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.fail(f"the Collector can't be built:\n{built.stderr}", pytrace=False)
    return Path(built.stdout.split()[1])


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and a server (127.0.0.1) and a client that it vouches for."""
    directory = tmp_path_factory.mktemp("certificates")
    request = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    authority = directory / "ca"
    openssl(*request, "-subj", "/CN=ca", "-keyout", f"{authority}.key", "-out", f"{authority}.pem")
    for name in ("server", "client"):
        own = directory / name
        issuer = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key")
        extensions = ("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE")
        openssl(
            *request,
            *issuer,
            *extensions,
            "-subj",
            f"/CN={name}",
            "-keyout",
            f"{own}.key",
            "-out",
            f"{own}.pem",
        )
    return directory


@pytest.fixture
def collector(otelcol: Path, certificates: Path, tmp_path: Path) -> Iterator[Collector]:
    """A Collector that runs."""
    with free_ports("http", "grpc", "https", "grpcs") as ports:
        running = Collector(otelcol, certificates, tmp_path, ports)
        try:
            running.start()
            yield running
        finally:
            running.kill()


@pytest.fixture(scope="session")
def pages() -> Iterator[Pages]:
    """What the Alertmanager of `stack` tells."""
    with taking_pages() as pages:
        yield pages


@pytest.fixture(scope="package")  # its rules take a tenth of a processor: not beside what comes after
def stack(pages: Pages, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The four servers with the project's configuration, one of each for all tests."""
    try:
        with turn_left():
            binaries = prepare()
    except CiEgressError as error:
        pytest.fail(str(error), pytrace=False)
    folder = tmp_path_factory.mktemp("stack")
    with running_stack(folder, binaries=binaries, webhook_url=pages.url) as running:
        yield running
