"""OTLP/HTTP with protobuf bodies.

The SDK's own exporter looks at the status alone: spans that the collector refuses inside a 200 are lost
unseen, and so is everything sent to a web server that answers 200 to any request. Here the answer is read.
"""

from __future__ import annotations

import gzip
import ssl
import time
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from exporter import __version__
from exporter.common.errors import UsageError

from .answers import parse_answer, parse_json_answer
from .settings import Endpoint
from .sinks import MisdirectedError, Receipt, SendError

_RETRYABLE = frozenset({429, 502, 503, 504})
_MISDIRECTED = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 405, 407})
_TRUST = "OTEL_EXPORTER_OTLP_CERTIFICATE names the authority to trust"
_TLS_FIX = {
    "WRONG_VERSION_NUMBER": "that port speaks no TLS: if it is the right one, begin the URL with http://"
}
_LARGEST_ANSWER = 1 << 20
_SUCCESS = 2
_CHUNK = 1 << 16
_LONGEST_WISH_S = 300.0
_JSON = "application/json"


class HttpTransport:
    """One collector endpoint over HTTP, with connections kept open, through the environment's proxy."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Raises UsageError for certificates that can't be loaded. Connects only when sending."""
        self._endpoint = endpoint
        self._pool = _pool(endpoint)
        self._headers = {
            **endpoint.headers,
            "content-type": "application/x-protobuf",
            "user-agent": f"ci-egress/{__version__}",
            **({"content-encoding": "gzip"} if endpoint.gzip else {}),
        }

    def send(self, payload: bytes, timeout_s: float) -> Receipt:
        """POST `payload`. Raises SendError."""
        deadline_s = time.monotonic() + timeout_s
        body = gzip.compress(payload, compresslevel=1) if self._endpoint.gzip else payload
        try:
            response = self._post(body, timeout_s)
            try:
                answer = _read(response, deadline_s)
            finally:
                response.release_conn()
        except HTTPError as error:
            raise self._unsent(error, timeout_s) from error
        if response.status // 100 != _SUCCESS:
            raise self._refused(response)
        return self._receipt(response.headers.get("content-type", ""), answer)

    def close(self) -> None:
        """Close the connections that are idle."""
        self._pool.clear()

    def _post(self, body: bytes, timeout_s: float) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            "POST",
            self._endpoint.url,
            body=body,
            headers=self._headers,
            timeout=urllib3.Timeout(total=timeout_s),
            retries=False,
            redirect=False,
            preload_content=False,
        )

    def _unsent(self, error: HTTPError, timeout_s: float) -> SendError:
        variable = self._endpoint.variable
        if isinstance(error, NewConnectionError | ProxyError):
            reason = str(error.__cause__ or error)
            return SendError(
                "unreachable", reason, fix=f"start the collector or correct {variable}", retryable=True
            )
        if isinstance(error, ConnectTimeoutError | ReadTimeoutError):
            return SendError(
                "timeout",
                f"no answer within {timeout_s:.1f} s",
                fix=f"check {variable} and the collector",
                retryable=True,
            )
        if isinstance(error, SSLError):
            return MisdirectedError(
                "tls",
                str(error),
                fix=_TLS_FIX.get(getattr(error.__cause__, "reason", ""), _TRUST),
                retryable=False,
            )
        return SendError(
            "protocol", str(error), fix=f"check that {variable} is OTLP over HTTP", retryable=True
        )

    def _refused(self, response: urllib3.BaseHTTPResponse) -> SendError:
        fix = {
            401: "check OTEL_EXPORTER_OTLP_HEADERS",
            403: "check OTEL_EXPORTER_OTLP_HEADERS",
            413: "raise the collector's request size limit",
        }.get(response.status, f"check {self._endpoint.variable} and the collector's log")
        kind = MisdirectedError if response.status in _MISDIRECTED else SendError
        return kind(
            str(response.status),
            f"it answered {response.status} {response.reason or ''}".rstrip(),
            fix=fix,
            retryable=response.status in _RETRYABLE,
            retry_after_s=_retry_after_s(response.headers),
        )

    def _receipt(self, content_type: str, answer: bytes) -> Receipt:
        parse = parse_json_answer if content_type.startswith(_JSON) else parse_answer
        receipt = parse(self._endpoint.signal, answer)
        if receipt is None:
            raise MisdirectedError(
                "protocol",
                "it answered with something that isn't OTLP",
                fix=f"check that {self._endpoint.variable} is a collector, not another web server",
                retryable=False,
            )
        return receipt


def _pool(endpoint: Endpoint) -> urllib3.PoolManager:
    context = _tls_context(endpoint) if endpoint.url.startswith("https:") else None
    proxy = _proxy(endpoint.url)
    if proxy:
        return urllib3.ProxyManager(proxy, ssl_context=context)
    return urllib3.PoolManager(ssl_context=context)


def _tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=endpoint.certificate)
        if endpoint.client_certificate:
            context.load_cert_chain(endpoint.client_certificate, endpoint.client_key)
    except OSError as error:
        raise UsageError(
            f"the certificates for {endpoint.shown} can't be loaded: {error}",
            hint="OTEL_EXPORTER_OTLP_CERTIFICATE, …_CLIENT_CERTIFICATE and …_CLIENT_KEY name PEM files",
        ) from error
    return context


def _proxy(url: str) -> str | None:
    """Return the proxy for `url` by http_proxy, https_proxy and no_proxy; None without one."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _read(response: urllib3.BaseHTTPResponse, deadline_s: float) -> bytes:
    """Read the body, unless it is endless in size or in time."""
    answer = bytearray()
    for chunk in response.stream(_CHUNK):
        answer += chunk
        if time.monotonic() > deadline_s or len(answer) > _LARGEST_ANSWER:
            raise urllib3.exceptions.ProtocolError("its answer doesn't end")
    return bytes(answer)


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return Retry-After in seconds; collectors don't use its other form, a date."""
    value = headers.get("retry-after", "")
    return min(float(value), _LONGEST_WISH_S) if value.isascii() and value.isdigit() else None
