"""Collector and Jaeger end, crash and come back: each span is in Jaeger once, none is missing."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
import urllib3

from demo.stack.servers import Stack, prepare, running_stack
from exporter.otlp.ledger import LedgerTotals
from exporter.otlp.records import LogRecord, Severity
from tests.stack.apis import ANSWER_WITHIN_S
from tests.stack.conftest import wait_until
from tests.stack.span_sender import START_NS, context, new_trace_id, stored_ids, submit, telemetry_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.otlp.telemetry import Telemetry

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]  # the first one may wait for the builds
both_protocols = pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
RETRIED_WITHIN_S = 240.0
"""The collector waits up to 45 s between two attempts to reach Jaeger, and a sender up to 36 s for it."""


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Jaeger and a collector of this module's own: the other tests' keep running."""
    folder = tmp_path_factory.mktemp("outages")
    with running_stack(folder, binaries=prepare(), servers=("jaeger", "collector")) as running:
        yield running


def sent_to_jaeger(stack: Stack) -> int:
    """How many spans Jaeger took from this collector since it started."""
    exposition = urllib3.request("GET", stack.collector_self_url, timeout=ANSWER_WITHIN_S).data.decode()
    found = re.findall(r"^otelcol_exporter_sent_spans\{.*\} (\S+)$", exposition, re.MULTILINE)
    return sum(int(float(value)) for value in found)


def has_exported(telemetry: Telemetry, count: int) -> bool:
    """Did the collector accept so many?"""
    return telemetry.account.exported >= count


@both_protocols
def test_what_the_collector_accepted_outlives_its_crash_while_jaeger_is_away(
    own_stack: Stack, protocol: str
) -> None:
    trace_id = new_trace_id()
    wanted = list(range(1, 2001))
    own_stack.jaeger.stop()
    with telemetry_to(own_stack.otlp_environ(protocol)) as telemetry:
        submit(telemetry, trace_id, wanted)
    assert telemetry.account == LedgerTotals(exported=len(wanted))
    own_stack.collector.kill()
    own_stack.collector.start()
    assert sent_to_jaeger(own_stack) == 0
    own_stack.jaeger.start()
    wait_until(lambda: len(stored_ids(own_stack, trace_id)) >= len(wanted), within_s=RETRIED_WITHIN_S)
    assert stored_ids(own_stack, trace_id) == wanted
    wait_until(lambda: sent_to_jaeger(own_stack) >= len(wanted))
    assert sent_to_jaeger(own_stack) == len(wanted)


@both_protocols
def test_a_collector_that_crashes_amid_the_spans_loses_none(own_stack: Stack, protocol: str) -> None:
    trace_id = new_trace_id()
    wanted = list(range(1, 3001))
    with telemetry_to(own_stack.otlp_environ(protocol)) as telemetry:
        for first in (1, 1001, 2001):
            submit(telemetry, trace_id, range(first, first + 1000))
            wait_until(partial(has_exported, telemetry, first))
            own_stack.collector.kill()
            own_stack.collector.start()
        wait_until(lambda: telemetry.account.exported == len(wanted), within_s=RETRIED_WITHIN_S)
    assert telemetry.account == LedgerTotals(exported=len(wanted))
    wait_until(lambda: len(set(stored_ids(own_stack, trace_id))) >= len(wanted), within_s=RETRIED_WITHIN_S)
    assert Counter(stored_ids(own_stack, trace_id)) == Counter(wanted)


def test_what_jaeger_has_outlives_its_crash(own_stack: Stack) -> None:
    trace_id = new_trace_id()
    wanted = list(range(1, 501))
    with telemetry_to(own_stack.otlp_environ()) as telemetry:
        submit(telemetry, trace_id, wanted)
    wait_until(lambda: len(stored_ids(own_stack, trace_id)) == len(wanted))
    own_stack.jaeger.kill()
    own_stack.jaeger.start()
    assert stored_ids(own_stack, trace_id) == wanted


def test_log_records_that_the_collector_accepted_outlive_its_crash(own_stack: Stack) -> None:
    trace_ids = [new_trace_id() for _ in range(20)]
    with telemetry_to(own_stack.otlp_environ()) as telemetry:
        for trace_id in trace_ids:
            where = context(trace_id, 1)
            record = LogRecord("cicd.egress.novel", Severity.WARN, START_NS, {}, telemetry.resource, where)
            telemetry.log(record)
        wait_until(lambda: telemetry.log_account == LedgerTotals(exported=len(trace_ids)))
        own_stack.collector.kill()
    own_stack.collector.start()
    written = own_stack.log_records.read_text()
    assert [written.count(f"{trace_id:032x}") for trace_id in trace_ids] == [1] * len(trace_ids)


def test_a_queue_that_is_full_refuses_and_drops_nothing(own_stack: Stack) -> None:
    trace_id = new_trace_id()
    wanted = list(range(1, 401))
    large = {"process.command_args": ["x" * 8000] * 4}
    small_queue = "yaml:exporters::otlp_grpc/jaeger::sending_queue::queue_size: 5_000_000"
    collector = replace(own_stack.collector, command=[*own_stack.collector.command, "--config", small_queue])
    own_stack.collector.stop()
    own_stack.jaeger.stop()
    collector.start()
    try:
        with telemetry_to(own_stack.otlp_environ()) as telemetry:
            submit(telemetry, trace_id, wanted, large)
            wait_until(
                lambda: "sending queue is full" in collector.log.read_text(), within_s=RETRIED_WITHIN_S
            )
            assert telemetry.account.exported < len(wanted)
            own_stack.jaeger.start()
            wait_until(lambda: telemetry.account.exported == len(wanted), within_s=RETRIED_WITHIN_S)
        assert telemetry.account == LedgerTotals(exported=len(wanted))
        wait_until(lambda: stored_ids(own_stack, trace_id) == wanted, within_s=RETRIED_WITHIN_S)
    finally:
        collector.stop()
        own_stack.collector.start()
