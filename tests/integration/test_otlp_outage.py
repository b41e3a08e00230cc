"""A collector that is away: telemetry waits on disk, in bounds, and arrives once, in its order."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from exporter.otlp.courier import Courier, Spooling, Timer
from exporter.otlp.environment import resolve_destinations
from exporter.otlp.ledger import LedgerTotals
from exporter.otlp.spool_folder import SpoolFolder
from exporter.otlp.telemetry import Telemetry
from tests.integration.audit import audited
from tests.integration.receivers import (
    UNUSED_URL,
    Answer,
    Collector,
    Request,
    collector,
    log_record,
    raw_server,
    span,
    telemetry_to,
    travel_together,
    wait_until,
)

AWAY = Answer(503)


class FastTimer(Timer):
    """Pauses pass at once; what they would have taken adds up."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now_s(self) -> float:
        return self.passed_s

    def wait(self, changed: threading.Condition, timeout_s: float) -> None:
        changed.wait(0.01)
        self.passed_s += timeout_s


class Doorman:
    """Answers 503 for a collector until it is back."""

    def __init__(self) -> None:
        self.is_away = True
        self.answer = Answer()
        """When it is back."""

    def __call__(self, _: Request) -> Answer:
        return AWAY if self.is_away else self.answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where telemetry waits."""
    return tmp_path / "state" / "spool"


@pytest.fixture
def doorman() -> Doorman:
    return Doorman()


@pytest.fixture
def receiver(doorman: Doorman) -> Iterator[Collector]:
    """A collector that is away until `doorman.is_away` is False."""
    with collector(doorman) as running:
        yield running


def open_telemetry(
    url: str,
    folder: Path,
    *,
    otlp_dir: Path | None = None,
    timer: Timer | None = None,
    limit_bytes: int = 256 << 20,
    capacity: int = 8192,
    **environ: str,
) -> Telemetry:
    spooling = Spooling(SpoolFolder(folder, limit_bytes), timer or FastTimer())
    return telemetry_to(url, otlp_dir, capacity=capacity, spooling=spooling, **environ)


def held(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


def test_ten_minutes_of_outage_lose_nothing_and_the_order_stays(
    folder: Path, receiver: Collector, doorman: Doorman
) -> None:
    timer = FastTimer()
    with open_telemetry(receiver.url, folder, timer=timer) as telemetry, audited(telemetry) as job:
        while timer.passed_s < 600:
            job.submit(attempts=1)
            job.submit(attempts=3, aggregated=True)
            time.sleep(0.0005)
            wait_until(lambda: telemetry.room > 4096)
        assert receiver.taken == []
        assert len(receiver.requests) >= 15
        doorman.is_away = False
        wait_until(lambda: telemetry.account.spooled == telemetry.account.pending == 0)
    spans = job.attempts // 4
    assert telemetry.account == LedgerTotals(exported=spans, aggregated=3 * spans)
    assert receiver.spans() == [str(4 * number + part) for number in range(spans) for part in (0, 1)]
    assert held(folder) == []


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_collector_that_hangs_never_fills_the_queue(folder: Path, protocol: str) -> None:
    with (
        raw_server(lambda _: None) as url,
        open_telemetry(url, folder, capacity=2000, OTEL_EXPORTER_OTLP_PROTOCOL=protocol) as telemetry,
    ):
        with audited(telemetry) as job:
            for _ in range(4):
                for _ in range(1500):
                    job.submit()
                wait_until(lambda: telemetry.room == 2000)
            wait_until(lambda: telemetry.account.spooled == 6000)
            telemetry.close(timeout_s=1.5)  # while a send goes on that may take an hour
        assert telemetry.account == LedgerTotals(spooled=6000)
        wait_until(lambda: any(line.startswith("spans (6000 attempts)") for line in telemetry.notes()))


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_collector_that_hangs_at_the_end_is_told_once(folder: Path, protocol: str, *, waits: bool) -> None:
    asked = threading.Event()
    with raw_server(lambda _: asked.set()) as url:
        telemetry = open_telemetry(url, folder, timer=Timer(), OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
        telemetry.submit(span(), attempts=1)
        assert not waits or asked.wait(60)
        telemetry.close(timeout_s=2 if waits else 8)  # which has to be enough to begin to send it
        told = telemetry.complaints()
        assert [f"spans can't be sent to {url}" in line and "no answer" in line for line in told] == [True]
        time.sleep(0.5)
    assert telemetry.complaints() == []


def test_what_waits_at_the_end_is_pending_and_the_next_start_delivers_it(
    folder: Path, receiver: Collector, doorman: Doorman
) -> None:
    with open_telemetry(receiver.url, folder) as telemetry, audited(telemetry) as job:
        for number in range(1200):
            job.submit(attempts=number % 3 + 1, aggregated=number % 3 > 0, name=str(number))
        telemetry.close()
        assert job.account().pending == {"ring": 0, "queue": 0, "spool": 2400}
    (line,) = telemetry.notes()
    assert line.startswith(f"spans (2400 attempts) wait in {folder} for the next start")

    doorman.is_away = False
    with open_telemetry(receiver.url, folder) as telemetry:
        wait_until(lambda: telemetry.earlier == LedgerTotals(exported=400, aggregated=2000))
        assert telemetry.account == LedgerTotals()
    assert telemetry.notes() == [f"2400 attempts of earlier runs were delivered from {folder}"]
    assert receiver.spans() == [str(number) for number in range(1200)]
    assert telemetry.complaints() == []
    assert held(folder) == []


KILLED = """
import os, sys, time
from pathlib import Path
from tests.integration.test_otlp_outage import open_telemetry
from tests.integration.receivers import span
telemetry = open_telemetry(sys.argv[1], Path(sys.argv[2]))
for number in range(700):
    telemetry.submit(span(str(number)), 2, aggregated=True)
while telemetry.account.spooled != 1400:
    time.sleep(0.01)
print("ready", flush=True)
sys.stdin.read()
"""


def test_what_waits_survives_a_kill(folder: Path, receiver: Collector, doorman: Doorman) -> None:
    command = [sys.executable, "-c", KILLED, receiver.url, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            with open_telemetry(receiver.url, folder) as other:
                pass
            assert other.earlier == LedgerTotals()  # its owner lives
        finally:
            process.kill()
    doorman.is_away = False
    with open_telemetry(receiver.url, folder) as telemetry:
        wait_until(lambda: telemetry.earlier == LedgerTotals(aggregated=1400))
    assert receiver.spans() == [str(number) for number in range(700)]
    assert held(folder) == []


def test_what_runs_for_the_first_time_after_the_end_takes_nothing_over(
    folder: Path, receiver: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_telemetry(receiver.url, folder) as telemetry:
        telemetry.submit(span(), 1)
    may_run = threading.Event()
    done = []
    run = Courier._run

    def run_late(courier: Courier) -> None:
        may_run.wait()
        run(courier)
        done.append(courier)

    with monkeypatch.context() as patch:
        patch.setattr(Courier, "_run", run_late)
        open_telemetry(receiver.url, folder).close(timeout_s=0)
        may_run.set()
        wait_until(lambda: len(done) == 3)
    with open_telemetry(receiver.url, folder) as telemetry:
        wait_until(lambda: telemetry.earlier.spooled == 1)


def test_what_earlier_processes_left_goes_out_first(
    folder: Path, receiver: Collector, doorman: Doorman
) -> None:
    for number in (1, 2):
        with open_telemetry(receiver.url, folder) as telemetry:
            telemetry.submit(span(f"left {number}"), 1)
    with open_telemetry(receiver.url, folder) as telemetry:
        wait_until(lambda: telemetry.earlier.spooled == 2)
        telemetry.submit(span("new"), 1)
        wait_until(lambda: telemetry.account.spooled == 1)
        doorman.is_away = False
        wait_until(lambda: telemetry.account.exported == 1)
    assert receiver.spans() == ["left 1", "left 2", "new"]


def test_another_endpoint_gets_nothing_and_no_secret_is_on_disk(folder: Path, receiver: Collector) -> None:
    with open_telemetry(
        receiver.url,
        folder,
        OTEL_EXPORTER_OTLP_HEADERS="authorization=s3cret-header",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{receiver.url}/v1/traces?token=s3cret-query",
    ) as telemetry:
        telemetry.submit(span("private"), 1)
        wait_until(lambda: telemetry.account.spooled == 1)
        names = "".join(path.name for path in folder.iterdir())
        content = b"".join(path.read_bytes() for path in folder.iterdir())
    (path,) = folder.glob("*.db")
    with contextlib.closing(sqlite3.connect(path)) as database:
        ((packed, *others),) = database.execute("SELECT packed, number, exported, aggregated FROM parcels")
    assert b"private" in (payload := zlib.decompress(packed))
    assert others == [1, 1, 0]
    assert "s3cret" not in names
    assert b"s3cret" not in content + payload
    with collector() as other, open_telemetry(other.url, folder) as telemetry:
        telemetry.submit(span("other"), 1)
        telemetry.close()
        assert other.spans() == ["other"]
        assert telemetry.earlier == LedgerTotals()
    assert ".db" in held(folder)


def test_what_waits_for_a_collector_that_nobody_uses_any_more_is_given_up_and_counted(
    folder: Path, receiver: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_telemetry(receiver.url, folder) as telemetry:
        telemetry.submit(span(), 5)
    now_ns = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now_ns + 8 * 86_400 * 10**9)
    with collector() as other, open_telemetry(other.url, folder) as telemetry:
        wait_until(lambda: telemetry.earlier == LedgerTotals(dropped={("spool", "expired"): 5}))
        (line,) = telemetry.complaints()
    assert line.startswith("5 attempts of an earlier run waited for another collector for 7 days in")
    assert other.spans() == []
    assert held(folder) == []


def test_a_full_spool_keeps_the_oldest_and_counts_what_it_refuses(
    folder: Path, receiver: Collector, doorman: Doorman, monkeypatch: pytest.MonkeyPatch
) -> None:
    travel_together(monkeypatch)  # what is refused is as large as what was taken
    limit = 400_000
    with open_telemetry(receiver.url, folder, limit_bytes=limit) as telemetry, audited(telemetry) as job:
        while not telemetry.account.dropped:
            for _ in range(512):
                job.submit(text=secrets.token_hex(60))
            wait_until(lambda: telemetry.account.pending == 0)
            assert sum(path.stat().st_size for path in folder.iterdir()) < 2 * limit
        (where,) = telemetry.account.dropped
        assert where == ("spool", "spool_full")
        kept = telemetry.account.spooled
        doorman.is_away = False
        wait_until(lambda: telemetry.account.exported == kept)
        job.submit(name="after")
    assert job.attempts == kept + telemetry.account.dropped[where] + 1
    assert receiver.spans() == [*map(str, range(kept)), "after"]
    assert any(f"can't wait in {folder}" in line for line in telemetry.complaints())
    assert held(folder) == []


@pytest.mark.kernel  # root: mounts
def test_a_full_disk_is_counted_told_and_survived(
    tmp_path: Path, receiver: Collector, doorman: Doorman
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k,mode=755", "small", small], check=True)
    try:
        folder = small / "spool"
        with open_telemetry(receiver.url, folder) as telemetry, audited(telemetry) as job:
            while not telemetry.account.dropped:
                for _ in range(512):
                    job.submit(text=secrets.token_hex(60))
                wait_until(lambda: telemetry.account.pending == 0)
            assert set(telemetry.account.dropped) == {("spool", "ENOSPC")}
            lost = telemetry.account.dropped["spool", "ENOSPC"]
            doorman.is_away = False
            wait_until(lambda: telemetry.account.exported == job.attempts - lost)
            job.submit(name="after")
        assert telemetry.account.exported == job.attempts - lost
        assert len(receiver.spans()) == len(set(receiver.spans())) == job.attempts - lost
        assert any("can't wait in" in line and "full" in line for line in telemetry.complaints())
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)


def damage(path: Path) -> None:
    """Overwrite it in place; it may go meanwhile, since it is in use."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        file.write(b"\xa5" * path.stat().st_size)


def test_a_spool_that_is_damaged_while_in_use_is_counted_told_and_replaced(
    folder: Path, receiver: Collector, doorman: Doorman
) -> None:
    with open_telemetry(receiver.url, folder) as telemetry, audited(telemetry) as job:
        for _ in range(2000):
            job.submit(text=secrets.token_hex(150))
        wait_until(lambda: telemetry.account.spooled == 2000)
        for path in folder.glob("*.db*"):
            damage(path)
        doorman.is_away = False
        wait_until(lambda: telemetry.account.spooled == 0)
        job.submit(name="after")
        telemetry.close()
        account = telemetry.account
        assert account.dropped == {("spool", "corrupt"): 2001 - account.exported}
        assert account.exported >= 1
    assert receiver.spans()[-1] == "after"
    assert any(f"a file in {folder} is damaged" in line for line in telemetry.complaints())
    assert held(folder) == []


def test_a_damaged_spool_of_an_earlier_process_is_told_and_goes(
    folder: Path, receiver: Collector, doorman: Doorman
) -> None:
    with open_telemetry(receiver.url, folder) as telemetry:
        telemetry.submit(span(), 1)
    (path,) = folder.glob("*.db")
    path.write_bytes(b"not a database" * 1000)
    doorman.is_away = False
    with open_telemetry(receiver.url, folder) as telemetry:
        telemetry.submit(span(), 1)
        telemetry.close()
        assert telemetry.account == LedgerTotals(exported=1)
        assert telemetry.earlier == LedgerTotals()
    assert any("not a database" in line for line in telemetry.complaints())
    assert held(folder) == []


@pytest.mark.parametrize("undamaged", [0.3, 0.6, 0.9])
def test_an_earlier_spool_that_is_damaged_further_on_gives_what_it_can(
    folder: Path, receiver: Collector, doorman: Doorman, undamaged: float
) -> None:
    with open_telemetry(receiver.url, folder) as telemetry:
        for number in range(5120):
            telemetry.submit(span(str(number), text=secrets.token_hex(200)), 1)
        wait_until(lambda: telemetry.account.spooled == 5120)
    (path,) = folder.glob("*.db")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(int(size * undamaged))
        file.write(bytes(size - file.tell()))
    doorman.is_away = False
    with open_telemetry(receiver.url, folder) as telemetry:
        wait_until(lambda: held(folder) == [])
        telemetry.submit(span("own"), 1)
        telemetry.close()
        earlier = telemetry.earlier
    assert 0 < earlier.exported < 5120
    assert earlier.exported + earlier.dropped.get(("spool", "corrupt"), 0) <= 5120
    assert receiver.spans() == [*map(str, range(earlier.exported)), "own"]
    assert any("is damaged" in line for line in telemetry.complaints())


def test_a_rejected_part_of_what_waited_is_not_exported(
    folder: Path, receiver: Collector, doorman: Doorman, monkeypatch: pytest.MonkeyPatch
) -> None:
    travel_together(monkeypatch, 2)
    partial = ExportTraceServiceResponse(partial_success=ExportTracePartialSuccess(rejected_spans=1))
    doorman.answer = Answer(body=partial.SerializeToString())
    with open_telemetry(receiver.url, folder) as telemetry, audited(telemetry) as job:
        job.submit(attempts=2)
        job.submit(attempts=9, aggregated=True)
        wait_until(lambda: telemetry.account.spooled == 11)
        doorman.is_away = False
        wait_until(lambda: telemetry.account.spooled == 0)
    assert telemetry.account == LedgerTotals(exported=2, dropped={("export", "rejected"): 9})


def test_what_is_refused_for_good_after_an_outage_is_dropped(
    folder: Path, receiver: Collector, doorman: Doorman
) -> None:
    doorman.answer = Answer(400)
    with open_telemetry(receiver.url, folder) as telemetry, audited(telemetry) as job:
        job.submit(attempts=5)
        wait_until(lambda: telemetry.account.spooled == 5)
        doorman.is_away = False
        wait_until(lambda: telemetry.account.spooled == 0)
    assert telemetry.account == LedgerTotals(dropped={("export", "400"): 5})
    assert held(folder) == []


def test_what_stands_in_a_file_is_exported_though_the_collector_is_away(
    folder: Path, tmp_path: Path, receiver: Collector, doorman: Doorman
) -> None:
    out = tmp_path / "out"
    with open_telemetry(receiver.url, folder, otlp_dir=out) as telemetry, audited(telemetry) as job:
        for _ in range(600):
            job.submit()
        wait_until(lambda: telemetry.account == LedgerTotals(exported=600))
        wait_until(lambda: ".db" in held(folder))
        doorman.is_away = False
    assert telemetry.account == LedgerTotals(exported=600)
    assert receiver.spans() == [str(number) for number in range(600)]


def test_log_records_and_the_last_metrics_wait_too(
    folder: Path, receiver: Collector, doorman: Doorman
) -> None:
    with open_telemetry(receiver.url, folder) as telemetry:
        telemetry.meter.create_counter("a").add(7)
        telemetry.log(log_record("cicd.egress.denied"))
        telemetry.close()
        assert telemetry.log_account == LedgerTotals(spooled=1)
    (line,) = telemetry.notes()
    assert line.startswith(f"log records (1 record), metrics wait in {folder}")
    doorman.is_away = False
    with open_telemetry(receiver.url, folder):
        wait_until(lambda: held(folder) == [])
    assert [record.event_name for record in receiver.logs()] == ["cicd.egress.denied"]
    assert "/v1/metrics" in [request.path for request in receiver.requests]


def test_without_a_folder_of_its_own_it_goes_on_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "spool"
    folder.symlink_to("elsewhere")
    with open_telemetry(UNUSED_URL, folder) as telemetry:
        telemetry.submit(span(), 1)
    assert telemetry.account == LedgerTotals(dropped={("export", "unreachable"): 1})
    assert any("a symbolic link stands there" in line for line in telemetry.complaints())
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_files_alone_need_no_spool(folder: Path, tmp_path: Path) -> None:
    spooling = Spooling(SpoolFolder(folder))
    with Telemetry(resolve_destinations({}, otlp_dir=tmp_path / "out"), {}, spooling=spooling) as telemetry:
        telemetry.submit(span(), 1)
    assert telemetry.account == LedgerTotals(exported=1)
    assert not folder.exists()


@pytest.mark.parametrize("status", [302, 401, 403, 404])
def test_what_a_wrong_header_or_path_keeps_from_the_collector_waits_until_it_is_mended(
    doorman: Doorman, receiver: Collector, folder: Path, status: int
) -> None:
    doorman.is_away = False
    doorman.answer = Answer(status)
    with open_telemetry(receiver.url, folder) as telemetry:
        telemetry.submit(span("first"), 1)
        telemetry.close()
        assert telemetry.account == LedgerTotals(spooled=1)
        assert not telemetry.has_losses
    doorman.answer = Answer()
    with open_telemetry(receiver.url, folder) as telemetry:
        wait_until(lambda: telemetry.earlier.exported == 1)
    assert receiver.spans() == ["first"]


def test_what_the_collector_refuses_of_earlier_runs_is_told(
    doorman: Doorman, receiver: Collector, folder: Path
) -> None:
    with open_telemetry(receiver.url, folder) as telemetry:
        telemetry.submit(span(), 3)
        telemetry.close()
    doorman.is_away = False
    doorman.answer = Answer(400)
    with open_telemetry(receiver.url, folder) as telemetry:
        wait_until(lambda: bool(telemetry.earlier.dropped))
        telemetry.close()
        assert telemetry.has_losses
        assert f"3 attempts of earlier runs that waited in {folder} got lost (400)" in telemetry.notes()


def test_a_span_that_stands_for_no_attempt_is_a_loss_as_well(
    doorman: Doorman, receiver: Collector, folder: Path
) -> None:
    doorman.is_away = False
    doorman.answer = Answer(400)
    with open_telemetry(receiver.url, folder) as telemetry:
        telemetry.submit(span("job"), 0)
        telemetry.close()
        assert telemetry.account == LedgerTotals()
        assert telemetry.has_losses
