"""The entrance to the export: it accepts spans, log records and measurements, and keeps account of them.

with Telemetry(resolve_destinations(os.environ, otlp_dir=None), {"cicd.pipeline.name": "build"}) as telemetry:
    telemetry.submit(span, attempts=1)
print(telemetry.account)
"""

from __future__ import annotations

import dataclasses
import platform
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Self

from opentelemetry.metrics import Meter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from exporter import __version__
from exporter.common.text import clean, counted, form_of

from .complaints import ComplaintHandler, Complaints
from .courier import Courier, Spooling
from .depot import Books
from .environment import DEFAULT_DIRECTORY
from .file_sink import keep_from_git
from .histograms import Producer
from .lane import LOG_RECORDS, SPANS, Cargo, Lane
from .ledger import Ledger, LedgerEntry, LedgerTotals
from .metric_stream import MetricStream
from .records import LogRecord
from .routes import FileCallbacks, open_sinks
from .settings import Destinations, Signal
from .sinks import Sink, SpoolError
from .transcript import Transcript

FLUSH_TIMEOUT_S = 10.0
_SHARE_FOR_SPANS = 0.7
_SHARE_WITH_LOGS = 0.85
_OVERRIDABLE = frozenset({"service.name", "host.name"})


class Telemetry:
    """An exporter of all signals, until it is closed; use it in a `with` block. All methods are thread-safe.

    Exported means that a collector accepted a span or that it is in a file: with both, one of them is enough.
    """

    def __init__(  # noqa: PLR0913 - the last ones are options
        self,
        destinations: Destinations,
        resource_attributes: Mapping[str, str],
        *,
        instance_id: str | None = None,
        queue_capacity: int = SPANS.capacity,
        spooling: Spooling | None = None,
        transcript: Transcript | None = None,
    ) -> None:
        """Open files, start threads. Raises CiEgressError for a directory or certificate that can't be used.

        `resource_attributes` are the identity known so far (`vcs.*`, `cicd.*`), which the environment can't
        change. `queue_capacity` is the most spans that may wait for each destination.
        With `spooling`, telemetry that a collector doesn't accept waits on disk. Spans are written to
        `transcript`, too, which isn't part of any account.
        """
        self.resource = _resource(destinations, resource_attributes, instance_id or str(uuid.uuid4()))
        """The resource of metrics; for spans, the attributes of their job are merged into it."""
        self._complaints = Complaints()
        self._ledger, self._earlier, self._log_ledger = Ledger(), Ledger(), Ledger()
        self._spooling = self._prepared(spooling, destinations)
        if destinations.defaulted:
            keep_from_git(DEFAULT_DIRECTORY)
        self._moved = deque[Path]()
        hearers = FileCallbacks(self._ledger.note_loss, self._moved.append)
        trace_sinks, log_sinks, metric_sinks = (
            open_sinks(signal, route, self._complaints, hearers)
            for signal, route in (
                (Signal.TRACES, destinations.traces),
                (Signal.LOGS, destinations.logs),
                (Signal.METRICS, destinations.metrics),
            )
        )
        self._refusal = self._log_refusal = "disabled" if destinations.disabled else None
        self._closed = False
        self._capacity = queue_capacity
        self._log_handler = ComplaintHandler(self._complaints)
        self._log_handler.install()
        self._couriers: list[Courier] = []
        books = Books(self._ledger, self._earlier, "attempt")
        log_books = Books(self._log_ledger, Ledger(), "record")
        metric_books = Books(Ledger(), Ledger())
        self._all_books = (books, log_books, metric_books)
        spans = dataclasses.replace(SPANS, capacity=queue_capacity)
        self._lanes = [self._lane(spans, sink, books) for sink in trace_sinks]
        self._transcript, self._copies = transcript, list[Lane]()
        if transcript:
            self._copies = [Lane(spans, transcript.sink, transcript.ledger, Complaints())]
        self._log_lanes = [self._lane(LOG_RECORDS, sink, log_books) for sink in log_sinks]
        metrics = [(sink, self._courier("metrics", sink, metric_books)) for sink in metric_sinks]
        self._metrics = MetricStream(metrics, self.resource, destinations.metric_interval_s, self._complaints)

    def prepare(self) -> None:
        """Import now the modules needed later: a job may use up the resources that imports need."""
        for lane in (*self._lanes, *self._copies, *self._log_lanes):
            lane.prepare()
        self._metrics.prepare()
        if self._spooling is not None:
            import_module("exporter.otlp.spool")

    @property
    def meter(self) -> Meter:
        """The meter of scope `ci_egress`. Measurements in the context of a sampled span become exemplars."""
        return self._metrics.meter

    def add_producer(self, producer: Producer) -> None:
        """Call `producer` at each collection for further metrics, such as the meter can't hold."""
        self._metrics.producers.append(producer)

    @property
    def account(self) -> LedgerTotals:
        """The outcomes of the attempts submitted so far."""
        return self._ledger.account()

    @property
    def earlier(self) -> LedgerTotals:
        """The outcomes of attempts that earlier processes left on disk; none of them is in `account`."""
        return self._earlier.account()

    @property
    def log_account(self) -> LedgerTotals:
        """The outcomes of the log records so far, counted one by one."""
        return self._log_ledger.account()

    @property
    def has_losses(self) -> bool:
        """Whether telemetry of any signal got lost, of this process or left on disk by an earlier one."""
        return any(ledger.has_losses for books in self._all_books for ledger in (books.own, books.earlier))

    @property
    def room(self) -> int:
        """The number of spans that every queue has room for now: a source that heeds it overflows none."""
        return min((lane.room for lane in (*self._lanes, *self._copies)), default=self._capacity)

    def submit(self, span: ReadableSpan, attempts: int, *, aggregated: bool = False) -> None:
        """Hand over a finished span of `attempts` kernel events: 0 for a job's or a process's.

        The attempts of an `aggregated` span count as aggregated, not as exported, once it is delivered.
        Never waits: a span that finds a queue full is counted as dropped there.
        """
        if self._transcript:
            self._copy(LedgerEntry(span, attempts, outstanding=1, is_aggregated=aggregated), self._transcript)
        if self._refusal:
            self._ledger.refused(attempts, self._refusal)
            return
        entry = LedgerEntry(span, attempts, outstanding=len(self._lanes), is_aggregated=aggregated)
        self._ledger.open(entry)
        for lane in self._lanes:
            lane.put(entry)

    def log(self, record: LogRecord) -> None:
        """Hand over a log record, which leaves within a fifth of a second when the way is free.

        Never waits: a record that finds its queue full is counted as lost, and the loss is reported.
        """
        if self._log_refusal:
            self._log_ledger.refused(1, self._log_refusal)
            return
        entry = LedgerEntry(record, 1, outstanding=len(self._log_lanes))
        self._log_ledger.open(entry)
        for lane in self._log_lanes:
            lane.put(entry)

    def complaints(self) -> list[str]:
        """Return the problems met since the last call, a line each; every distinct problem comes once."""
        return self._complaints.take()

    def moved(self) -> Iterator[Path]:
        """Yield the folders from which somebody moved files away since the last call, once for each file."""
        while self._moved:
            yield self._moved.popleft()

    def notes(self) -> list[str]:
        """Describe telemetry that waits on disk, and the fate of earlier runs' leftovers, a line each."""
        if self._spooling is None:
            return []
        path, earlier = self._spooling.folder.path, self.earlier
        lines = []
        if left := ", ".join(courier.left for courier in self._couriers if courier.left):
            lines.append(f"{left} wait in {path} for the next start that exports to the same collector")
        if delivered := earlier.exported + earlier.aggregated:
            were = form_of(delivered, "was", "were")
            lines.append(f"{counted(delivered, 'attempt')} of earlier runs {were} delivered from {path}")
        for (_, error_type), number in earlier.dropped.items():
            told = f"{counted(number, 'attempt')} of earlier runs that waited in {path} got lost"
            lines.append(f"{told} ({error_type})")
        if earlier.spooled:
            wait = form_of(earlier.spooled, "waits", "wait")
            lines.append(f"{counted(earlier.spooled, 'attempt')} of earlier runs {wait} in {path}")
        return lines

    def close(
        self, timeout_s: float = FLUSH_TIMEOUT_S, *, before_logs: Callable[[], None] = lambda: None
    ) -> None:
        """Flush spans, then log records, then metrics, which count lost spans, in `timeout_s` altogether.

        Telemetry that isn't sent by then is dropped as `timeout`, unless it waits on disk. `before_logs` is
        called when all spans are settled, and may log how many got lost. Closing again does nothing.
        """
        if self._closed:
            return
        self._closed = True
        self._refusal = self._refusal or "closed"
        start_s = time.monotonic()
        _finish([*self._lanes, *self._copies], start_s + timeout_s * _SHARE_FOR_SPANS)
        before_logs()
        self._log_refusal = self._log_refusal or "closed"
        _finish(self._log_lanes, start_s + timeout_s * _SHARE_WITH_LOGS)
        self._metrics.finish(start_s + timeout_s)
        for (_, error_type), number in self._log_ledger.account().dropped.items():
            self._complaints.add(
                ("lost", error_type), f"{counted(number, 'log record')} got lost ({error_type})"
            )
        self._log_handler.remove()

    def _copy(self, entry: LedgerEntry, transcript: Transcript) -> None:
        transcript.ledger.open(entry)
        for lane in self._copies:
            lane.put(entry)

    def _prepared(self, spooling: Spooling | None, destinations: Destinations) -> Spooling | None:
        """Prepare the folder. None: telemetry can't wait on disk, or need not; the run goes on without it."""
        routes = (destinations.traces, destinations.metrics, destinations.logs)
        if spooling is None or not any(route.endpoint for route in routes):
            return None
        try:
            spooling.folder.prepare()
        except SpoolError as error:
            path = spooling.folder.path
            self._complaints.add(
                (path, error.error_type),
                f"telemetry can't wait in {path} while the collector is away: {error}; make it a folder"
                " of this user's alone, or name another in STATE_DIRECTORY",
            )
            return None
        return spooling

    def _lane(self, cargo: Cargo, sink: Sink, books: Books) -> Lane:
        courier = self._courier(cargo.what, sink, books)
        return Lane(cargo, sink, books.own, self._complaints, courier)

    def _courier(self, what: str, sink: Sink, books: Books) -> Courier | None:
        if self._spooling is None or sink.endpoint is None:
            return None
        courier = Courier(what, sink, self._spooling, books, self._complaints)
        self._couriers.append(courier)
        return courier

    def __enter__(self) -> Self:
        """Return the object itself: exporting began when it was made."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, with the default time limit for the flush."""
        self.close()


def _finish(lanes: Sequence[Lane], deadline_s: float) -> None:
    for lane in lanes:
        lane.finish(deadline_s)
    for lane in lanes:
        lane.wait()


def _resource(destinations: Destinations, identity: Mapping[str, str], instance_id: str) -> Resource:
    """Build the resource: OTEL_RESOURCE_ATTRIBUTES may name the service and the host, and add attributes."""
    ours = {
        "service.name": "ci-egress",
        "service.version": __version__,
        "service.instance.id": instance_id,
        "host.name": clean(platform.node()),
        **identity,
    }
    theirs = destinations.resource_attributes
    overridden = {key: theirs[key] for key in _OVERRIDABLE & theirs.keys() - identity.keys()}
    named = {"service.name": destinations.service_name} if destinations.service_name else {}
    return Resource({**theirs, **ours, **overridden, **named})
