"""Servers that telemetry goes to, well-behaved and otherwise, and something to send them."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer
from typing import NamedTuple

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord as PbRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags

from exporter.otlp.courier import Spooling
from exporter.otlp.environment import resolve_destinations
from exporter.otlp.lane import BATCH, LOG_RECORDS, SPANS
from exporter.otlp.records import LogRecord, Severity
from exporter.otlp.telemetry import Telemetry

AN_HOUR_S = 3600
"""For what must not be waited for: whoever does so all the same runs into the time that a test has."""
UNUSED_URL = "http://127.0.0.1:1"
"""Nobody listens there: the port is none that is handed out, to a test beside this one, say."""
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


class Gate:
    """Answers nobody before it is opened."""

    def __init__(self) -> None:
        self._is_open = threading.Event()

    def __call__(self, _: Request) -> Answer:
        self._is_open.wait()
        return Answer()

    def open(self) -> None:
        self._is_open.set()


class Collector:
    """Answers each request as `answer` says, and remembers it."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.requests: list[Request] = []
        self.taken: list[Request] = []
        """Those it answered 200."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                outer.requests.append(request)
                status, content, headers = answer(request)
                if status == 200:
                    outer.taken.append(request)
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

    def logs(self) -> list[PbRecord]:
        return [
            record
            for request in self.taken
            if request.path == "/v1/logs"
            for by_resource in ExportLogsServiceRequest.FromString(request.body).resource_logs
            for by_scope in by_resource.scope_logs
            for record in by_scope.log_records
        ]

    def spans(self) -> list[str]:
        return [
            span.name
            for request in self.taken
            if request.path == "/v1/traces"
            for by_resource in ExportTraceServiceRequest.FromString(request.body).resource_spans
            for by_scope in by_resource.scope_spans
            for span in by_scope.spans
        ]


@contextlib.contextmanager
def serving(server: BaseServer) -> Iterator[None]:
    """Serve meanwhile."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def collector(answer: Callable[[Request], Answer] = lambda _: Answer()) -> Iterator[Collector]:
    running = Collector(answer)
    with serving(running.server):
        yield running


@contextlib.contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A TCP server that says what `talk` says to each connection, and keeps them open until the end."""
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def converse(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            talk(connection)

    def serve(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                connections.append(connection)
                threads.append(threading.Thread(target=converse, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=serve, args=(server,))
        accepting.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for connection in connections:
                with contextlib.suppress(OSError):  # gone already
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for connection in connections:
                connection.close()


class PatientTelemetry(Telemetry):
    """Has as long for its end as a busy machine may need."""

    def close(self, timeout_s: float = 30.0, *, before_logs: Callable[[], None] = lambda: None) -> None:
        super().close(timeout_s, before_logs=before_logs)


def telemetry_to(
    url: str,
    directory: Path | None = None,
    *,
    capacity: int = 8192,
    spooling: Spooling | None = None,
    **environ: str,
) -> Telemetry:
    """To a collector that may take an hour to answer."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_TIMEOUT": f"{AN_HOUR_S * 1000}",
        **environ,
    }
    destinations = resolve_destinations(environ, otlp_dir=directory)
    return PatientTelemetry(destinations, {}, queue_capacity=capacity, spooling=spooling)


def travel_together(monkeypatch: pytest.MonkeyPatch, number: int = BATCH) -> None:
    """Have what is submitted from now on leave by so many at once, or at the end: however long that takes."""
    monkeypatch.setattr("exporter.otlp.lane.BATCH", number)
    for name, cargo in {"SPANS": SPANS, "LOG_RECORDS": LOG_RECORDS}.items():
        patient = dataclasses.replace(cargo, gather_s=AN_HOUR_S)
        monkeypatch.setattr(f"exporter.otlp.telemetry.{name}", patient)


def span(name: str = "connect", **attributes: str) -> ReadableSpan:
    return ReadableSpan(
        name,
        SpanContext(1, 1, is_remote=False),
        resource=RESOURCE,
        attributes=attributes,
        start_time=1,
        end_time=2,
    )


def log_record(name: str = "cicd.egress.novel", **attributes: str) -> LogRecord:
    context = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return LogRecord(name, Severity.WARN, 1_764_000_000_000_000_001, attributes, RESOURCE, context)


def wait_until(condition: Callable[[], bool], *, within_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.01)
