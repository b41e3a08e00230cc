"""Where telemetry goes, decided once at the start."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_METRIC_INTERVAL_S = 60.0
DEFAULT_TIMEOUT_S = 10.0


class Signal(enum.StrEnum):
    """What OTLP carries; the value is the path of its HTTP endpoint and the stem of its file."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


class Protocol(enum.StrEnum):
    """How OTLP travels, as OTEL_EXPORTER_OTLP_PROTOCOL spells it."""

    HTTP = "http/protobuf"
    GRPC = "grpc"


@dataclass(frozen=True)
class Endpoint:
    """A collector, for one signal."""

    signal: Signal
    url: str
    """http(s)://host[:port]/path; for grpc only scheme, host and port count. Never holds credentials."""
    variable: str
    """The environment variable that named it."""
    protocol: Protocol = Protocol.HTTP
    timeout_s: float = DEFAULT_TIMEOUT_S
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Names in lower case. Often secret, so never shown."""
    gzip: bool = False
    certificate: Path | None = None
    """PEM of the authorities to trust; None for the system's."""
    client_certificate: Path | None = None
    """PEM; comes with `client_key` or not at all."""
    client_key: Path | None = None

    @property
    def shown(self) -> str:
        """The URL fit for messages: without its query, which may hold a token."""
        return self.url.partition("?")[0]

    @property
    def place(self) -> str:
        """The collector, whatever the signal, as the general variable would name it; fit for messages."""
        return self.shown.removesuffix(f"/v1/{self.signal}")


@dataclass(frozen=True)
class Rotation:
    """How much the files of a directory may hold, for each signal."""

    max_bytes: int = 64 << 20
    """Of one file."""
    keep: int = 7
    """Full files beside the one that is written; the oldest goes."""

    @classmethod
    def within(cls, total_bytes: int) -> Rotation:
        """That with which the files of all signals together hold `total_bytes` at most."""
        return cls(max_bytes=total_bytes // (len(Signal) * (cls.keep + 1)))


@dataclass(frozen=True)
class Route:
    """Where one signal goes: to a collector, to a file in a directory, to both."""

    endpoint: Endpoint | None = None
    directory: Path | None = None
    rotation: Rotation | None = None
    """Of the file; None when it may grow without end."""


@dataclass(frozen=True)
class Destinations:
    """Where everything goes, and what else the environment says about it."""

    traces: Route = Route()
    metrics: Route = Route()
    logs: Route = Route()
    defaulted: bool = False
    """A signal has neither an endpoint nor a directory, so it goes to ./ci-egress."""
    disabled: bool = False
    """OTEL_SDK_DISABLED: nothing is exported."""
    metric_interval_s: float = DEFAULT_METRIC_INTERVAL_S
    service_name: str | None = None
    """OTEL_SERVICE_NAME"""
    resource_attributes: Mapping[str, str] = field(default_factory=dict)
    """OTEL_RESOURCE_ATTRIBUTES"""

    @property
    def shown(self) -> tuple[str, ...]:
        """Every place telemetry goes to, for people: folders as one would type them here, and collectors."""
        places: dict[str, None] = {}
        for route in (self.traces, self.metrics, self.logs):
            if route.directory:
                places[_typed(route.directory)] = None
            if route.endpoint:
                places[route.endpoint.place] = None
        return tuple(places)

    @property
    def folder(self) -> str | None:
        """The one that holds spans, as one would type it here; None without one."""
        return _typed(self.traces.directory) if self.traces.directory else None


def _typed(folder: Path) -> str:
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
