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
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags

from exporter.common.errors import UsageError
from exporter.otlp.ledger import LedgerTotals
from exporter.otlp.telemetry import Telemetry
from tests.integration.receivers import (
    AN_HOUR_S,
    UNUSED_URL,
    Answer,
    Gate,
    collector,
    log_record,
    raw_server,
    span,
    telemetry_to,
    travel_together,
    wait_until,
)


def test_what_the_collector_takes_is_exported() -> None:
    with collector() as receiver:
        with telemetry_to(receiver.url) as telemetry:
            telemetry.submit(span("job"), 0)
            telemetry.submit(span("connect"), 1)
            telemetry.submit(span("send"), 5)
        assert telemetry.account == LedgerTotals(exported=6)
        assert receiver.spans() == ["job", "connect", "send"]
        assert telemetry.complaints() == []


def test_an_aggregate_span_stands_for_attempts_that_are_accounted_apart() -> None:
    with collector() as receiver:
        with telemetry_to(receiver.url) as telemetry:
            telemetry.submit(span(), 1)
            telemetry.submit(span(), 104, aggregated=True)
            account = telemetry.account
            assert account.pending + account.exported + account.aggregated == 105
        assert telemetry.account == LedgerTotals(exported=1, aggregated=104)
        telemetry.submit(span(), 7, aggregated=True)
        assert telemetry.account == LedgerTotals(1, {("export", "closed"): 7}, aggregated=104)


def test_the_room_of_the_fullest_queue_is_known() -> None:
    gate = Gate()
    with collector(gate) as receiver:
        with telemetry_to(receiver.url, capacity=10) as telemetry:
            assert telemetry.room == 10
            telemetry.submit(span(), 1)
            wait_until(lambda: bool(receiver.requests))
            for used in range(1, 14):
                telemetry.submit(span(), 1)
                assert telemetry.room == max(10 - used, 0)
            gate.open()
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


def test_spans_travel_in_batches_that_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    travel_together(monkeypatch)
    with collector() as receiver:
        with telemetry_to(receiver.url) as telemetry:
            for number in range(1200):
                telemetry.submit(span(str(number)), 1)
        assert receiver.spans() == [str(number) for number in range(1200)]
        assert len(receiver.requests) == 3


def test_a_request_too_large_for_a_collector_is_split() -> None:
    with collector() as receiver:
        with telemetry_to(receiver.url) as telemetry:
            for _ in range(64):
                telemetry.submit(span(text="x" * 200_000), 1)
        assert telemetry.account == LedgerTotals(exported=64)
        assert len(receiver.spans()) == 64
        assert max(len(request.body) for request in receiver.requests) < 4 << 20


class Exhausting(ReadableSpan):
    """Where it is encoded there is nothing left of what that takes."""

    @property
    def resource(self) -> NoReturn:
        raise RuntimeError("can't start new thread")


def test_a_fault_on_the_way_out_takes_nothing_with_it_that_comes_later() -> None:
    with collector() as receiver, telemetry_to(receiver.url) as telemetry:
        telemetry.submit(Exhausting("x", SpanContext(1, 1, is_remote=False), start_time=1, end_time=2), 2)
        wait_until(lambda: telemetry.account.dropped == {("export", "internal"): 2})
        telemetry.submit(span(), 1)
        telemetry.close()
        assert telemetry.account == LedgerTotals(exported=1, dropped={("export", "internal"): 2})
        told = '1 entry for {} got lost: RuntimeError("can\'t start new thread")'
        assert [line for line in telemetry.complaints() if "got lost" in line] == [
            told.format(f"{receiver.url}/v1/traces")
        ]


def test_a_span_that_cant_be_encoded_takes_no_other_with_it() -> None:
    with collector() as receiver:
        with telemetry_to(receiver.url) as telemetry:
            for name in ("a", "\udcff", "b"):
                telemetry.submit(span(name), 1)
        assert receiver.spans() == ["a", "b"]
        assert telemetry.account == LedgerTotals(exported=2, dropped={("export", "encoding"): 1})


def test_what_the_collector_rejects_is_not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    travel_together(monkeypatch)
    partial = ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=1, error_message="too\nold \x1b[31m")
    )
    with collector(lambda _: Answer(body=partial.SerializeToString())) as receiver:
        with telemetry_to(receiver.url) as telemetry:
            telemetry.submit(span(), 1)
            telemetry.submit(span(), 3)
        assert telemetry.account == LedgerTotals(exported=1, dropped={("export", "rejected"): 3})
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
        assert telemetry.account == LedgerTotals(dropped={("export", "rejected"): 1})


def test_a_web_server_that_answers_200_to_anything_takes_nothing() -> None:
    answer = Answer(body=b"<html>Welcome!</html>", headers={"content-type": "text/html"})
    with collector(lambda _: answer) as receiver, telemetry_to(receiver.url) as telemetry:
        telemetry.submit(span(), 1)
        telemetry.close()
        assert telemetry.account == LedgerTotals(dropped={("export", "protocol"): 1})
        (line,) = telemetry.complaints()
        assert "isn't OTLP" in line


@pytest.mark.parametrize("status", [301, 400, 401, 404])
def test_a_refusal_for_good_is_not_repeated(status: int) -> None:
    with collector(lambda _: Answer(status)) as receiver, telemetry_to(receiver.url) as telemetry:
        telemetry.submit(span(), 1)
        telemetry.close()
        assert len(receiver.requests) == 1
        assert telemetry.account == LedgerTotals(dropped={("export", str(status)): 1})


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
        assert telemetry.account == LedgerTotals(exported=1)
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


def test_an_absent_collector_is_given_up_at_the_end_and_is_said_once() -> None:
    with telemetry_to(UNUSED_URL) as telemetry:
        telemetry.meter.create_counter("a").add(1)
        for _ in range(3000):
            telemetry.submit(span(), 1)
        telemetry.close(timeout_s=AN_HOUR_S)
    assert telemetry.account == LedgerTotals(dropped={("export", "unreachable"): 3000})
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
    # A busy machine only adds to it: the quickest of some tells how long the end waits for a collector.
    assert any(end_took_s(talk, protocol, flush_s=0.6) < 1.0 for _ in range(20))


def end_took_s(talk: Callable[[socket.socket], None], protocol: str, *, flush_s: float) -> float:
    """Seconds, with a collector that takes nothing and goes on for an hour if nobody ends it."""
    is_sending = threading.Event()

    def talk_at_last(connection: socket.socket) -> None:
        is_sending.set()
        talk(connection)

    with (
        raw_server(talk_at_last) as url,
        telemetry_to(url, OTEL_EXPORTER_OTLP_PROTOCOL=protocol) as telemetry,
    ):
        telemetry.meter.create_counter("a").add(1)
        for _ in range(600):
            telemetry.submit(span(), 1)
        assert is_sending.wait(60)
        start_s = time.monotonic()
        telemetry.close(timeout_s=flush_s)
        took_s = time.monotonic() - start_s
    account = telemetry.account
    assert (account.exported, account.pending, sum(account.dropped.values())) == (0, 0, 600)
    assert telemetry.complaints()
    return took_s


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_process_ends_too_when_a_send_never_does(protocol: str) -> None:
    program = """
import os, sys
from exporter.otlp.environment import resolve_destinations
from exporter.otlp.telemetry import Telemetry
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext
telemetry = Telemetry(resolve_destinations(os.environ, otlp_dir=None), {})
span = ReadableSpan("x", SpanContext(1, 1, False), resource=telemetry.resource, start_time=1, end_time=2)
telemetry.submit(span, 1)
sys.stdin.readline()
telemetry.close(timeout_s=1)
"""
    is_sending = threading.Event()
    with raw_server(lambda _: is_sending.set()) as url:
        environ = os.environ | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_TIMEOUT": f"{AN_HOUR_S * 1000}",
        }
        with subprocess.Popen(
            [sys.executable, "-c", program],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert is_sending.wait(60)
                assert process.communicate("\n", timeout=60) == ("", "")
            finally:
                process.kill()
        assert process.returncode == 0


def test_garbage_instead_of_http_is_an_error_like_another() -> None:
    def talk(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(1 << 16)
            connection.sendall(b"\x00\xffSSH-2.0-garbage\r\n\r\n")

    with raw_server(talk) as url, telemetry_to(url) as telemetry:
        telemetry.submit(span(), 1)
        telemetry.close()
        assert telemetry.account == LedgerTotals(dropped={("export", "protocol"): 1})


def test_metrics_get_out_even_when_spans_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.otlp.telemetry._SHARE_FOR_SPANS", 0.01)  # of a time that is long enough
    with (
        raw_server(hang) as black_hole,
        collector() as receiver,
        telemetry_to(receiver.url, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=black_hole) as telemetry,
    ):
        telemetry.meter.create_observable_counter("dropped", [lambda _: observe_drops(telemetry)])
        telemetry.submit(span(), 7)
        telemetry.close(timeout_s=50)
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
    gate = Gate()
    with collector(gate) as receiver:
        with telemetry_to(receiver.url, capacity=10) as telemetry:
            telemetry.submit(span("first"), 1)
            wait_until(lambda: bool(receiver.requests))
            for number in range(1000):
                telemetry.submit(span(str(number)), 1)
            assert telemetry.account == LedgerTotals(0, {("export", "queue_full"): 990}, pending=11)
            gate.open()
        assert receiver.spans() == ["first", *map(str, range(10))]
        assert telemetry.account == LedgerTotals(11, {("export", "queue_full"): 990})


def test_a_file_alone_is_enough_to_be_exported_and_the_dead_collector_is_still_said(tmp_path: Path) -> None:
    with telemetry_to(UNUSED_URL, tmp_path) as telemetry:
        telemetry.submit(span(), 1)
    assert telemetry.account == LedgerTotals(exported=1)
    assert len((tmp_path / "traces.jsonl").read_bytes().splitlines()) == 1
    assert any("Connection refused" in line for line in telemetry.complaints())


def test_what_is_submitted_after_the_end_is_dropped_and_counted() -> None:
    with collector() as receiver, telemetry_to(receiver.url) as telemetry:
        telemetry.close()
        telemetry.submit(span(), 2)
        telemetry.close()
        assert telemetry.account == LedgerTotals(dropped={("export", "closed"): 2})


def test_a_disabled_sdk_exports_nothing_and_says_so_in_the_account(tmp_path: Path) -> None:
    with telemetry_to(UNUSED_URL, tmp_path, OTEL_SDK_DISABLED="true") as telemetry:
        telemetry.meter.create_counter("a").add(1)
        telemetry.submit(span(), 1)
    assert telemetry.account == LedgerTotals(dropped={("export", "disabled"): 1})
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


def test_a_log_record_leaves_at_once_in_the_trace_of_its_job() -> None:
    with collector() as receiver, telemetry_to(receiver.url) as telemetry:
        telemetry.log(log_record(text="x"))  # the first one also loads its encoder
        wait_until(lambda: len(receiver.logs()) == 1)

        def took_s(number: int) -> float:
            start_s = time.monotonic()
            telemetry.log(log_record("cicd.egress.denied"))
            wait_until(lambda: len(receiver.logs()) == number)
            return time.monotonic() - start_s

        # A busy machine only adds to it: the quickest of many tells how long a record is kept.
        assert any(took_s(number) < 0.3 for number in range(2, 52))
        first, second, *others = receiver.logs()
        assert (first.event_name, second.event_name) == ("cicd.egress.novel", "cicd.egress.denied")
        assert (first.trace_id.hex(), first.span_id.hex()) == (f"{0xABC:032x}", f"{0xDEF:016x}")
        assert first.flags == TraceFlags.SAMPLED
        assert (first.severity_number, first.severity_text) == (13, "WARN")
        assert first.time_unix_nano == 1_764_000_000_000_000_001
        assert [(one.key, one.value.string_value) for one in first.attributes] == [("text", "x")]
        wait_until(lambda: telemetry.log_account == LedgerTotals(exported=2 + len(others)))
        assert telemetry.account == LedgerTotals()


def test_log_records_that_get_lost_are_counted_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    travel_together(monkeypatch)
    partial = ExportLogsServiceResponse(partial_success=ExportLogsPartialSuccess(rejected_log_records=1))
    with collector(lambda _: Answer(body=partial.SerializeToString())) as receiver:
        with telemetry_to(receiver.url) as telemetry:
            telemetry.log(log_record("\udcff"))
            telemetry.log(log_record())
            telemetry.log(log_record())
        dropped = {("export", "rejected"): 1, ("export", "encoding"): 1}
        assert telemetry.log_account == LedgerTotals(1, dropped)
        lines = telemetry.complaints()
    assert "1 log record got lost (rejected)" in lines
    assert "1 log record got lost (encoding)" in lines
    assert any(f"{receiver.url}/v1/logs rejected log records" in line for line in lines)


def test_a_flood_of_log_records_never_waits_and_is_counted() -> None:
    gate = Gate()
    with collector(gate) as receiver:
        with telemetry_to(receiver.url) as telemetry:
            for _ in range(10_000):
                telemetry.log(log_record())
            assert receiver.taken == []
            gate.open()
        account = telemetry.log_account
        assert account.exported + account.dropped["export", "queue_full"] == 10_000
        assert len(receiver.logs()) == account.exported >= 8192


def test_certificates_that_are_none_are_refused_at_the_start(tmp_path: Path) -> None:
    nonsense = tmp_path / "ca.pem"
    nonsense.write_text("not a certificate")
    with pytest.raises(UsageError, match="OTEL_EXPORTER_OTLP_CERTIFICATE"):
        telemetry_to("https://127.0.0.1:1", OTEL_EXPORTER_OTLP_CERTIFICATE=str(nonsense))
