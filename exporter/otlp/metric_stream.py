"""The meter, and the thread that sends its metrics at every interval and once more at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource

from .complaints import Complaints
from .courier import Courier
from .encoders import SCOPE
from .histograms import Producer
from .pauses import LAST_TRIES
from .sinks import SendError, Sink

_LAST_PAUSE_S = 0.5


class MetricStream:
    """A sender of cumulative metrics, with exemplars of sampled spans.

    A failed sending is reported but not repeated: the next interval sends the same sums. Only the last
    sending gets a second try, or waits on disk where the sink has a courier.
    """

    def __init__(
        self,
        sinks: Sequence[tuple[Sink, Courier | None]],
        resource: Resource,
        interval_s: float,
        complaints: Complaints,
    ) -> None:
        self._sinks = sinks
        self._interval_s = interval_s
        self._complaints = complaints
        self._closing = threading.Event()
        self._reader = InMemoryMetricReader()
        self._provider = MeterProvider(
            [self._reader], resource, exemplar_filter=TraceBasedExemplarFilter(), shutdown_on_exit=False
        )
        self.meter: Meter = self._provider.get_meter(SCOPE.name, SCOPE.version)
        """Its observable instruments are read on a thread of this stream."""
        self.producers: list[Producer] = []
        self._start_ns = time.time_ns()
        threading.Thread(target=self._tick, name="otlp metrics", daemon=True).start()
        self._deadline_s = float("inf")
        # The last sending has its own thread, since the other one may be waiting. It starts now, since later
        # there may be no room for a thread.
        self._last = threading.Thread(target=self._finish, name="last otlp metrics", daemon=True)
        self._last.start()

    def prepare(self) -> None:
        """Import now the modules that encoding needs."""
        for sink, _ in self._sinks:
            sink.encode(MetricsData([]))

    def finish(self, deadline_s: float) -> None:
        """Send the metrics a last time by `deadline_s` (monotonic)."""
        self._deadline_s = deadline_s
        self._closing.set()
        self._last.join(max(deadline_s - time.monotonic(), 0))
        if self._last.is_alive():
            self._complaints.add(
                "last metrics", "the last metrics were not sent in time; check the collector"
            )

    def _collect(self) -> MetricsData | None:
        """Return the meter's metrics and, in the same scope, the producers'. None: the meter has none."""
        data = self._reader.get_metrics_data()
        if data is None:
            return None
        now_ns = time.time_ns()
        produced = [metric for produce in self.producers for metric in produce(self._start_ns, now_ns)]
        (of_resource,) = data.resource_metrics
        (of_scope,) = of_resource.scope_metrics
        of_scope = replace(of_scope, metrics=[*of_scope.metrics, *produced])
        return MetricsData([replace(of_resource, scope_metrics=[of_scope])])

    def _tick(self) -> None:
        while not self._closing.wait(self._interval_s):
            try:
                self._send_all()
            except Exception as error:  # noqa: BLE001 - the next interval brings the same sums
                self._complaints.add(("metrics", "internal"), f"the metrics weren't sent: {error!r}")

    def _send_all(self) -> None:
        if metrics := self._collect():
            for sink, _ in self._sinks:
                self._send(sink, sink.encode(metrics), time.monotonic() + self._interval_s, tries=1)

    def _finish(self) -> None:
        self._closing.wait()
        deadline_s, metrics = self._deadline_s, self._collect()
        self._provider.shutdown()
        for sink, courier in self._sinks:
            if metrics and courier:
                courier.put((), sink.encode(metrics))
            elif metrics:
                self._send(sink, sink.encode(metrics), deadline_s, LAST_TRIES)
        for sink, courier in self._sinks:
            if courier:
                courier.finish(deadline_s)
            else:
                sink.transport.close()

    def _send(self, sink: Sink, payload: bytes, deadline_s: float, tries: int) -> None:
        for attempt in count(1):
            try:
                receipt = sink.transport.send(payload, sink.timeout_until(deadline_s))
            except SendError as error:
                self._complaints.add_failure("metrics", sink.where, error)
                if attempt >= tries or not error.retryable:
                    return
                time.sleep(_LAST_PAUSE_S)
            else:
                self._complaints.add_receipt("metrics", sink.where, receipt)
                return
