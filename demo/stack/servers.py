"""Collector, Jaeger, Prometheus and Alertmanager on free loopback ports, with the project's configuration.

    with running_stack(folder) as stack:
        environ = stack.otlp_environ()
        …
        stack.collector.kill()
        stack.collector.start()

All their data and logs are in the folder. They are stopped when the block ends.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from demo.stack.process import Server, wait_until_ready
from demo.stack.rendering import render_alertmanager, render_prometheus
from exporter.common.errors import CiEgressError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROJECT = Path(__file__).resolve().parents[2]
COLLECTOR_CONFIG = PROJECT / "otel-collector.yaml"
JAEGER_CONFIG = PROJECT / "deploy/jaeger.yaml"
PROMETHEUS_CONFIG = PROJECT / "dashboards/prometheus/prometheus.yaml"
ALERTMANAGER_CONFIG = PROJECT / "dashboards/alertmanager.yaml"

DEFAULT_PORTS = {
    "otlp_grpc": 4317,
    "otlp_http": 4318,
    "collector_metrics": 9464,
    "collector_health": 13134,
    "collector_self": 8888,
    "jaeger_otlp": 14317,
    "jaeger": 16686,
    "jaeger_grpc": 16685,
    "jaeger_health": 13133,
    "prometheus": 9090,
    "alertmanager": 9093,
}
"""The ports that the servers have in the project's configuration files."""


@dataclass(frozen=True)
class Binaries:
    """The paths of the servers' programs."""

    otelcol: Path
    jaeger: Path
    prometheus: Path
    promtool: Path
    alertmanager: Path
    amtool: Path


@dataclass(frozen=True)
class Stack:
    """The four servers, which can be started, stopped and killed, and their ports."""

    collector: Server
    jaeger: Server
    prometheus: Server
    alertmanager: Server
    ports: Mapping[str, int]
    folder: Path

    @property
    def otlp_http_url(self) -> str:
        """The URL at which the collector accepts OTLP over HTTP."""
        return self._url("otlp_http")

    @property
    def otlp_grpc_url(self) -> str:
        """The URL at which the collector accepts OTLP over gRPC."""
        return self._url("otlp_grpc")

    @property
    def collector_metrics_url(self) -> str:
        """The URL of the metrics of all jobs, which Prometheus scrapes."""
        return f"{self._url('collector_metrics')}/metrics"

    @property
    def collector_self_url(self) -> str:
        """The URL of the collector's metrics about itself."""
        return f"{self._url('collector_self')}/metrics"

    @property
    def jaeger_url(self) -> str:
        """The URL of Jaeger's interface, for people and for programs."""
        return self._url("jaeger")

    @property
    def prometheus_url(self) -> str:
        """The URL of Prometheus's interface."""
        return self._url("prometheus")

    @property
    def alertmanager_url(self) -> str:
        """The URL of Alertmanager's interface."""
        return self._url("alertmanager")

    @property
    def log_records(self) -> Path:
        """The file to which the collector writes log records, as lines of OTLP/JSON."""
        return self.folder / "collector/logs/ci-egress.jsonl"

    def otlp_environ(self, protocol: str = "http/protobuf") -> dict[str, str]:
        """Return the variables with which an exporter sends its telemetry to this stack."""
        url = self.otlp_grpc_url if protocol == "grpc" else self.otlp_http_url
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}

    def _url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"


def prepare() -> Binaries:
    """Find the programs; build or unpack missing ones, with messages on stderr, which takes minutes.

    Raises:
        CiEgressError: a server can't be built here; it has the script's messages.
    """
    script = PROJECT / "tools/stack/servers.sh"
    said: list[str] = []
    pipe = subprocess.PIPE
    with subprocess.Popen([script], stdout=pipe, stderr=pipe, text=True, process_group=0) as running:
        assert running.stdout
        assert running.stderr
        try:
            for line in running.stderr:
                print(line, end="", file=sys.stderr, flush=True)
                said.append(line)
            paths = dict(line.split() for line in running.stdout)
        except KeyboardInterrupt:
            os.killpg(running.pid, signal.SIGTERM)
            running.stderr.read()  # until the script and its last child have ended
            running.wait()
            raise
    if running.returncode:
        raise CiEgressError(f"the servers can't be prepared:\n{''.join(said)}")
    return Binaries(**{name: Path(path) for name, path in paths.items()})


@contextmanager
def running_stack(
    folder: Path,
    *,
    binaries: Binaries | None = None,
    interval_s: float = 1.0,
    webhook_url: str | None = None,
    servers: Sequence[str] = ("jaeger", "collector", "alertmanager", "prometheus"),
) -> Iterator[Stack]:
    """Start `servers`, wait until all of them serve, and stop them in the end.

    Args:
        folder: The folder for their data and logs.
        binaries: Their programs; by default the result of `prepare`.
        interval_s: How often Prometheus scrapes and evaluates, and how long Alertmanager waits for more.
        webhook_url: The URL, to be followed by `/` and a receiver's name, that Alertmanager posts to, if any.
        servers: The servers to start; others can be started later.

    Raises:
        CiEgressError: a server doesn't start; it has the end of the server's log.
    """
    programs = binaries or prepare()
    with ExitStack() as stops:
        ports = stops.enter_context(free_ports(*DEFAULT_PORTS))
        stack = make_stack(folder.absolute(), programs, ports, interval_s=interval_s, webhook_url=webhook_url)
        chosen: list[Server] = [getattr(stack, name) for name in servers]
        for server in (stack.jaeger, stack.alertmanager, stack.prometheus, stack.collector):
            stops.callback(server.stop)
        for server in chosen:
            server.launch()
        wait_until_ready(chosen)
        yield stack


def make_stack(
    folder: Path,
    binaries: Binaries,
    ports: Mapping[str, int],
    *,
    interval_s: float,
    webhook_url: str | None = None,
) -> Stack:
    """Make the servers, which aren't started yet; `ports` are named as in DEFAULT_PORTS."""
    return Stack(
        collector=_collector(folder / "collector", binaries.otelcol, ports),
        jaeger=_jaeger(folder / "jaeger", binaries.jaeger, ports),
        prometheus=_prometheus(folder / "prometheus", binaries.prometheus, ports, interval_s),
        alertmanager=_alertmanager(
            folder / "alertmanager", binaries.alertmanager, ports, interval_s, webhook_url
        ),
        ports=ports,
        folder=folder,
    )


@contextmanager
def free_ports(*names: str) -> Iterator[dict[str, int]]:
    """Yield a free port of loopback for each name, which no other program on this machine gets meanwhile.

    Each port is bound, but nobody listens at it. So the kernel gives it to no program that asks for any port,
    but to a server that asks for this port with SO_REUSEADDR, as servers do.
    """
    with ExitStack() as stack:
        kept = {name: stack.enter_context(socket.socket()) for name in names}
        for each in kept.values():
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        yield {name: each.getsockname()[1] for name, each in kept.items()}


def _collector(folder: Path, program: Path, ports: Mapping[str, int]) -> Server:
    return Server(
        "collector",
        [program, "--config", COLLECTOR_CONFIG],
        f"http://127.0.0.1:{ports['collector_health']}/",
        folder,
        {
            "COLLECTOR_OTLP_GRPC": f"127.0.0.1:{ports['otlp_grpc']}",
            "COLLECTOR_OTLP_HTTP": f"127.0.0.1:{ports['otlp_http']}",
            "COLLECTOR_PROMETHEUS": f"127.0.0.1:{ports['collector_metrics']}",
            "COLLECTOR_HEALTH": f"127.0.0.1:{ports['collector_health']}",
            "COLLECTOR_SELF_PORT": str(ports["collector_self"]),
            "COLLECTOR_STATE": str(folder),
            "JAEGER_OTLP": f"127.0.0.1:{ports['jaeger_otlp']}",
        },
    )


def _jaeger(folder: Path, program: Path, ports: Mapping[str, int]) -> Server:
    return Server(
        "jaeger",
        [program, "--config", JAEGER_CONFIG],
        f"http://127.0.0.1:{ports['jaeger_health']}/status",
        folder,
        {
            "JAEGER_OTLP": f"127.0.0.1:{ports['jaeger_otlp']}",
            "JAEGER_UI": f"127.0.0.1:{ports['jaeger']}",
            "JAEGER_QUERY_GRPC": f"127.0.0.1:{ports['jaeger_grpc']}",
            "JAEGER_HEALTH": f"127.0.0.1:{ports['jaeger_health']}",
            "JAEGER_STATE": str(folder),
        },
    )


def _prometheus(folder: Path, program: Path, ports: Mapping[str, int], interval_s: float) -> Server:
    config = folder / "prometheus.yaml"
    moved = {default: ports[name] for name, default in DEFAULT_PORTS.items()}
    command: list[str | Path] = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
        "--enable-feature=exemplar-storage",
    ]
    configure = partial(render_prometheus, PROMETHEUS_CONFIG, config, ports=moved, interval_s=interval_s)
    url = f"http://127.0.0.1:{ports['prometheus']}/-/ready"
    return Server("prometheus", command, url, folder, configure=configure)


def _alertmanager(
    folder: Path, program: Path, ports: Mapping[str, int], interval_s: float, webhook_url: str | None
) -> Server:
    config = folder / "alertmanager.yaml"
    command: list[str | Path] = [
        program,
        f"--config.file={config}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{ports['alertmanager']}",
        "--cluster.listen-address=",
    ]
    configure = partial(
        render_alertmanager, ALERTMANAGER_CONFIG, config, webhook_url=webhook_url, interval_s=interval_s
    )
    url = f"http://127.0.0.1:{ports['alertmanager']}/-/ready"
    return Server("alertmanager", command, url, folder, configure=configure)
