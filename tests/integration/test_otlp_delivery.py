"""Over the network: what counts as exported, and what an absent or evil collector can do, for how long."""

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from exporter.errors import UsageError
from exporter.otlp import Account, Telemetry, resolve_destinations

RESOURCE = Resource({"service.name": "ci-egress"})
PROTOBUF = {"content-type": "application/x-protobuf"}


class Answer(NamedTuple):
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = PROTOBUF


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Collector:
    """Answers each request as `answer` says, and remembers it."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.requests: list[Request] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                outer.requests.append(request)
                status, content, headers = answer(request)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def spans(self) -> list[str]:
        return [
            span.name
            for request in self.requests
            if request.path == "/v1/traces"
            for by_resource in ExportTraceServiceRequest.FromString(request.body).resource_spans
            for by_scope in by_resource.scope_spans
            for span in by_scope.spans
        ]


@contextlib.contextmanager
def collector(answer: Callable[[Request], Answer] = lambda _: Answer()) -> Iterator[Collector]:
    running = Collector(answer)
    thread = threading.Thread(target=running.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield running
    finally:
        running.server.shutdown()
        thread.join()
        running.server.server_close()


@contextlib.contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A TCP server that says what `talk` says to each connection, and keeps them open until the end."""
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connections.append(connection)
                    threading.Thread(target=talk, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in connections:
        connection.close()


def telemetry_to(
    url: str, directory: Path | None = None, *, capacity: int = 8192, **environ: str
) -> Telemetry:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": url} | environ
    return Telemetry(resolve_destinations(environ, otlp_dir=directory), {}, queue_capacity=capacity)


def span(name: str = "connect", **attributes: str) -> ReadableSpan:
    return ReadableSpan(
        name,
        SpanContext(1, 1, is_remote=False),
        resource=RESOURCE,
        attributes=attributes,
        start_time=1,
        end_time=2,
    )


def unused_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def wait_until(condition: Callable[[], bool], *, within_s: float = 8.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.01)


def test_what_the_collector_takes_is_exported() -> None:
    with collector() as receiver:
        with telemetry_to(receiver.url) as telemetry:
            telemetry.submit(span("job"), 0)
            telemetry.submit(span("connect"), 1)
            telemetry.submit(span("send"), 5)
        assert telemetry.account == Account(exported=6)
        assert receiver.spans() == ["job", "connect", "send"]
        assert telemetry.complaints() == []


def test_an_aggregate_span_stands_for_attempts_that_are_accounted_apart() -> None:
    with collector() as receiver:
        with telemetry_to(receiver.url) as telemetry:
            telemetry.submit(span(), 1)
            telemetry.submit(span(), 104, aggregated=True)
            account = telemetry.account
            assert account.pending + account.exported + account.aggregated == 105
        assert telemetry.account == Account(exported=1, aggregated=104)
        telemetry.submit(span(), 7, aggregated=True)
        assert telemetry.account == Account(1, {("export", "closed"): 7}, aggregated=104)


def test_the_room_of_the_fullest_queue_is_known() -> None:
    release = threading.Event()

    def answer(_: Request) -> Answer:
        release.wait(10)
        return Answer()

    with collector(answer) as receiver:
        with telemetry_to(receiver.url, capacity=10) as telemetry:
            assert telemetry.room == 10
            telemetry.submit(span(), 1)
            wait_until(lambda: bool(receiver.requests))
            for used in range(1, 14):
                telemetry.submit(span(), 1)
                assert telemetry.room == max(10 - used, 0)
            release.set()
        assert telemetry.room == 10


def test_headers_and_compression_reach_the_collector() -> None:
    with collector() as receiver:
        with telemetry_to(
            receiver.url,
            OTEL_EXPORTER_OTLP_HEADERS="x-key=a%20b",
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        ) as telemetry:
            telemetry.submit(span(), 1)
        (request,) = receiver.requests
        assert request.headers["x-key"] == "a b"
        assert request.headers["content-encoding"] == "gzip"
        assert request.headers["content-type"] == "application/x-protobuf"
        assert ExportTraceServiceRequest.FromString(gzip.decompress(request.body)).resource_spans


def test_spans_travel_in_batches_that_keep_their_order() -> None:
    with collector() as receiver:
        with telemetry_to(receiver.url) as telemetry:
            for number in range(1200):
                telemetry.submit(span(str(number)), 1)
        assert receiver.spans() == [str(number) for number in range(1200)]
        assert len(receiver.requests) <= 4


def test_a_request_too_large_for_a_collector_is_split() -> None:
    with collector() as receiver:
        with telemetry_to(receiver.url) as telemetry:
            for _ in range(64):
                telemetry.submit(span(text="x" * 200_000), 1)
        assert telemetry.account == Account(exported=64)
        assert len(receiver.spans()) == 64
        assert max(len(request.body) for request in receiver.requests) < 4 << 20


def test_a_span_that_cant_be_encoded_takes_no_other_with_it() -> None:
    with collector() as receiver:
        with telemetry_to(receiver.url) as telemetry:
            for name in ("a", "\udcff", "b"):
                telemetry.submit(span(name), 1)
        assert receiver.spans() == ["a", "b"]
        assert telemetry.account == Account(exported=2, dropped={("export", "encoding"): 1})


def test_what_the_collector_rejects_is_not_exported() -> None:
    partial = ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=1, error_message="too\nold \x1b[31m")
    )
    with collector(lambda _: Answer(body=partial.SerializeToString())) as receiver:
        with telemetry_to(receiver.url) as telemetry:
            telemetry.submit(span(), 1)
            telemetry.submit(span(), 3)
        assert telemetry.account == Account(exported=1, dropped={("export", "rejected"): 3})
        (line,) = telemetry.complaints()
        assert "rejected" in line
        assert "too old  [31m" in line


def test_rejection_is_understood_in_json_too() -> None:
    answer = Answer(
        body=b'{"partialSuccess":{"rejectedSpans":"2"}}', headers={"content-type": "application/json"}
    )
    with collector(lambda _: answer) as receiver, telemetry_to(receiver.url) as telemetry:
        telemetry.submit(span(), 1)
        telemetry.close()
        assert telemetry.account == Account(dropped={("export", "rejected"): 1})


def test_a_web_server_that_answers_200_to_anything_takes_nothing() -> None:
    answer = Answer(body=b"<html>Welcome!</html>", headers={"content-type": "text/html"})
    with collector(lambda _: answer) as receiver, telemetry_to(receiver.url) as telemetry:
        telemetry.submit(span(), 1)
        telemetry.close()
        assert telemetry.account == Account(dropped={("export", "protocol"): 1})
        (line,) = telemetry.complaints()
        assert "isn't OTLP" in line


@pytest.mark.parametrize("status", [301, 400, 401, 404])
def test_a_refusal_for_good_is_not_repeated(status: int) -> None:
    with collector(lambda _: Answer(status)) as receiver, telemetry_to(receiver.url) as telemetry:
        telemetry.submit(span(), 1)
        telemetry.close()
        assert len(receiver.requests) == 1
        assert telemetry.account == Account(dropped={("export", str(status)): 1})


def test_a_busy_collector_is_asked_again() -> None:
    answers = iter([Answer(503), Answer(429, headers={"retry-after": "1"}), Answer()])
    with collector(lambda _: next(answers)) as receiver:
        with telemetry_to(receiver.url) as telemetry:
            telemetry.submit(span(), 1)
            wait_until(lambda: telemetry.account.exported == 1)
        assert len(receiver.requests) == 3


def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        with telemetry_to("http://collector.example:4318") as telemetry:
            telemetry.submit(span(), 1)
        assert telemetry.account == Account(exported=1)
        assert [request.path for request in proxy.requests] == ["http://collector.example:4318/v1/traces"]


def test_each_distinct_problem_is_said_once() -> None:
    with collector(lambda _: Answer(400)) as receiver, telemetry_to(receiver.url) as telemetry:
        for _ in range(2):
            telemetry.submit(span(), 1)
            wait_until(lambda: telemetry.account.pending == 0)
        (line,) = telemetry.complaints()
        assert f"{receiver.url}/v1/traces" in line
        assert "400" in line
        assert telemetry.complaints() == []


def test_an_absent_collector_costs_the_end_a_moment_and_is_said_once() -> None:
    with telemetry_to(unused_url()) as telemetry:
        telemetry.meter.create_counter("a").add(1)
        for _ in range(3000):
            telemetry.submit(span(), 1)
        start_s = time.monotonic()
    assert time.monotonic() - start_s < 4
    assert telemetry.account == Account(dropped={("export", "unreachable"): 3000})
    (line,) = telemetry.complaints()
    assert "Connection refused" in line
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in line


def hang(connection: socket.socket) -> None:
    del connection


def hang_in_the_answer(connection: socket.socket) -> None:
    connection.sendall(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 10\r\n\r\n"
    )


def answer_forever(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"1\r\nx\r\n")
            time.sleep(0.05)


def send_headers_forever(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)


@pytest.mark.parametrize("talk", [hang, hang_in_the_answer, answer_forever, send_headers_forever])
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_no_collector_holds_the_end_up_for_longer_than_the_flush_may_take(
    talk: Callable[[socket.socket], None], protocol: str
) -> None:
    with raw_server(talk) as url:
        telemetry = telemetry_to(url, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
        telemetry.meter.create_counter("a").add(1)
        for _ in range(600):
            telemetry.submit(span(), 1)
        start_s = time.monotonic()
        telemetry.close(timeout_s=0.6)
        assert time.monotonic() - start_s < 1.0
    account = telemetry.account
    assert (account.exported, account.pending, sum(account.dropped.values())) == (0, 0, 600)
    assert telemetry.complaints()


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_process_ends_too_when_a_send_never_does(protocol: str) -> None:
    program = """
import os, sys
from exporter.otlp import Telemetry, resolve_destinations
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext
telemetry = Telemetry(resolve_destinations(os.environ, otlp_dir=None), {})
span = ReadableSpan("x", SpanContext(1, 1, False), resource=telemetry.resource, start_time=1, end_time=2)
telemetry.submit(span, 1)
telemetry.close(timeout_s=1)
"""
    with raw_server(hang) as url:
        environ = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environ,
            capture_output=True,
            text=True,
            check=True,
            timeout=8,
        )
    assert done.stdout == done.stderr == ""


def test_garbage_instead_of_http_is_an_error_like_another() -> None:
    def talk(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(1 << 16)
            connection.sendall(b"\x00\xffSSH-2.0-garbage\r\n\r\n")

    with raw_server(talk) as url, telemetry_to(url) as telemetry:
        telemetry.submit(span(), 1)
        telemetry.close()
        assert telemetry.account == Account(dropped={("export", "protocol"): 1})


def test_metrics_get_out_even_when_spans_hang() -> None:
    with raw_server(hang) as black_hole, collector() as receiver:
        telemetry = telemetry_to(receiver.url, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=black_hole)
        telemetry.meter.create_observable_counter("dropped", [lambda _: observe_drops(telemetry)])
        telemetry.submit(span(), 7)
        telemetry.close(timeout_s=1.0)
        (request,) = receiver.requests
        assert request.path == "/v1/metrics"
        metrics = ExportMetricsServiceRequest.FromString(request.body)
        assert points(metrics) == [7]


def observe_drops(telemetry: Telemetry) -> list[Observation]:
    return [Observation(sum(telemetry.account.dropped.values()))]


def points(request: ExportMetricsServiceRequest) -> list[int]:
    (by_resource,) = request.resource_metrics
    (by_scope,) = by_resource.scope_metrics
    return [point.as_int for metric in by_scope.metrics for point in metric.sum.data_points]


def test_a_full_queue_drops_the_newest_counts_them_and_never_waits() -> None:
    release = threading.Event()

    def answer(_: Request) -> Answer:
        release.wait(10)
        return Answer()

    with collector(answer) as receiver:
        with telemetry_to(receiver.url, capacity=10) as telemetry:
            telemetry.submit(span("first"), 1)
            wait_until(lambda: bool(receiver.requests))
            start_s = time.monotonic()
            for number in range(1000):
                telemetry.submit(span(str(number)), 1)
            assert time.monotonic() - start_s < 0.5
            assert telemetry.account == Account(0, {("export", "queue_full"): 990}, pending=11)
            release.set()
        assert receiver.spans() == ["first", *map(str, range(10))]
        assert telemetry.account == Account(11, {("export", "queue_full"): 990})


def test_a_file_alone_is_enough_to_be_exported_and_the_dead_collector_is_still_said(tmp_path: Path) -> None:
    with telemetry_to(unused_url(), tmp_path) as telemetry:
        telemetry.submit(span(), 1)
    assert telemetry.account == Account(exported=1)
    assert len((tmp_path / "traces.jsonl").read_bytes().splitlines()) == 1
    assert any("Connection refused" in line for line in telemetry.complaints())


def test_what_is_submitted_after_the_end_is_dropped_and_counted() -> None:
    with collector() as receiver, telemetry_to(receiver.url) as telemetry:
        telemetry.close()
        telemetry.submit(span(), 2)
        telemetry.close()
        assert telemetry.account == Account(dropped={("export", "closed"): 2})


def test_a_disabled_sdk_exports_nothing_and_says_so_in_the_account(tmp_path: Path) -> None:
    with telemetry_to(unused_url(), tmp_path, OTEL_SDK_DISABLED="true") as telemetry:
        telemetry.meter.create_counter("a").add(1)
        telemetry.submit(span(), 1)
    assert telemetry.account == Account(dropped={("export", "disabled"): 1})
    assert list(tmp_path.iterdir()) == []


def test_what_the_sdk_logs_becomes_a_complaint_instead_of_noise(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("opentelemetry.sdk.somewhere")
    before = logging.getLogger("opentelemetry").propagate
    with collector() as receiver, telemetry_to(receiver.url) as telemetry:
        for _ in range(2):
            logger.warning("odd %s", "thing")
        assert telemetry.complaints() == ["opentelemetry.sdk.somewhere: odd thing"]
    assert logging.getLogger("opentelemetry").propagate == before
    assert "odd" not in capfd.readouterr().err


def test_certificates_that_are_none_are_refused_at_the_start(tmp_path: Path) -> None:
    nonsense = tmp_path / "ca.pem"
    nonsense.write_text("not a certificate")
    with pytest.raises(UsageError, match="OTEL_EXPORTER_OTLP_CERTIFICATE"):
        telemetry_to("https://127.0.0.1:1", OTEL_EXPORTER_OTLP_CERTIFICATE=str(nonsense))
