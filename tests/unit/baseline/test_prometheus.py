"""What is said where Prometheus can't be read, and that nobody else gets its credentials."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from exporter.baseline.conclude import conclude
from exporter.baseline.prometheus import read_history
from exporter.baseline.prometheus_api import TOKEN, Prometheus, PrometheusError

EMPTY = {"status": "success", "data": {"resultType": "vector", "result": []}}


class Answering:
    """A web server that gives one answer, and what it was asked with."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.url = ""
        self.authorizations: list[str | None] = []
        answering = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                answering.authorizations.append(self.headers["Authorization"])
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.handler = Handler


@contextmanager
def answering(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Iterator[Answering]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = Answering(status, data, headers or {})
    with ThreadingHTTPServer(("127.0.0.1", 0), found.handler) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def ask(url: str, environ: dict[str, str] | None = None) -> list[str]:
    """For one day; gives the notes."""
    return read_history(Prometheus(url, environ or {}), 1, today=date(2026, 11, 24)).notes


def test_a_token_of_the_environment_is_sent() -> None:
    with answering(EMPTY) as server:
        ask(server.url, {TOKEN: "t0ken\n"})
        assert server.authorizations == ["Bearer t0ken"]


def test_user_and_password_of_the_url_come_before_a_token() -> None:
    with answering(EMPTY) as server:
        ask(server.url.replace("//", "//me:s%40crets@"), {TOKEN: "t0ken"})
        assert server.authorizations == ["Basic bWU6c0BjcmV0cw=="]


def test_without_credentials_none_are_sent() -> None:
    with answering(EMPTY) as server:
        ask(server.url, {TOKEN: ""})
        assert server.authorizations == [None]


@pytest.mark.parametrize("status", [401, 403])
def test_wrong_credentials_are_told_without_being_shown(status: int) -> None:
    with answering(b"no", status) as server, pytest.raises(PrometheusError) as raised:
        ask(server.url.replace("//", "//me:s3cret@"))
    assert str(raised.value) == (
        f"{server.url} answered {status}: it wants other credentials; put a token into {TOKEN}, or user and "
        "password into the URL"
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        *((b"<html>", 404), (b"<html>", 200), (b"", 200), ([], 200), ({"status": "success"}, 200)),
        *(
            ({"status": "success", "data": {"resultType": "vector", "result": [7]}}, 200),
            (b"[" * 100_000, 200),
        ),
        ({"status": "error", "data": {"resultType": "vector", "result": []}}, 200),
        (b"\xff", 200),
    ],
)
def test_what_is_no_prometheus_is_told_as_such(body: Any, status: int) -> None:
    with answering(body, status) as server:
        what = f"^{server.url} answered {status}, and not as Prometheus does; name the URL below which"
        with pytest.raises(PrometheusError, match=what):
            ask(server.url)


def test_a_refused_query_is_told_in_its_own_words_on_one_line() -> None:
    body = {"status": "error", "errorType": "internal", "error": "no\x1b[2J\nluck"}
    with answering(body, 500) as server, pytest.raises(PrometheusError) as raised:
        ask(server.url)
    assert raised.value.what == f"{server.url} refused a query: no\\x1b[2J\\nluck"


def test_warnings_of_partial_answers_are_told_once() -> None:
    with answering({**EMPTY, "warnings": ["store gone", "store gone"]}) as server:
        notes = ask(server.url)
        assert notes == [f"{server.url} warns, so some of its history may be missing: store gone"]


def test_a_redirect_is_not_followed_since_it_would_take_the_token_along() -> None:
    with answering(EMPTY) as elsewhere:
        target = {"Location": elsewhere.url}
        with answering(b"", 302, target) as server, pytest.raises(PrometheusError, match="answered 302"):
            ask(server.url, {TOKEN: "t0ken"})
        assert elsewhere.authorizations == []


def test_an_answer_that_breaks_off_is_an_error() -> None:
    broken = {"Content-Length": "1000", "Connection": "close"}
    why = "the connection ended early; name the URL of a Prometheus, or see its log$"
    with answering(EMPTY, 200, broken) as server, pytest.raises(PrometheusError, match=why):
        ask(server.url)


def test_a_connection_that_is_reset_is_told_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        port = server.getsockname()[1]
        resetting = pool.submit(_reset_one, server)
        with pytest.raises(PrometheusError) as raised:
            ask(f"http://127.0.0.1:{port}")
        resetting.result()
    why = "the connection ended early: Connection reset by peer"
    assert raised.value.what == f"cannot read http://127.0.0.1:{port}: {why}"


def _reset_one(server: socket.socket) -> None:
    """The next connection, once it has asked."""
    connection, _ = server.accept()
    with connection:
        asked = b""
        while b"time=" not in asked:
            asked += connection.recv(4096)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_host_that_is_not_found_is_told_in_words() -> None:
    with pytest.raises(PrometheusError) as raised:
        ask("http://no-such-host.invalid:9090")
    assert "Errno" not in raised.value.what
    assert raised.value.what.startswith("cannot read http://no-such-host.invalid:9090: ")


def test_a_server_without_tls_is_told_in_words() -> None:
    with answering(EMPTY) as server, pytest.raises(PrometheusError) as raised:
        ask(server.url.replace("http:", "https:"))
    assert raised.value.what.endswith((": wrong version number", ": record layer failure"))


def test_what_a_baseline_of_then_did_not_have_is_told_with_its_day() -> None:
    labels = {
        "cicd_pipeline_name": "release",
        "cicd_pipeline_task_name": "build",
        "server_address": "beacon.example",
        "server_port": "443",
        "network_transport": "tcp",
        "egress_lineage": "bash>curl",
    }
    series = [{"metric": {**labels, "egress_novel": told}} for told in ("true", "false")]
    with answering({"status": "success", "data": {"resultType": "vector", "result": series}}) as server:
        seen = read_history(Prometheus(server.url, {}), 2, today=date(2026, 11, 24))
    told = "beacon.example:443 of release, build was novel when it was recorded (on 2026-11-23)"
    assert conclude(seen).notes == (f"{told}: look at it before it is known",)


def test_nobody_there_is_told() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # so that nobody else listens there
        port = silent.getsockname()[1]
        with pytest.raises(PrometheusError) as raised:
            ask(f"http://me:s3cret@127.0.0.1:{port}")
    assert f"cannot read http://127.0.0.1:{port}: " in raised.value.what
    assert raised.value.what.endswith(": Connection refused")
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["prometheus.example:9090", "ftp://x.example", "http://", "http://[::1", "http://a:b", "http://a?b"],
)
def test_what_is_no_url_is_told_without_being_shown(url: str) -> None:
    with pytest.raises(PrometheusError, match=r"^the URL of Prometheus (is|has) [^/]*http"):
        Prometheus(url, {})


def test_the_rest_of_a_password_is_not_taken_for_a_path() -> None:
    with pytest.raises(PrometheusError) as raised:
        Prometheus("http://me:12/s3cret@prometheus.example", {})
    assert str(raised.value) == "the URL of Prometheus has a / before its @; write it as %2F"


@pytest.mark.parametrize("token", ["two\nlines", "é", "\x1b"])
def test_what_is_no_token_is_told_without_being_shown(token: str) -> None:
    with pytest.raises(PrometheusError, match=f"^{TOKEN} holds no token; it is one line of ASCII$"):
        Prometheus("http://prometheus.example", {TOKEN: token})
