"""The settings of the export, above all where telemetry goes; they are decided once, at the start."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_METRIC_INTERVAL_S = 60.0
DEFAULT_TIMEOUT_S = 10.0


class Signal(enum.StrEnum):
    """A kind of telemetry; the value is the path of its HTTP endpoint and the stem of its file's name."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


class OtlpProtocol(enum.StrEnum):
    """A protocol that carries OTLP, spelled as in OTEL_EXPORTER_OTLP_PROTOCOL."""

    HTTP = "http/protobuf"
    GRPC = "grpc"


@dataclass(frozen=True)
class Endpoint:
    """The address of a collector for one signal, and how to connect to it."""

    signal: Signal
    url: str
    """http(s)://host[:port]/path; for grpc only scheme, host and port count. Never holds credentials."""
    variable: str
    """The environment variable that names the endpoint."""
    protocol: OtlpProtocol = OtlpProtocol.HTTP
    timeout_s: float = DEFAULT_TIMEOUT_S
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers, with names in lower case. Values are often secret, so headers are never shown."""
    gzip: bool = False
    certificate: Path | None = None
    """A PEM file of the authorities to trust. None: the system's are trusted."""
    client_certificate: Path | None = None
    """A PEM file; set together with `client_key` or not at all."""
    client_key: Path | None = None

    @property
    def shown(self) -> str:
        """The URL fit for messages: without its query, which may hold a token."""
        return self.url.partition("?")[0]

    @property
    def place(self) -> str:
        """The URL without the signal's path, as the general variable would give it; fit for messages."""
        return self.shown.removesuffix(f"/v1/{self.signal}")


@dataclass(frozen=True)
class Rotation:
    """The limits on the files of each signal in a directory."""

    max_bytes: int = 64 << 20
    """The most bytes of one file."""
    keep: int = 7
    """The number of full files kept beside the one being written; the oldest is deleted."""

    @classmethod
    def within(cls, total_bytes: int) -> Rotation:
        """Return the limits with which the files of all signals together hold `total_bytes` at most."""
        return cls(max_bytes=total_bytes // (len(Signal) * (cls.keep + 1)))


@dataclass(frozen=True)
class Route:
    """Where one signal goes: to a collector, to a file in a directory, to both."""

    endpoint: Endpoint | None = None
    directory: Path | None = None
    rotation: Rotation | None = None
    """The limits on the file. None: it may grow without end."""


@dataclass(frozen=True)
class Destinations:
    """Where each signal goes, and the other export settings that the environment holds."""

    traces: Route = Route()
    metrics: Route = Route()
    logs: Route = Route()
    defaulted: bool = False
    """Whether a signal has neither an endpoint nor a directory, so that it goes to ./ci-egress."""
    disabled: bool = False
    """Whether OTEL_SDK_DISABLED is true: then nothing is exported."""
    metric_interval_s: float = DEFAULT_METRIC_INTERVAL_S
    service_name: str | None = None
    """The value of OTEL_SERVICE_NAME."""
    resource_attributes: Mapping[str, str] = field(default_factory=dict)
    """The attributes in OTEL_RESOURCE_ATTRIBUTES."""

    @property
    def shown(self) -> tuple[str, ...]:
        """All places telemetry goes to, for people: folders as one would type them here, and collectors."""
        places: dict[str, None] = {}
        for route in (self.traces, self.metrics, self.logs):
            if route.directory:
                places[_typed(route.directory)] = None
            if route.endpoint:
                places[route.endpoint.place] = None
        return tuple(places)

    @property
    def folder(self) -> str | None:
        """The folder that spans are written to, as one would type it here. None: there is none."""
        return _typed(self.traces.directory) if self.traces.directory else None


def _typed(folder: Path) -> str:
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
