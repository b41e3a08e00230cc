"""Learn a fleet's destinations from the days that Prometheus remembers, runners long gone included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Protocol

from exporter.common.net.addresses import is_loopback
from exporter.common.text import counted
from exporter.events.destinations import OTHER
from exporter.events.programs import Lineage

from .acts import DENIED, TOGETHER, chain_of, task_of, where_of
from .parse import ENTRIES_MAX
from .prometheus_api import Answer, PrometheusError, PrometheusSeries
from .seen import NotLearntError, Seen

_METRIC = "cicd_egress_connections_total"
_LABELS = (
    "cicd_pipeline_name",
    "cicd_pipeline_task_name",
    "server_address",
    "server_port",
    "network_transport",
    "egress_verdict",
    "egress_novel",
    "egress_lineage",
)
# Selects the series that began or grew on a day: a daemon's series go on long after its last attempt. Labels
# of the runner itself are dropped.
_ACTIVE = (
    "group by ({labels}) (increase({metric}[1d]) > 0 or "
    "(present_over_time({metric}[1d]) unless present_over_time({metric}[1d] offset 1d)))"
).format(labels=", ".join(_LABELS), metric=_METRIC)
_ARROW = ">"
_PORT_DIGITS = 5
_WARNINGS_MAX = 20
_NO_JOB = "of no job, or of one without a name, which metrics don't tell apart"
_NO_CHAIN = "by programs beyond those that are told apart"


class Server(Protocol):
    """A Prometheus server that can be queried."""

    shown: str

    def query(self, expression: str, at_s: str) -> Answer:
        """Return the result of `expression` at a time in seconds since 1970. Raises PrometheusError."""


def read_history(
    server: Server, days: int, *, today: date, on_progress: Callable[[int], object] = lambda _: None
) -> Seen:
    """Read the last `days` days, up to and with `today`, in UTC. Raises PrometheusError.

    `on_progress` is called after each day. Each query is about one day, so that no answer gets too large.
    """
    history = _History()
    for back in range(days - 1, -1, -1):
        day = today - timedelta(days=back)
        answer = server.query(_ACTIVE, _end_of(day))
        for series in answer.series:
            history.add(series, day)
        history.warnings.update(dict.fromkeys(answer.warnings))
        on_progress(1)
    return history.seen(server.shown)


def require_history(seen: Seen, server: Server, days: int) -> None:
    """Raise PrometheusError where `seen` has no job."""
    if not seen.tasks:
        what = f"{server.shown} has no {_METRIC} of a pipeline in the last {counted(days, 'day')}"
        hint = "ask for more --days, or have it scrape the collector that ci-egress sends to"
        raise PrometheusError(what, hint=hint)


class _History:
    def __init__(self) -> None:
        self._seen = Seen()
        self._left_out: dict[str, set[tuple[str, ...]]] = {}
        self.warnings: dict[str, None] = {}

    def add(self, series: PrometheusSeries, day: date) -> None:
        labels = series.metric
        try:
            self._add(labels, day.toordinal())
        except NotLearntError as error:
            if error.why is not None:
                who = tuple(labels.get(name, "") for name in _LABELS)
                known = self._left_out.setdefault(error.why, set())
                if len(known) < ENTRIES_MAX:
                    known.add(who)

    def _add(self, labels: dict[str, str], day: int) -> None:
        """Add a series that was active on `day`. Raises NotLearntError."""
        pipeline, task = labels.get("cicd_pipeline_name"), labels.get("cicd_pipeline_task_name")
        if not pipeline and not task:
            raise NotLearntError(_NO_JOB)
        if pipeline == OTHER:
            raise NotLearntError(TOGETHER)
        seen = self._seen.task(task_of(pipeline, task))
        seen.days.add(day)
        if is_loopback(labels.get("server_address", "")):
            raise NotLearntError(None)
        if labels.get("egress_verdict") == "deny":
            raise NotLearntError(DENIED)
        where = where_of(
            labels.get("server_address"),
            _port(labels.get("server_port", "")),
            labels.get("network_transport"),
        )
        chain = _chain(labels.get("egress_lineage", ""))
        met = self._seen.met(seen, where)
        met.add_day(day, chain)
        if labels.get("egress_novel") == "true":
            met.was_novel(day)

    def seen(self, shown: str) -> Seen:
        self._seen.notes += self._notes(shown)
        return self._seen

    def _notes(self, shown: str) -> Iterator[str]:
        for warning in islice(self.warnings, _WARNINGS_MAX):
            yield f"{shown} warns, so some of its history may be missing: {warning}"
        for why, series in sorted(self._left_out.items()):
            yield f"not learnt of {shown}: {counted(len(series), 'series', 'series')} {why}"
        unchained = sum(
            met.chains is None and not met.is_crowded
            for task in self._seen.tasks.values()
            for met in task.destinations.values()
        )
        if unchained:
            yield (
                f"{shown} doesn't tell which programs reached {counted(unchained, 'destination')}, so any "
                "program may (`lineage: any`); with `--metric-lineage`, run and watch tell it"
            )


def _port(label: str) -> int | None:
    is_number = label.isdecimal() and label.isascii() and len(label) <= _PORT_DIGITS
    return int(label) if is_number else None


def _chain(label: str) -> Lineage | None:
    """Read a chain; None where the label is missing. Raises NotLearntError where it is `_other`."""
    if label == OTHER:
        raise NotLearntError(_NO_CHAIN)
    return chain_of(tuple(label.split(_ARROW))) if label else None


def _end_of(day: date) -> str:
    """Return the last millisecond of `day`, in seconds since 1970."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    return f"{int(midnight.timestamp()) - 1}.999"
