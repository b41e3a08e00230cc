"""Each stage behind the kernel is stopped in turn, and the account adds up at every moment.

The spool's turn, full by its own limit or by the disk's, is in test_otlp_outage.py.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path

import pytest

from exporter.otlp.ledger import LedgerTotals
from tests.integration.audit import Job, audited
from tests.integration.receivers import (
    UNUSED_URL,
    Answer,
    Gate,
    Request,
    collector,
    raw_server,
    telemetry_to,
    wait_until,
)


def burst(job: Job, number: int = 1500) -> int:
    """Spans for single attempts and for many; returns the attempts."""
    before = job.attempts
    for index in range(number):
        job.submit(attempts=index % 5 + 1, aggregated=index % 5 > 0)
    return job.attempts - before


def test_while_all_is_well() -> None:
    with collector() as receiver, telemetry_to(receiver.url) as telemetry, audited(telemetry) as job:
        for _ in range(3):
            burst(job, 500)
            time.sleep(0.1)
        telemetry.close()
        assert telemetry.account == LedgerTotals(exported=300, aggregated=4200)
        assert sum(job.account().pending.values()) == 0


@pytest.mark.parametrize(("status", "error_type"), [(400, "400"), (404, "404"), (401, "401")])
def test_while_the_collector_refuses(status: int, error_type: str) -> None:
    with collector(lambda _: Answer(status)) as receiver:
        with telemetry_to(receiver.url) as telemetry, audited(telemetry) as job:
            for _ in range(3):
                burst(job, 500)
                time.sleep(0.1)
            telemetry.close()
        assert telemetry.account == LedgerTotals(dropped={("export", error_type): 4500})


def test_while_the_collector_takes_some_and_refuses_some() -> None:
    answers = [Answer(), Answer(400), Answer(503), Answer(), Answer(), Answer(429)]
    count = iter(range(1000))
    with collector(lambda _: answers[next(count) % len(answers)]) as receiver:
        with telemetry_to(receiver.url) as telemetry, audited(telemetry) as job:
            for _ in range(6):
                burst(job, 500)
                time.sleep(0.1)
            wait_until(lambda: telemetry.account.pending == 0)
        account = telemetry.account
        assert set(account.dropped) == {("export", "400")}
        assert account.exported + account.aggregated + account.dropped["export", "400"] == 9000
        assert len(receiver.spans()) == len(set(receiver.spans()))


def test_while_the_queue_is_full() -> None:
    gate = Gate()
    with collector(gate) as receiver:
        with telemetry_to(receiver.url, capacity=100) as telemetry, audited(telemetry) as job:
            burst(job)
            wait_until(lambda: bool(receiver.requests))
            burst(job)
            assert telemetry.room == 0
            gate.open()
            wait_until(lambda: telemetry.account.pending == 0)
            burst(job, 50)
            telemetry.close()
        account = telemetry.account
        assert set(account.dropped) == {("export", "queue_full")}
        assert account.dropped["export", "queue_full"] > 5000


def test_a_source_that_heeds_the_room_loses_nothing() -> None:
    def answer(_: Request) -> Answer:
        time.sleep(0.05)
        return Answer()

    with collector(answer) as receiver:
        with telemetry_to(receiver.url, capacity=200) as telemetry, audited(telemetry) as job:
            while job.attempts < 3000:
                if telemetry.room:
                    job.submit()
                else:
                    time.sleep(0.001)
        assert telemetry.account == LedgerTotals(exported=3000)


def test_while_nobody_is_there_and_time_runs_out() -> None:
    with telemetry_to(UNUSED_URL) as telemetry, audited(telemetry) as job:
        burst(job)
        telemetry.close()
        assert telemetry.account == LedgerTotals(dropped={("export", "unreachable"): 4500})


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_while_the_answer_never_comes_and_time_runs_out(protocol: str) -> None:
    is_sending = threading.Event()

    def hang(connection: socket.socket) -> None:
        is_sending.set()
        with contextlib.suppress(OSError):
            while connection.recv(1 << 16):
                pass

    with raw_server(hang) as url, telemetry_to(url, OTEL_EXPORTER_OTLP_PROTOCOL=protocol) as telemetry:
        with audited(telemetry) as job:
            burst(job)
            assert is_sending.wait(60)
            telemetry.close(timeout_s=0.6)
            burst(job, 5)
        assert telemetry.account == LedgerTotals(
            dropped={("export", "timeout"): 4500, ("export", "closed"): 15}
        )


def test_while_one_destination_fails_and_another_takes_it(tmp_path: Path) -> None:
    with collector(lambda _: Answer(400)) as receiver:
        with telemetry_to(receiver.url, tmp_path) as telemetry, audited(telemetry) as job:
            for _ in range(5):
                burst(job, 500)
                time.sleep(0.05)
            telemetry.close()
        assert telemetry.account == LedgerTotals(exported=500, aggregated=7000)


def test_while_a_file_cant_be_written_and_a_collector_takes_it(tmp_path: Path) -> None:
    with (
        collector() as receiver,
        telemetry_to(receiver.url, tmp_path) as telemetry,
        audited(telemetry) as job,
    ):
        burst(job, 500)
        wait_until(lambda: telemetry.account.pending == 0)
        (tmp_path / "traces.jsonl").unlink()
        (tmp_path / "traces.jsonl").mkdir()
        burst(job, 500)
        telemetry.close()
        assert telemetry.account == LedgerTotals(exported=200, aggregated=2800)
        assert any("traces.jsonl" in line for line in telemetry.complaints())
