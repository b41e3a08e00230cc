"""The metrics, as the SDK's own reader collects them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.trace import SpanContext, TraceFlags

from exporter.events.destinations import Destination
from exporter.events.facts import Outcome
from exporter.jobs.model import Job
from exporter.otlp.histograms import Durations, Producer
from exporter.pipeline.account import Account
from exporter.pipeline.metrics import PIPELINES_MAX, Metrics
from exporter.pipeline.ruling import Ruling
from exporter.pipeline.series import DESTINATIONS_MAX, LINEAGES_MAX
from tests.unit.samples import JOB, SPAN, TRACE_ID, attempt, by

ACCOUNT = Account(
    attempts=12,
    exported=5,
    aggregated=2,
    dropped={("kernel", "ring_full"): 3, ("export", "timeout"): 1},
    pending={"ring": 1, "queue": 0},
)


class Measured:
    """The instruments of a job, and what a reader gets of them."""

    def __init__(self, job: Job = JOB, account: Account = ACCOUNT, *, has_lineages: bool = False) -> None:
        self._reader = InMemoryMetricReader()
        self._producers: list[Producer] = []
        provider = MeterProvider(
            [self._reader], exemplar_filter=TraceBasedExemplarFilter(), shutdown_on_exit=False
        )
        self.metrics = Metrics(
            provider.get_meter("test"), self._producers.append, lambda: account, has_lineages=has_lineages
        )
        self.job = self.metrics.of(job)

    def read(self) -> dict[str, Any]:
        """Every metric by its name."""
        data = self._reader.get_metrics_data()
        assert isinstance(data, MetricsData)
        produced = [metric for produce in self._producers for metric in produce(1, 2)]
        metrics = [*data.resource_metrics[0].scope_metrics[0].metrics, *produced]
        return {metric.name: metric for metric in metrics}

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Attributes and value of each series of `name`."""
        return [(dict(point.attributes), point.value) for point in self.read()[name].data.data_points]


def to(host: str, port: int = 443, transport: str | None = "tcp") -> Destination:
    return Destination(host, port, transport, None)


def test_names_units_and_kinds_are_the_fixed_ones() -> None:
    measured = Measured()
    measured.metrics.began(measured.job)
    measured.job.connection(attempt(to("192.0.2.7", 443, "tcp")))
    measured.job.transferred(attempt(to("192.0.2.7")), 5, 7)
    measured.job.connect_took(attempt(to("192.0.2.7")), Outcome.ESTABLISHED, 0.03)
    measured.metrics.unattributed("process_record_lost")
    kinds = {
        name: (metric.unit, type(metric.data).__name__, getattr(metric.data, "is_monotonic", None))
        for name, metric in measured.read().items()
    }
    assert kinds == {
        "cicd.egress.connections": ("{connection}", "Sum", True),
        "cicd.egress.io": ("By", "Sum", True),
        "cicd.egress.connect.duration": ("s", "Histogram", None),
        "cicd.egress.jobs": ("{job}", "Sum", False),
        "cicd.egress.enforcing": ("1", "Gauge", None),
        "cicd.egress.exporter.attempts": ("{event}", "Sum", True),
        "cicd.egress.exporter.events": ("{event}", "Sum", True),
        "cicd.egress.exporter.pending": ("{event}", "Gauge", None),
        "cicd.egress.exporter.unattributed": ("{event}", "Sum", True),
    }


def test_sums_are_cumulative() -> None:
    measured = Measured()
    measured.job.connection(attempt(to("192.0.2.7", 443, "tcp")))
    assert measured.read()["cicd.egress.connections"].data.aggregation_temporality.name == "CUMULATIVE"
    measured.job.connection(attempt(to("192.0.2.7", 443, "tcp")))
    assert [value for _, value in measured.points("cicd.egress.connections")] == [2]


def test_a_connection_is_counted_by_destination_and_says_nothing_of_processes() -> None:
    measured = Measured()
    measured.job.connection(attempt(to("192.0.2.7", 443, "tcp")))
    measured.job.connection(attempt(to("192.0.2.7", 443, "tcp")))
    measured.job.connection(attempt(to("192.0.2.7", 53, "udp")))
    job = {"cicd.pipeline.name": "release", "cicd.pipeline.task.name": "build", "egress.verdict": "allow"}
    here = {**job, "server.address": "192.0.2.7"}
    assert measured.points("cicd.egress.connections") == [
        ({**here, "server.port": 443, "network.transport": "tcp"}, 2),
        ({**here, "server.port": 53, "network.transport": "udp"}, 1),
    ]


def test_what_is_unknown_is_left_out() -> None:
    measured = Measured(replace(JOB, pipeline=None, task=None))
    measured.job.connection(attempt(to("192.0.2.7", 443, None)))
    ((attributes, _),) = measured.points("cicd.egress.connections")
    assert attributes == {"server.address": "192.0.2.7", "server.port": 443, "egress.verdict": "allow"}


def test_what_the_baseline_says_tells_series_apart() -> None:
    measured = Measured()
    for is_novel in (True, False, True, None):
        measured.job.connection(attempt(to("192.0.2.7"), said=Ruling(is_novel=is_novel)))
    points = measured.points("cicd.egress.connections")
    assert [(point.get("egress.novel"), value) for point, value in points] == [
        (True, 2),
        (False, 1),
        (None, 1),
    ]


def lineages(measured: Measured) -> dict[str | None, int]:
    points = measured.points("cicd.egress.connections")
    return {attributes.get("egress.lineage"): value for attributes, value in points}


def test_chains_of_processes_are_counted_if_asked_for_alone() -> None:
    for has_lineages, expected in ((False, {None: 3}), (True, {"bash>npm": 1, "bash": 1, "_other": 1})):
        measured = Measured(has_lineages=has_lineages)
        for lineage in (("bash", "npm"), ("bash",), None):
            measured.job.connection(attempt(to("192.0.2.7"), by(*lineage) if lineage else None))
        assert lineages(measured) == expected


def test_a_job_can_make_up_no_more_than_32_chains_for_a_destination() -> None:
    measured = Measured(has_lineages=True)
    for number in range(100):
        measured.job.connection(attempt(to("192.0.2.7"), by("bash", f"p{number}")))
    measured.job.connection(attempt(to("192.0.2.8"), by("bash", "p99")))
    found = lineages(measured)
    assert len(found) == LINEAGES_MAX + 2 == 34
    assert (found["_other"], found["bash>p99"], found["bash>p0"]) == (100 - LINEAGES_MAX, 1, 1)


@pytest.mark.parametrize("hostile", [("bash>npm", "curl"), (">",), ("x" * 700, "y" * 700)])
def test_a_chain_that_would_read_like_another_one_is_not_told(hostile: tuple[str, ...]) -> None:
    measured = Measured(has_lineages=True)
    measured.job.connection(attempt(to("192.0.2.7"), by(*hostile)))
    assert lineages(measured) == {"_other": 1}


@pytest.mark.parametrize("made_up", ["hosts", "ports"])
def test_a_job_can_make_up_no_more_than_200_destinations(made_up: str) -> None:
    measured = Measured()
    for number in range(1000):
        host, port = (f"192.0.2.{number}", 443) if made_up == "hosts" else ("192.0.2.1", number)
        measured.job.connection(attempt(to(host, port, "tcp")))
    points = measured.points("cicd.egress.connections")
    other = [(attributes, value) for attributes, value in points if attributes["server.address"] == "_other"]
    assert len(points) == DESTINATIONS_MAX + 1 == 201
    assert [value for _, value in other] == [800]
    assert "server.port" not in other[0][0]
    assert sum(value for _, value in points) == 1000


def test_a_destination_known_before_the_cap_still_counts_as_itself() -> None:
    measured = Measured()
    for number in range(DESTINATIONS_MAX + 5):
        measured.job.connection(attempt(to(f"host-{number}.example", 443, "tcp")))
    measured.job.connection(attempt(to("host-0.example", 443, "tcp")))
    values = {
        attributes["server.address"]: value
        for attributes, value in measured.points("cicd.egress.connections")
    }
    assert (values["host-0.example"], values["_other"]) == (2, 5)


def test_aggregated_attempts_count_as_many() -> None:
    measured = Measured()
    measured.job.connection(attempt(to("192.0.2.7"), attempts=1000))
    assert [value for _, value in measured.points("cicd.egress.connections")] == [1000]


def test_bytes_are_counted_each_way_by_destination() -> None:
    measured = Measured()
    measured.job.transferred(attempt(to("registry.example")), 5, 700)
    measured.job.transferred(attempt(to("registry.example", 80)), 1, 2)
    job = {"cicd.pipeline.name": "release", "cicd.pipeline.task.name": "build"}
    here = {**job, "server.address": "registry.example"}
    assert measured.points("cicd.egress.io") == [
        ({**here, "network.io.direction": "transmit"}, 6),
        ({**here, "network.io.direction": "receive"}, 702),
    ]


def test_durations_are_by_destination_and_outcome() -> None:
    measured = Measured()
    for outcome, took_s in (
        (Outcome.ESTABLISHED, 0.02),
        (Outcome.ESTABLISHED, 0.04),
        (Outcome.TIMEOUT, 129),
    ):
        measured.job.connect_took(attempt(to("registry.example")), outcome, took_s)
    points = measured.read()["cicd.egress.connect.duration"].data.data_points
    here = {"cicd.pipeline.name": "release", "server.address": "registry.example"}
    assert [(dict(point.attributes), point.count, point.sum) for point in points] == [
        ({**here, "egress.outcome": "established"}, 2, pytest.approx(0.06)),
        ({**here, "egress.outcome": "timeout"}, 1, 129),
    ]


def test_tasks_of_one_pipeline_have_their_durations_in_common() -> None:
    measured = Measured()
    other = measured.metrics.of(replace(JOB, task="another"))
    for job in (measured.job, other):
        job.connect_took(attempt(to("registry.example")), Outcome.ESTABLISHED, 0.02)
    (point,) = measured.read()["cicd.egress.connect.duration"].data.data_points
    assert point.count == 2


def test_bytes_and_durations_grow_with_no_more_than_200_hosts() -> None:
    measured = Measured()
    for number in range(1000):
        measured.job.transferred(attempt(to(f"host-{number}.example")), 1, 1)
        measured.job.connect_took(attempt(to(f"host-{number}.example")), Outcome.REFUSED, 0.1)
    assert len(measured.points("cicd.egress.io")) == 2 * (DESTINATIONS_MAX + 1)
    durations = measured.read()["cicd.egress.connect.duration"].data.data_points
    assert len(durations) == DESTINATIONS_MAX + 1
    assert sum(point.count for point in durations) == 1000


def test_the_exemplar_of_a_connection_is_its_span() -> None:
    measured = Measured()
    measured.job.connection(attempt(to("192.0.2.7", 443, "tcp")))
    (point,) = measured.read()["cicd.egress.connections"].data.data_points
    assert [(exemplar.trace_id, exemplar.span_id) for exemplar in point.exemplars] == [(TRACE_ID, 0xABC)]


def test_exemplars_of_durations_are_the_latest_spans_that_took_about_as_long() -> None:
    measured = Measured()
    for span_id, took_s in ((1, 0.02), (2, 0.021), (3, 7.0)):
        span = SpanContext(TRACE_ID, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
        measured.job.connect_took(attempt(to("registry.example"), span=span), Outcome.ESTABLISHED, took_s)
    for _ in range(2):
        (point,) = measured.read()["cicd.egress.connect.duration"].data.data_points
        assert [(each.trace_id, each.span_id, each.value) for each in point.exemplars] == [
            (TRACE_ID, 2, 0.021),
            (TRACE_ID, 3, 7.0),
        ]


def test_an_exemplar_of_a_duration_is_told_again_as_of_the_same_moment() -> None:
    told = Durations({})
    told.add("registry.example", Outcome.ESTABLISHED, 0.02, SPAN)
    moments = [point.exemplars[0].time_unix_nano for now_ns in (7, 8) for point in told.points(1, now_ns)]
    assert moments == [7, 7]


def test_a_job_counts_while_it_lasts() -> None:
    measured = Measured()
    measured.metrics.began(measured.job)
    assert measured.points("cicd.egress.jobs") == [({"cicd.pipeline.name": "release"}, 1)]
    measured.metrics.ended(measured.job)
    assert measured.points("cicd.egress.jobs") == [({"cicd.pipeline.name": "release"}, 0)]


def test_jobs_of_one_pipeline_and_task_count_together() -> None:
    measured = Measured()
    for run_id in ("1", "2"):
        measured.metrics.of(replace(JOB, run_id=run_id)).connection(attempt(to("192.0.2.7")))
    measured.metrics.of(replace(JOB, task="deploy")).connection(attempt(to("192.0.2.7")))
    found = [
        (attributes["cicd.pipeline.task.name"], value)
        for attributes, value in measured.points("cicd.egress.connections")
    ]
    assert found == [("build", 2), ("deploy", 1)]


def test_the_tasks_of_a_pipeline_share_its_200_destinations() -> None:
    measured = Measured()
    for task in ("build", "deploy"):
        for number in range(150):
            host = to(f"{task}-{number}.example")
            measured.metrics.of(replace(JOB, task=task)).connection(attempt(host))
    points = measured.points("cicd.egress.connections")
    other = [value for attributes, value in points if attributes["server.address"] == "_other"]
    assert other == [100]


def test_a_host_can_make_up_no_more_than_200_pipelines() -> None:
    measured = Measured()
    for number in range(300):
        measured.metrics.of(replace(JOB, pipeline=f"p{number}")).connection(attempt(to("192.0.2.7")))
    points = measured.points("cicd.egress.connections")
    assert len(points) == PIPELINES_MAX
    assert sum(value for _, value in points) == 300
    assert [value for attributes, value in points if attributes["cicd.pipeline.name"] == "_other"] == [101]


def test_nothing_is_enforced_while_tracing() -> None:
    assert Measured().points("cicd.egress.enforcing") == [({"cicd.pipeline.name": "release"}, 0)]


def test_the_account_adds_up_in_the_metrics_too() -> None:
    measured = Measured()
    events = measured.points("cicd.egress.exporter.events")
    assert events == [
        ({"egress.stage": "export", "egress.result": "exported"}, 5),
        ({"egress.stage": "kernel", "egress.result": "aggregated"}, 2),
        ({"egress.stage": "kernel", "egress.result": "dropped", "error.type": "ring_full"}, 3),
        ({"egress.stage": "export", "egress.result": "dropped", "error.type": "timeout"}, 1),
    ]
    pending = measured.points("cicd.egress.exporter.pending")
    assert pending == [({"egress.stage": "ring"}, 1), ({"egress.stage": "queue"}, 0)]
    (attempts,) = measured.points("cicd.egress.exporter.attempts")
    assert attempts == ({}, sum(value for _, value in events) + sum(value for _, value in pending))


def test_an_attempt_whose_process_is_unknown_is_counted_with_the_reason() -> None:
    measured = Measured()
    measured.metrics.unattributed("process_record_lost")
    expected = [({"error.type": "process_record_lost"}, 1)]
    assert measured.points("cicd.egress.exporter.unattributed") == expected
