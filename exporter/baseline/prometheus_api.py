"""The part of Prometheus's HTTP API by which a history is read. Mimir and Thanos have it, too."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec
import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError, SSLError

from exporter.common.errors import UsageError
from exporter.common.text import printable

TOKEN = "CI_EGRESS_PROMETHEUS_TOKEN"  # noqa: S105 - a variable's name
_CONNECT_S = 10.0
_ANSWER_S = 120.0
"""Seconds to wait for an answer: Prometheus gives up a query after two minutes."""
_ANSWER_MAX = 64 << 20
"""The most bytes of an answer."""
_CHUNK = 1 << 20
_TOLD_MAX = 300
"""The most characters of the server's own words in an error."""
_WRAPPED_MAX = 30
"""The most errors, and arguments of them, that are searched for a reason."""
_DENIED = (401, 403)
_TOO_MUCH = ("too many samples", "too many series", "too many chunks", "limit", "timed out", "timeout")


class PrometheusError(UsageError):
    """A failure to read the history of a Prometheus server."""


class PrometheusSeries(msgspec.Struct, gc=False):
    """A series of an answer; its value isn't read."""

    metric: dict[str, str]


class _Data(msgspec.Struct, gc=False, rename="camel"):
    result_type: str
    result: list[PrometheusSeries]


class _Answer(msgspec.Struct, gc=False, rename="camel"):
    status: str
    data: _Data | None = None
    error: str = ""
    warnings: list[str] = []


_read_answer = msgspec.json.Decoder(_Answer).decode


class Answer(NamedTuple):
    """The answer to a query."""

    series: list[PrometheusSeries]
    warnings: list[str]
    """Warnings in Prometheus's words; hostile, as everything that comes over a network."""


class Prometheus:
    """A Prometheus server, queried with the credentials of its URL, else of the environment."""

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        """`url` may hold user and password, or else `environ` a token (TOKEN). Raises PrometheusError."""
        parts = _parts(url)
        host = parts.netloc.rpartition("@")[2]
        self.shown = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        """The URL without its secrets."""
        self._headers = {
            "Accept": "application/json",
            **_authorization(parts.username, parts.password, environ),
        }
        self._pool = urllib3.PoolManager(ssl_context=ssl.create_default_context())

    def query(self, expression: str, at_s: str) -> Answer:
        """Return the result of `expression` at a time in seconds since 1970. Raises PrometheusError."""
        try:
            status, body = self._post({"query": expression, "time": at_s})
        except HTTPError as error:
            raise self._unreachable(error) from None
        return self._answer(status, body)

    def _post(self, fields: Mapping[str, str]) -> tuple[int, bytes]:
        response = self._pool.request(
            "POST",
            f"{self.shown}/api/v1/query",
            fields=dict(fields),
            encode_multipart=False,
            headers=self._headers,
            timeout=urllib3.Timeout(connect=_CONNECT_S, read=_ANSWER_S),
            retries=False,
            redirect=False,  # the token is for nobody else
            preload_content=False,
        )
        try:
            body = bytearray()
            for chunk in response.stream(_CHUNK):
                body += chunk
                if len(body) > _ANSWER_MAX:
                    raise self._too_much("its answer for one day is larger than 64 MiB")
        finally:
            response.close()
        return response.status, bytes(body)

    def _answer(self, status: int, body: bytes) -> Answer:
        if status in _DENIED:
            hint = f"put a token into {TOKEN}, or user and password into the URL"
            raise PrometheusError(f"{self.shown} answered {status}: it wants other credentials", hint=hint)
        try:
            answer = _read_answer(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            answer = None
        if answer is None or (answer.status == "success") != (answer.data is not None):
            what = f"{self.shown} answered {status}, and not as Prometheus does"
            raise PrometheusError(what, hint="name the URL below which Prometheus has /api/v1/query")
        if answer.data is None:
            said = printable(answer.error, limit=_TOLD_MAX)
            if any(words in answer.error for words in _TOO_MUCH):
                raise self._too_much(f"it said: {said}")
            raise PrometheusError(f"{self.shown} refused a query: {said}", hint="see its log")
        return Answer(answer.data.result, answer.warnings)

    def _too_much(self, what: str) -> PrometheusError:
        hint = "raise its limits (--query.max-samples, --query.timeout), or learn from files"
        return PrometheusError(f"{self.shown} has too many series to be asked for: {what}", hint=hint)

    def _unreachable(self, error: HTTPError) -> PrometheusError:
        match error:
            case NewConnectionError():  # urllib3 derives it from ConnectTimeoutError
                why, hint = (
                    _reason(error) or "it can't be connected to",
                    "correct the URL, or start Prometheus",
                )
            case ConnectTimeoutError() | ReadTimeoutError():
                why, hint = "it doesn't answer in time", "correct the URL, or look at its load"
            case SSLError():
                why = _reason(error) or "it doesn't speak TLS"
                hint = "have the machine trust its certificate: SSL_CERT_FILE names more"
            case _:
                reason = _reason(error)
                why = f"the connection ended early{f': {reason}' if reason else ''}"
                hint = "name the URL of a Prometheus, or see its log"
        return PrometheusError(f"cannot read {self.shown}: {printable(why, limit=_TOLD_MAX)}", hint=hint)


def _reason(error: BaseException) -> str | None:
    """Find the message of the operating system, the resolver or TLS. None: there is no such message.

    urllib3 wraps their errors in its own: as the cause, the context or an argument.
    """
    waiting: list[object] = [error]
    for _ in range(_WRAPPED_MAX):
        found = waiting.pop(0) if waiting else None
        if isinstance(found, ssl.SSLCertVerificationError):
            return f"certificate verify failed: {found.verify_message}"
        if isinstance(found, ssl.SSLError):
            return (found.reason or "").replace("_", " ").lower() or None
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        if isinstance(found, BaseException):
            waiting += [found.__cause__, *found.args, found.__context__]
    return None


class _Parts(NamedTuple):
    scheme: str
    netloc: str
    path: str
    username: str | None
    password: str | None


def _parts(url: str) -> _Parts:
    """Split `url`. Raises PrometheusError, which never shows the URL, since it may hold a password."""
    hint = "write it as https://prometheus.example:9090"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise PrometheusError("the URL of Prometheus is none", hint=hint) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PrometheusError("the URL of Prometheus is no http:// or https:// with a host", hint=hint)
    if "@" in parts.path:  # the text before it is the rest of a password
        raise PrometheusError("the URL of Prometheus has a / before its @", hint="write it as %2F")
    if parts.query or parts.fragment:
        raise PrometheusError("the URL of Prometheus has a ? or a #", hint=f"{hint}, without a query")
    return _Parts(parts.scheme, parts.netloc, parts.path, parts.username, parts.password)


def _authorization(user: str | None, password: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    if user is not None:
        credentials = f"{unquote(user)}:{unquote(password or '')}"
        return urllib3.make_headers(basic_auth=credentials)
    token = environ.get(TOKEN, "").strip()
    if not token:
        return {}
    if not (token.isascii() and token.isprintable()):
        raise PrometheusError(f"{TOKEN} holds no token", hint="it is one line of ASCII")
    return {"Authorization": f"Bearer {token}"}
