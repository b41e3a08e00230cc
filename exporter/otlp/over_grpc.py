"""OTLP/gRPC. Imported only when a destination uses it: grpc costs 20 MB and 80 ms of CPU."""

from __future__ import annotations

from typing import cast
from urllib.parse import urlsplit

import grpc

from exporter import __version__
from exporter.common.errors import UsageError

from .answers import parse_answer
from .settings import Endpoint, Signal
from .sinks import MisdirectedError, Receipt, SendError

_METHODS = {
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_RETRYABLE = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_MISDIRECTED = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
_RECONNECT_WITHIN_MS = 2000
_DEFAULT_PORT = {"http": 4317, "https": 443}


class GrpcTransport:
    """One collector endpoint over gRPC."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Raises UsageError for certificates that can't be read. Connects only when sending."""
        self._endpoint = endpoint
        self._channel = _channel(endpoint)
        self._export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(
            _METHODS[endpoint.signal]
        )

    def send(self, payload: bytes, timeout_s: float) -> Receipt:
        """Call Export with `payload`. Raises SendError."""
        try:
            answer = self._export(payload, timeout=timeout_s, metadata=tuple(self._endpoint.headers.items()))
        except grpc.RpcError as error:
            # The error of a blocking call is a Call as well: it carries code and details.
            raise self._unsent(cast("grpc.Call", error), timeout_s) from error
        receipt = parse_answer(self._endpoint.signal, answer)
        if receipt is None:
            what = "it answered with something that isn't OTLP"
            raise self._error(MisdirectedError, "protocol", what, retryable=False)
        return receipt

    def close(self) -> None:
        """Close the channel; a call under way ends with CANCELLED."""
        self._channel.close()

    def _unsent(self, error: grpc.Call, timeout_s: float) -> SendError:
        code = error.code()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return self._error(SendError, "timeout", f"no answer within {timeout_s:.1f} s", retryable=True)
        kind = MisdirectedError if code in _MISDIRECTED else SendError
        may_be_retried = code in _RETRYABLE or _asks_to_retry(error)
        return self._error(kind, code.name, f"{code.name}: {error.details()}", retryable=may_be_retried)

    def _error(self, kind: type[SendError], error_type: str, reason: str, *, retryable: bool) -> SendError:
        fix = f"check the collector and that {self._endpoint.variable} is OTLP over gRPC"
        return kind(error_type, reason, fix=fix, retryable=retryable)


def _channel(endpoint: Endpoint) -> grpc.Channel:
    parts = urlsplit(endpoint.url)
    target = f"{parts.netloc.rpartition('@')[2]}"
    if parts.port is None:
        target = f"{target}:{_DEFAULT_PORT[parts.scheme]}"
    compression = grpc.Compression.Gzip if endpoint.gzip else grpc.Compression.NoCompression
    options = (
        ("grpc.primary_user_agent", f"ci-egress/{__version__}"),
        ("grpc.max_reconnect_backoff_ms", _RECONNECT_WITHIN_MS),
    )
    if parts.scheme == "http":
        return grpc.insecure_channel(target, options, compression)
    return grpc.secure_channel(target, _credentials(endpoint), options, compression)


def _credentials(endpoint: Endpoint) -> grpc.ChannelCredentials:
    try:
        pem = [
            path.read_bytes() if path else None
            for path in (endpoint.certificate, endpoint.client_key, endpoint.client_certificate)
        ]
    except OSError as error:
        raise UsageError(f"the certificates for {endpoint.shown} can't be read: {error}") from error
    return grpc.ssl_channel_credentials(*pem)


def _asks_to_retry(error: grpc.Call) -> bool:
    """Whether the collector adds a RetryInfo, without which RESOURCE_EXHAUSTED isn't retried (OTLP)."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    return b"google.rpc.RetryInfo" in details
