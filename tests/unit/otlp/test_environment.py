"""Which variables lead where, and which values are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.common.errors import UsageError
from exporter.otlp.environment import ignored_variables, resolve_destinations
from exporter.otlp.settings import Destinations, OtlpProtocol

GENERAL = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.example:4318"}


def resolve(environ: dict[str, str], otlp_dir: Path | None = None) -> Destinations:
    return resolve_destinations(environ, otlp_dir=otlp_dir)


def test_without_anything_files_go_to_the_default_directory_and_it_is_said() -> None:
    destinations = resolve({})
    assert destinations.defaulted
    assert destinations.shown == ("ci-egress",)


def test_an_empty_variable_counts_as_unset() -> None:
    assert resolve({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}) == resolve({})


def test_a_directory_alone_means_files_alone(tmp_path: Path) -> None:
    destinations = resolve({}, tmp_path)
    assert not destinations.defaulted
    assert destinations.traces.endpoint is None
    routes = (destinations.traces, destinations.metrics, destinations.logs)
    assert [route.directory for route in routes] == [tmp_path] * 3


def test_the_general_endpoint_serves_all_signals_under_its_own_path() -> None:
    destinations = resolve({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example/otlp/"})
    assert not destinations.defaulted
    routes = (destinations.traces, destinations.metrics, destinations.logs)
    assert [route.endpoint.shown for route in routes if route.endpoint] == [
        "https://collector.example/otlp/v1/traces",
        "https://collector.example/otlp/v1/metrics",
        "https://collector.example/otlp/v1/logs",
    ]


def test_an_endpoint_and_a_directory_mean_both(tmp_path: Path) -> None:
    route = resolve(GENERAL, tmp_path).traces
    assert route.endpoint is not None
    assert route.directory == tmp_path


def test_a_place_is_shown_once_for_all_signals(tmp_path: Path) -> None:
    assert resolve(GENERAL, tmp_path).shown == (str(tmp_path), "http://collector.example:4318")


def test_a_directory_below_the_working_directory_is_shown_as_one_would_type_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve({}, tmp_path / "build" / "run-1").shown == ("build/run-1",)
    assert resolve({}, tmp_path.parent).shown == (str(tmp_path.parent),)


def test_a_signals_own_endpoint_is_taken_as_it_is() -> None:
    own = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces.example/in"}
    assert resolve(GENERAL | own).shown == ("http://traces.example/in", "http://collector.example:4318")


def test_a_signal_left_without_an_endpoint_goes_to_the_default_directory() -> None:
    destinations = resolve({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces.example/in"})
    assert destinations.defaulted
    assert destinations.shown == ("http://traces.example/in", "ci-egress")


def test_a_disabled_sdk_means_no_destination(tmp_path: Path) -> None:
    destinations = resolve(GENERAL | {"OTEL_SDK_DISABLED": "TRUE"}, tmp_path)
    assert destinations.disabled
    assert destinations.shown == ()


def test_protocol_timeout_and_compression_are_general_or_the_signals_own() -> None:
    destinations = resolve(
        GENERAL
        | {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2500",
            "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "gzip",
        }
    )
    traces, metrics = destinations.traces.endpoint, destinations.metrics.endpoint
    assert traces is not None
    assert metrics is not None
    assert (traces.protocol, traces.timeout_s, traces.gzip) == (OtlpProtocol.GRPC, 2.5, False)
    assert (metrics.protocol, metrics.timeout_s, metrics.gzip) == (OtlpProtocol.HTTP, 2.5, True)


def test_log_records_have_variables_of_their_own() -> None:
    own = {
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://logs.example/in",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "x-key=a",
        "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "1500",
    }
    endpoint = resolve(GENERAL | own).logs.endpoint
    assert endpoint is not None
    assert (endpoint.url, endpoint.headers, endpoint.timeout_s) == (
        "http://logs.example/in",
        {"x-key": "a"},
        1.5,
    )


def test_a_timeout_meant_as_seconds_still_leaves_a_second() -> None:
    endpoint = resolve(GENERAL | {"OTEL_EXPORTER_OTLP_TIMEOUT": "10"}).traces.endpoint
    assert endpoint is not None
    assert endpoint.timeout_s == 1.0


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "https://collector.example:4317"),
        ({"OTEL_EXPORTER_OTLP_INSECURE": "true"}, "http://collector.example:4317"),
    ],
)
def test_a_grpc_endpoint_without_scheme_is_tls_unless_said_to_be_insecure(
    environ: dict[str, str], url: str
) -> None:
    grpc = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "collector.example:4317"}
    assert resolve(grpc | environ).shown == (url,)


def test_headers_are_decoded_and_never_shown() -> None:
    destinations = resolve(
        GENERAL | {"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20s3cret, x-team=a"}
    )
    endpoint = destinations.traces.endpoint
    assert endpoint is not None
    assert endpoint.headers == {"authorization": "Bearer s3cret", "x-team": "a"}
    assert "s3cret" not in repr(destinations)


def test_a_query_is_sent_but_not_shown() -> None:
    own = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://traces.example/in?key=s3cret"}
    endpoint = resolve(own).traces.endpoint
    assert endpoint is not None
    assert endpoint.url.endswith("?key=s3cret")
    assert endpoint.shown == "https://traces.example/in"


def test_certificates_may_differ_by_signal(tmp_path: Path) -> None:
    names = ("ca", "traces-ca", "client", "key")
    files = {name: tmp_path / name for name in names}
    for file in files.values():
        file.touch()
    destinations = resolve(
        GENERAL
        | {
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(files["ca"]),
            "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": str(files["traces-ca"]),
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(files["client"]),
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(files["key"]),
        }
    )
    traces, metrics = destinations.traces.endpoint, destinations.metrics.endpoint
    assert traces is not None
    assert metrics is not None
    assert (traces.certificate, metrics.certificate) == (files["traces-ca"], files["ca"])
    assert (traces.client_certificate, traces.client_key) == (files["client"], files["key"])


def test_resource_service_name_and_interval_are_taken_over() -> None:
    destinations = resolve(
        {
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=ci%2Clab,team=a%3Db",
            "OTEL_SERVICE_NAME": "egress",
            "OTEL_METRIC_EXPORT_INTERVAL": "1500",
        }
    )
    assert destinations.resource_attributes == {"deployment.environment.name": "ci,lab", "team": "a=b"}
    assert destinations.service_name == "egress"
    assert destinations.metric_interval_s == 1.5


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector.example:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector.example"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:99999"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example/\r\nx: y"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "GRPC!"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "abc"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "-1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent/ca.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/dev/null"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "no-equals-sign"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x=a%0d%0ay: b"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "bad name=x"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1e3"),
        ("OTEL_RESOURCE_ATTRIBUTES", "=x"),
    ],
)
def test_a_value_that_cant_be_used_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(UsageError) as refused:
        resolve(GENERAL | {variable: value})
    assert variable in refused.value.what
    assert refused.value.hint


def test_an_error_never_shows_a_credential() -> None:
    for environ in (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:s3cret@collector.example:4318"},
        GENERAL | {"OTEL_EXPORTER_OTLP_HEADERS": "authorization s3cret"},
        GENERAL | {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=s3cret%0a"},
    ):
        with pytest.raises(UsageError) as refused:
            resolve(environ)
        assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("foo:4318", "foo:4318"),
        ("htp://collector.example", "htp://collector.example"),
        ("user:s3cret@foo:4318", "<redacted>@foo:4318"),
        ("ftp://user:s3/c?r@et@foo:4318/x", "ftp://<redacted>@foo:4318/x"),
        ("user:s3cret@http://foo:4318", "<redacted>@http://foo:4318"),
        ("http://foo:x/?key=s3cret", "http://foo:x/"),
        ("foo/ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8", "foo/<redacted>"),
    ],
)
def test_what_is_no_url_is_shown_without_its_secrets(value: str, shown: str) -> None:
    with pytest.raises(UsageError) as refused:
        resolve({"OTEL_EXPORTER_OTLP_ENDPOINT": value})
    assert refused.value.what == f"OTEL_EXPORTER_OTLP_ENDPOINT={shown!r} is not the URL of a collector"


def test_a_bad_value_matters_only_where_it_would_be_used(tmp_path: Path) -> None:
    assert resolve({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, tmp_path) == resolve({}, tmp_path)


def test_sampling_and_limits_are_named_as_ignored() -> None:
    ignored = {
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_TRACES_SAMPLER_ARG": "0.1",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "3",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "10",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
    }
    honoured = {"OTEL_SERVICE_NAME": "x", "OTEL_SPAN_LINK_COUNT_LIMIT": "", "PATH": "/bin"}
    assert ignored_variables(ignored | honoured | GENERAL) == sorted(ignored)
