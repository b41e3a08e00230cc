"""Histograms of how long connects took; the SDK's instrument would cost more than a span."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import AggregationTemporality, Histogram, HistogramDataPoint, Metric
from opentelemetry.trace import SpanContext

from exporter.events.facts import Outcome

Producer = Callable[[int, int], Iterator[Metric]]
"""Function that yields metrics; its arguments are when counting began and now, in Unix nanoseconds."""

_BOUNDS_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 130.0),
)
"""Upper bounds of the buckets, up to the two minutes after which Linux gives up."""


class Durations:
    """The histograms of one pipeline, common to its tasks; one thread counts, another one reads."""

    def __init__(self, pipeline: Mapping[str, str]) -> None:
        """`pipeline` holds the attributes that all series have."""
        self._pipeline = pipeline
        self._series: dict[tuple[str, Outcome], _Series] = {}

    def add(self, host: str, outcome: Outcome, duration_s: float, span: SpanContext) -> None:
        """Count one connect; its span is its bucket's exemplar until the bucket's next connect."""
        series = self._series.get((host, outcome))
        if series is None:
            told = {"server.address": host, "egress.outcome": outcome.value}
            series = self._series[host, outcome] = _Series({**self._pipeline, **told})
        series.add(duration_s, span)

    def points(self, start_ns: int, now_ns: int) -> Iterator[HistogramDataPoint]:
        """Yield a data point for each destination and outcome, with the two times (Unix, in nanoseconds)."""
        for series in list(self._series.values()):
            yield series.point(start_ns, now_ns)


@dataclass(slots=True)
class _Latest:
    """The latest connect of a bucket."""

    duration_s: float
    span: SpanContext
    told_ns: int | None = None
    """When it was first reported. Later reports keep this time, so that it is the same exemplar."""

    def exemplar(self, now_ns: int) -> Exemplar:
        self.told_ns = self.told_ns or now_ns
        return Exemplar({}, self.duration_s, self.told_ns, self.span.span_id, self.span.trace_id)


class _Series:
    __slots__ = ("_attributes", "_counts", "_latest", "_max_s", "_min_s", "_sum_s")

    def __init__(self, attributes: dict[str, str]) -> None:
        self._attributes = attributes
        self._counts = [0] * (len(_BOUNDS_S) + 1)
        self._sum_s, self._min_s, self._max_s = 0.0, float("inf"), 0.0
        self._latest: dict[int, _Latest] = {}

    def add(self, duration_s: float, span: SpanContext) -> None:
        self._sum_s += duration_s
        self._min_s = min(self._min_s, duration_s)
        self._max_s = max(self._max_s, duration_s)
        bucket = bisect_left(_BOUNDS_S, duration_s)
        self._counts[bucket] += 1
        self._latest[bucket] = _Latest(duration_s, span)

    def point(self, start_ns: int, now_ns: int) -> HistogramDataPoint:
        counts = list(self._counts)
        return HistogramDataPoint(
            attributes=self._attributes,
            start_time_unix_nano=start_ns,
            time_unix_nano=now_ns,
            count=sum(counts),
            sum=self._sum_s,
            bucket_counts=counts,
            explicit_bounds=_BOUNDS_S,
            min=self._min_s,
            max=self._max_s,
            exemplars=[latest.exemplar(now_ns) for latest in list(self._latest.values())],
        )


def durations_metric(points: Iterable[HistogramDataPoint]) -> Iterator[Metric]:
    """Yield the metric `cicd.egress.connect.duration`; nothing when there is no point."""
    if listed := list(points):
        data = Histogram(data_points=listed, aggregation_temporality=AggregationTemporality.CUMULATIVE)
        yield Metric("cicd.egress.connect.duration", "From a connect to its outcome", "s", data)
