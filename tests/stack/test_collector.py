"""What leaves over HTTP and over gRPC arrives at a real Collector, whole, outages included."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import AttributeValue

from exporter import __version__
from exporter.otlp.courier import Spooling
from exporter.otlp.environment import resolve_destinations
from exporter.otlp.ledger import LedgerTotals
from exporter.otlp.records import LogRecord, Severity
from exporter.otlp.spool_folder import SpoolFolder
from exporter.otlp.telemetry import Telemetry
from tests.stack.conftest import Collector, wait_until
from tests.stack.span_sender import patient

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]  # the first one may wait for the build
both_protocols = pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])

TRACE_ID = 0x7AF8CD1DE3FA344B938DED2AF6D4282F
SPAN_ID = 0x00F067AA0BA902B7
START_NS = 1_764_000_000_123_456_789
END_NS = START_NS + 42


def open_telemetry(collector: Collector, protocol: str, **environ: str) -> Telemetry:
    destinations = resolve_destinations(collector.environ(protocol) | environ, otlp_dir=None)
    return Telemetry(destinations, {"cicd.worker.name": "runner-1"}, instance_id="instance-1")


def context(span_id: int, *, remote: bool = False) -> SpanContext:
    return SpanContext(
        TRACE_ID, span_id, remote, TraceFlags(TraceFlags.SAMPLED), TraceState([("vendor", "x")])
    )


def span(
    resource: Resource, attributes: Mapping[str, AttributeValue] | None = None, *, span_id: int = SPAN_ID
) -> ReadableSpan:
    return ReadableSpan(
        name="connect [2001:db8::1]:443",
        context=context(span_id),
        parent=context(7, remote=True),
        resource=resource.merge(Resource({"vcs.repository.name": "app"})),
        attributes=attributes,
        events=(Event("established", {"rtt": 0.25}, timestamp=START_NS + 1),),
        links=(Link(context(9), {"reason": "step"}),),
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.ERROR, "denied"),
        start_time=START_NS,
        end_time=END_NS,
        instrumentation_scope=InstrumentationScope("ci_egress", __version__),
    )


def plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """OTLP/JSON attributes as Python values."""
    return {attribute["key"]: plain_value(attribute["value"]) for attribute in attributes}


def plain_value(value: dict[str, Any]) -> Any:
    ((kind, content),) = value.items()
    if kind == "arrayValue":
        return [plain_value(member) for member in content.get("values", [])]
    return int(content) if kind == "intValue" else content


@both_protocols
def test_a_span_arrives_with_everything_it_has(collector: Collector, protocol: str) -> None:
    attributes: dict[str, AttributeValue] = {
        "server.address": "registry.npm.example",
        "server.port": 443,
        "egress.bytes_sent": (1 << 63) - 1,
        "egress.novel": True,
        "seconds": 0.125,
        "process.command_args": ("curl", "-H", "x: ü\u2028\x1b[31m", ""),
        "ports": (1, 2),
        "flags": (True, False),
        "weights": (0.5, 1.5),
    }
    with patient(open_telemetry(collector, protocol)) as telemetry:
        telemetry.submit(span(telemetry.resource, attributes), 1)
    assert telemetry.account == LedgerTotals(exported=1)
    assert telemetry.complaints() == []

    wait_until(lambda: bool(collector.spans()))
    ((resource, scope, received),) = collector.spans()
    assert plain(resource["attributes"]) == dict(telemetry.resource.attributes) | {
        "vcs.repository.name": "app"
    }
    assert plain(resource["attributes"])["cicd.worker.name"] == "runner-1"
    assert scope == {"name": "ci_egress", "version": __version__}
    assert plain(received.pop("attributes")) == {
        name: list(value) if isinstance(value, tuple) else value for name, value in attributes.items()
    }
    assert received == {
        "traceId": f"{TRACE_ID:032x}",
        "spanId": f"{SPAN_ID:016x}",
        "parentSpanId": f"{7:016x}",
        "traceState": "vendor=x",
        "flags": 0x300,
        "name": "connect [2001:db8::1]:443",
        "kind": 3,
        "startTimeUnixNano": str(START_NS),
        "endTimeUnixNano": str(END_NS),
        "events": [
            {
                "timeUnixNano": str(START_NS + 1),
                "name": "established",
                "attributes": [{"key": "rtt", "value": {"doubleValue": 0.25}}],
            }
        ],
        "links": [
            {
                "traceId": f"{TRACE_ID:032x}",
                "spanId": f"{9:016x}",
                "attributes": [{"key": "reason", "value": {"stringValue": "step"}}],
                "flags": 0x100,
            }
        ],
        "status": {"message": "denied", "code": 2},
    }


@both_protocols
def test_metrics_arrive_with_the_exemplar_of_the_span(collector: Collector, protocol: str) -> None:
    with patient(open_telemetry(collector, protocol)) as telemetry:
        counter = telemetry.meter.create_counter(
            "cicd.egress.connections", unit="{connection}", description="All"
        )
        in_span = trace.set_span_in_context(NonRecordingSpan(context(SPAN_ID)))
        counter.add(2, {"server.address": "a.example", "server.port": 443})
        counter.add(1, {"server.address": "a.example", "server.port": 443}, context=in_span)
        telemetry.meter.create_up_down_counter("cicd.egress.jobs").add(-1)
        telemetry.meter.create_histogram("cicd.egress.connect.duration", unit="s").record(0.3)

    wait_until(lambda: len(collector.metrics()) == 3)
    assert {
        plain(resource["attributes"])["service.instance.id"] for resource, _, _ in collector.metrics()
    } == {"instance-1"}
    metrics = {metric["name"]: metric for _, _, metric in collector.metrics()}
    connections = metrics["cicd.egress.connections"]
    assert (connections["unit"], connections["description"]) == ("{connection}", "All")
    assert (connections["sum"]["aggregationTemporality"], connections["sum"]["isMonotonic"]) == (2, True)
    (point,) = connections["sum"]["dataPoints"]
    assert point["asInt"] == "3"
    assert plain(point["attributes"]) == {"server.address": "a.example", "server.port": 443}
    (exemplar,) = point["exemplars"]
    assert (exemplar["traceId"], exemplar["spanId"]) == (f"{TRACE_ID:032x}", f"{SPAN_ID:016x}")
    assert metrics["cicd.egress.jobs"]["sum"]["dataPoints"][0]["asInt"] == "-1"
    assert metrics["cicd.egress.connect.duration"]["histogram"]["dataPoints"][0]["count"] == "1"


@both_protocols
def test_a_log_record_arrives_at_once_in_the_trace_of_its_job(collector: Collector, protocol: str) -> None:
    with patient(open_telemetry(collector, protocol)) as telemetry:
        record = LogRecord(
            "cicd.egress.denied",
            Severity.ERROR,
            START_NS,
            {"server.address": "evil.example", "server.port": 443, "egress.lineage": ("bash", "curl")},
            telemetry.resource,
            context(SPAN_ID),
        )
        telemetry.log(record)
        wait_until(lambda: bool(collector.logs()))
        assert telemetry.complaints() == []
    ((resource, scope, received),) = collector.logs()
    assert plain(resource["attributes"]) == dict(telemetry.resource.attributes)
    assert scope == {"name": "ci_egress", "version": __version__}
    assert plain(received.pop("attributes")) == {
        "server.address": "evil.example",
        "server.port": 443,
        "egress.lineage": ["bash", "curl"],
    }
    assert received == {
        "timeUnixNano": str(START_NS),
        "observedTimeUnixNano": str(START_NS),
        "severityNumber": 17,
        "severityText": "ERROR",
        "body": {},
        "flags": 1,
        "traceId": f"{TRACE_ID:032x}",
        "spanId": f"{SPAN_ID:016x}",
        "eventName": "cicd.egress.denied",
    }
    assert telemetry.log_account == LedgerTotals(exported=1)


@both_protocols
def test_compressed_requests_arrive(collector: Collector, protocol: str) -> None:
    gzipped = open_telemetry(collector, protocol, OTEL_EXPORTER_OTLP_COMPRESSION="gzip")
    with patient(gzipped) as telemetry:
        telemetry.submit(span(telemetry.resource), 1)
    assert telemetry.account == LedgerTotals(exported=1)
    wait_until(lambda: len(collector.spans()) == 1)


@both_protocols
def test_certificates_of_both_sides_are_used(collector: Collector, protocol: str) -> None:
    destinations = resolve_destinations(collector.tls_environ(protocol), otlp_dir=None)
    with patient(Telemetry(destinations, {})) as telemetry:
        telemetry.submit(span(telemetry.resource), 1)
    assert telemetry.complaints() == []
    assert telemetry.account == LedgerTotals(exported=1)
    wait_until(lambda: len(collector.spans()) == 1)


@both_protocols
@pytest.mark.parametrize("missing", ["CERTIFICATE", "CLIENT"])
def test_a_certificate_that_is_missing_is_a_counted_drop_without_noise(
    collector: Collector, protocol: str, missing: str, capfd: pytest.CaptureFixture[str]
) -> None:
    environ = {
        name: value
        for name, value in collector.tls_environ(protocol).items()
        if not name.startswith(f"OTEL_EXPORTER_OTLP_{missing}")
    }
    with patient(Telemetry(resolve_destinations(environ, otlp_dir=None), {})) as telemetry:
        telemetry.submit(span(telemetry.resource), 1)
    account = telemetry.account
    assert (account.exported, account.pending, sum(account.dropped.values())) == (0, 0, 1)
    assert telemetry.complaints()
    assert capfd.readouterr() == ("", "")


@both_protocols
def test_long_command_lines_keep_within_what_the_collector_takes(collector: Collector, protocol: str) -> None:
    with patient(open_telemetry(collector, protocol)) as telemetry:
        for span_id in range(1, 513):
            telemetry.submit(span(telemetry.resource, {"args": "x" * 32_768}, span_id=span_id), 1)
    assert telemetry.complaints() == []
    assert telemetry.account == LedgerTotals(exported=512)
    wait_until(lambda: len(collector.spans()) == 512)


@both_protocols
def test_an_outage_is_said_once_and_telemetry_resumes_without_loss(
    collector: Collector, protocol: str
) -> None:
    with patient(open_telemetry(collector, protocol)) as telemetry:
        telemetry.submit(span(telemetry.resource, span_id=1), 1)
        wait_until(lambda: telemetry.account.exported == 1)
        wait_until(lambda: len(collector.spans()) == 1)
        collector.kill()

        telemetry.submit(span(telemetry.resource, span_id=2), 2)
        complaints: list[str] = []

        def has_complained() -> bool:
            complaints.extend(telemetry.complaints())
            return bool(complaints)

        wait_until(has_complained)
        assert telemetry.account == LedgerTotals(exported=1, pending=2)

        collector.start()
        telemetry.submit(span(telemetry.resource, span_id=3), 3)
        wait_until(lambda: telemetry.account == LedgerTotals(exported=6))
        complaints.extend(telemetry.complaints())
    assert all("OTEL_EXPORTER_OTLP_ENDPOINT" in line for line in complaints)
    assert len(complaints) == 1
    wait_until(lambda: len(collector.spans()) == 3)
    assert [received["spanId"] for _, _, received in collector.spans()] == [f"{n:016x}" for n in (1, 2, 3)]


@both_protocols
def test_what_waits_on_disk_reaches_the_collector_with_the_next_start(
    collector: Collector, protocol: str, tmp_path: Path
) -> None:
    spooling = Spooling(SpoolFolder(tmp_path / "state" / "spool"))
    destinations = resolve_destinations(collector.environ(protocol), otlp_dir=None)
    collector.kill()
    with patient(Telemetry(destinations, {}, spooling=spooling)) as telemetry:
        telemetry.meter.create_counter("a").add(1)
        for span_id in range(1, 1201):
            telemetry.submit(span(telemetry.resource, span_id=span_id), 2, aggregated=span_id % 2 == 0)
    assert telemetry.account == LedgerTotals(spooled=2400)

    collector.start()
    with Telemetry(destinations, {}, spooling=spooling) as telemetry:
        wait_until(lambda: telemetry.earlier == LedgerTotals(exported=1200, aggregated=1200))
        wait_until(lambda: len(collector.spans()) == 1200 and bool(collector.metrics()))
    assert [int(received["spanId"], 16) for _, _, received in collector.spans()] == list(range(1, 1201))
    assert list((tmp_path / "state" / "spool").iterdir()) == []


@both_protocols
def test_a_collector_that_never_comes_back_costs_spans_that_are_counted(
    collector: Collector, protocol: str
) -> None:
    with patient(open_telemetry(collector, protocol)) as telemetry:
        collector.kill()
        telemetry.meter.create_counter("a").add(1)
        telemetry.submit(span(telemetry.resource), 4)
    error_type = "UNAVAILABLE" if protocol == "grpc" else "unreachable"
    assert telemetry.account == LedgerTotals(dropped={("export", error_type): 4})
    assert telemetry.complaints()
