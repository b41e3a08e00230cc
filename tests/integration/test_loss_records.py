"""A loss is also a log record, in the job's trace, at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext

from exporter.otlp.ledger import LedgerTotals
from exporter.pipeline.account import Bookkeeping, KernelCounts
from exporter.pipeline.event_log import EventLog
from exporter.session.guards.checks import LossReporter
from tests.integration.receivers import Answer, Collector, Request, collector, span, telemetry_to, wait_until
from tests.launch import PLAIN_ENVIRONMENT, ci_egress, plain

CONTEXT = SpanContext(0xABC, 0xDEF, is_remote=False)


def refuse_spans(request: Request) -> Answer:
    return Answer(400 if request.path == "/v1/traces" else 200)


def losses(receiver: Collector) -> list[tuple[str, str, int]]:
    """(stage, error type, attempts) of every record that arrived."""
    told = []
    for record in receiver.logs():
        found = {one.key: one.value for one in record.attributes}
        stage, error_type = (found[name].string_value for name in ("egress.stage", "error.type"))
        told.append((stage, error_type, found["egress.attempts"].int_value))
    return told


def test_each_kind_of_loss_is_told_once_with_its_number() -> None:
    with collector(refuse_spans) as receiver:
        with telemetry_to(receiver.url) as telemetry:
            books = Bookkeeping(
                lambda: KernelCounts(9, 2), lambda: telemetry.account, lambda: 0, LedgerTotals
            )
            reporter = LossReporter(books.account, EventLog(telemetry.log, Resource({"a": "b"}), CONTEXT))
            reporter.tick()
            telemetry.submit(span(), 5)
            wait_until(lambda: telemetry.account == LedgerTotals(dropped={("export", "400"): 5}))
            reporter.tick()  # too soon
            reporter.tell()
            reporter.tell()
            telemetry.submit(span(), 1)
            telemetry.submit(span(), 1)
            telemetry.close(before_logs=reporter.tell)
        assert losses(receiver) == [("kernel", "ring_full", 2), ("export", "400", 5), ("export", "400", 2)]
        assert [record.body.string_value for record in receiver.logs()] == [
            "2 attempts dropped (kernel: ring_full)",
            "5 attempts dropped (export: 400)",
            "2 attempts dropped (export: 400)",
        ]
        record = receiver.logs()[0]
        assert record.event_name == "cicd.egress.exporter.loss"
        assert record.severity_text == "WARN"
        assert (record.trace_id.hex(), record.span_id.hex()) == (f"{0xABC:032x}", f"{0xDEF:016x}")


@pytest.mark.kernel
def test_a_run_tells_what_got_lost_in_the_trace_of_its_job(tmp_path: Path) -> None:
    with collector(refuse_spans) as receiver:
        env = PLAIN_ENVIRONMENT | {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver.url}/v1/traces",
            "STATE_DIRECTORY": str(tmp_path / "state"),
        }
        script = "exec 3<>/dev/tcp/127.0.0.1/1 || true"
        done = ci_egress("run", "--json-log", "--", "bash", "-c", script, cwd=tmp_path, env=env)
    assert done.status == 0, done.stderr
    (line,) = (tmp_path / "ci-egress" / "logs.jsonl").read_text().splitlines()
    (by_resource,) = json.loads(line)["resourceLogs"]
    assert plain(by_resource["resource"]["attributes"])["service.name"] == "ci-egress"
    (record,) = by_resource["scopeLogs"][0]["logRecords"]
    assert plain(record["attributes"]) == {
        "egress.stage": "export",
        "error.type": "400",
        "egress.attempts": 1,
    }
    assert record["body"] == {"stringValue": "1 attempt dropped (export: 400)"}
    summary = json.loads(done.stderr.splitlines()[-1])
    assert (record["eventName"], record["traceId"]) == ("cicd.egress.exporter.loss", summary["trace_id"])
