"""Decide where telemetry goes, by the OTEL_* variables and --otlp-dir.

Names and meanings are those of the OpenTelemetry specification ("OTLP exporter configuration", "Environment
variable specification"): an empty variable counts as unset, a variable of one signal beats the general one,
durations are in milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from exporter.common.errors import UsageError
from exporter.common.text import clean
from exporter.redact.names import REDACTED
from exporter.redact.text import redact_texts

from .settings import (
    DEFAULT_METRIC_INTERVAL_S,
    DEFAULT_TIMEOUT_S,
    Destinations,
    Endpoint,
    OtlpProtocol,
    Rotation,
    Route,
    Signal,
)

DEFAULT_DIRECTORY = Path("ci-egress")
_SHORTEST_TIMEOUT_S = 1.0
_IGNORED = re.compile(
    r"OTEL_TRACES_SAMPLER(_ARG)?"
    r"|OTEL_(SPAN|EVENT|LINK|ATTRIBUTE)_\w+_LIMIT"
    r"|OTEL_EXPORTER_OTLP_METRICS_(TEMPORALITY_PREFERENCE|DEFAULT_HISTOGRAM_AGGREGATION)"
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_SCHEME = re.compile(r"[A-Za-z]{1,10}://")
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")


def resolve_destinations(
    environ: Mapping[str, str], *, otlp_dir: Path | None, rotation: Rotation | None = None
) -> Destinations:
    """Decide where traces, metrics and log records go, and how much files may hold.

    A signal with an endpoint goes there, and with `otlp_dir` to its files as well; with neither it goes to
    `DEFAULT_DIRECTORY`. Raises UsageError, naming the variable, for a value that can't be used.
    """
    service_name = clean(_value(environ, "OTEL_SERVICE_NAME") or "") or None
    if (_value(environ, "OTEL_SDK_DISABLED") or "").lower() == "true":
        return Destinations(disabled=True, service_name=service_name)
    endpoints = {signal: _endpoint(environ, signal) for signal in Signal}
    routes = {
        signal: Route(endpoint, otlp_dir or (None if endpoint else DEFAULT_DIRECTORY), rotation)
        for signal, endpoint in endpoints.items()
    }
    return Destinations(
        traces=routes[Signal.TRACES],
        metrics=routes[Signal.METRICS],
        logs=routes[Signal.LOGS],
        defaulted=otlp_dir is None and None in endpoints.values(),
        metric_interval_s=_metric_interval_s(environ),
        service_name=service_name,
        resource_attributes=_pairs(environ, "OTEL_RESOURCE_ATTRIBUTES"),
    )


def ignored_variables(environ: Mapping[str, str]) -> list[str]:
    """List the OTEL_* variables that are set without effect: evidence is neither sampled nor trimmed."""
    return sorted(name for name, value in environ.items() if value.strip() and _IGNORED.fullmatch(name))


class _Setting(NamedTuple):
    variable: str
    value: str


def _value(environ: Mapping[str, str], variable: str) -> str | None:
    return environ.get(variable, "").strip() or None


def _setting(environ: Mapping[str, str], signal: Signal, name: str) -> _Setting | None:
    """Return the signal's own variable if it is set, else the general one, else None."""
    for variable in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
        if value := _value(environ, variable):
            return _Setting(variable, value)
    return None


def _endpoint(environ: Mapping[str, str], signal: Signal) -> Endpoint | None:
    setting = _setting(environ, signal, "ENDPOINT")
    if setting is None:
        return None
    protocol = _protocol(_setting(environ, signal, "PROTOCOL"))
    certificate = _pem(_setting(environ, signal, "CERTIFICATE"))
    client_certificate, client_key = _client_identity(environ, signal)
    return Endpoint(
        signal=signal,
        url=_grpc_url(environ, signal, setting)
        if protocol is OtlpProtocol.GRPC
        else _http_url(signal, setting),
        variable=setting.variable,
        protocol=protocol,
        timeout_s=_timeout_s(_setting(environ, signal, "TIMEOUT")),
        headers=_headers(environ, _setting(environ, signal, "HEADERS")),
        gzip=_gzip(_setting(environ, signal, "COMPRESSION")),
        certificate=certificate,
        client_certificate=client_certificate,
        client_key=client_key,
    )


def _protocol(setting: _Setting | None) -> OtlpProtocol:
    if setting is None:
        return OtlpProtocol.HTTP
    try:
        return OtlpProtocol(setting.value)
    except ValueError:
        known = " or ".join(OtlpProtocol)
        raise UsageError(
            f"{setting.variable}={setting.value!r} is no protocol", hint=f"use {known}"
        ) from None


def _http_url(signal: Signal, setting: _Setting) -> str:
    """Return the signal's own endpoint unchanged, or the general one with /v1/traces or the like appended."""
    _check_url(setting, setting.value)
    if signal.upper() in setting.variable:
        return setting.value
    return f"{setting.value.rstrip('/')}/v1/{signal}"


def _grpc_url(environ: Mapping[str, str], signal: Signal, setting: _Setting) -> str:
    """Add the scheme that a plain host:port lacks: https (TLS), unless …_INSECURE is true."""
    url = setting.value
    if "://" not in url:
        insecure = _setting(environ, signal, "INSECURE")
        url = f"{'http' if insecure and insecure.value.lower() == 'true' else 'https'}://{url}"
    _check_url(setting, url)
    return url


def _check_url(setting: _Setting, url: str) -> None:
    parts = _split_url(url)
    shown = _without_credentials(setting.value)
    if (
        parts is None
        or _UNPRINTABLE.search(url)
        or parts.scheme not in ("http", "https")
        or not parts.hostname
    ):
        raise UsageError(
            f"{setting.variable}={shown!r} is not the URL of a collector",
            hint="write http://HOST:PORT or https://HOST:PORT",
        )
    if "@" in parts.netloc:
        raise UsageError(
            f"{setting.variable} holds credentials",
            hint="pass them as OTEL_EXPORTER_OTLP_HEADERS=authorization=…, which is never shown",
        )


def _without_credentials(value: str) -> str:
    """Return `value`, maybe no URL, without the parts that may be secret: user, password, query, tokens."""
    before, at, place = value.rpartition("@")
    scheme = _SCHEME.match(before)
    bare = f"{scheme[0] if scheme else ''}{REDACTED}@{place}" if at else value
    return redact_texts([re.split("[?#]", bare)[0]])[0]


def _split_url(url: str) -> SplitResult | None:
    """Split `url`. None: its port is not a number up to 65535, or its brackets don't match."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _timeout_s(setting: _Setting | None) -> float:
    """Return the timeout, a second at least: no job waits for it, and less would lose evidence under load."""
    if setting is None:
        return DEFAULT_TIMEOUT_S
    return max(_milliseconds(setting) / 1000, _SHORTEST_TIMEOUT_S)


def _metric_interval_s(environ: Mapping[str, str]) -> float:
    variable = "OTEL_METRIC_EXPORT_INTERVAL"
    value = _value(environ, variable)
    return _milliseconds(_Setting(variable, value)) / 1000 if value else DEFAULT_METRIC_INTERVAL_S


def _milliseconds(setting: _Setting) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", setting.value) or int(setting.value) == 0:
        raise UsageError(
            f"{setting.variable}={setting.value!r} is no duration",
            hint="write milliseconds, for example 10000",
        )
    return int(setting.value)


def _gzip(setting: _Setting | None) -> bool:
    if setting is None or setting.value == "none":
        return False
    if setting.value == "gzip":
        return True
    raise UsageError(f"{setting.variable}={setting.value!r} is no compression", hint="use gzip or none")


def _client_identity(environ: Mapping[str, str], signal: Signal) -> tuple[Path | None, Path | None]:
    certificate = _setting(environ, signal, "CLIENT_CERTIFICATE")
    key = _setting(environ, signal, "CLIENT_KEY")
    if (lone := certificate or key) and not (certificate and key):
        raise UsageError(
            f"{lone.variable} is set alone", hint="set both the client's certificate and its key"
        )
    return _pem(certificate), _pem(key)


def _pem(setting: _Setting | None) -> Path | None:
    if setting is None:
        return None
    path = Path(setting.value)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise UsageError(
            f"{setting.variable}={setting.value!r} can't be read: {error.strerror}", hint="name a PEM file"
        ) from error


def _headers(environ: Mapping[str, str], setting: _Setting | None) -> Mapping[str, str]:
    headers = _pairs(environ, setting.variable) if setting else {}
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise UsageError(
                f"{setting and setting.variable} holds a header that can't be sent",
                hint="names are tokens, values printable ASCII",
            )
    return {name.lower(): value for name, value in headers.items()}


def _pairs(environ: Mapping[str, str], variable: str) -> Mapping[str, str]:
    """Parse key=value,key=value with percent-encoded values. Values may be secret: no error shows them."""
    pairs: dict[str, str] = {}
    for member in environ.get(variable, "").split(","):
        if not member.strip():
            continue
        key, separator, value = member.partition("=")
        if not separator or not key.strip():
            raise UsageError(
                f"{variable} is not a list", hint="write key=value,key=value with %XX for , and ="
            )
        pairs[clean(unquote(key.strip()))] = clean(unquote(value.strip()))
    return pairs
