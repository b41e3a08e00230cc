"""`docs/reference/metrics.md`: metrics and their attributes."""

from __future__ import annotations

from typing import Any, NamedTuple

from opentelemetry.metrics import NoOpMeter
from opentelemetry.trace import INVALID_SPAN_CONTEXT

from exporter.events.facts import Outcome
from exporter.otlp.histograms import Durations, Producer, durations_metric
from exporter.pipeline.account import Account
from exporter.pipeline.metrics import PIPELINES_MAX, Metrics
from exporter.pipeline.series import DESTINATIONS_MAX, LINEAGES_MAX
from tools.reference.pages import code, codes, page, plain, table

_PIPELINE = ("cicd.pipeline.name",)
_TASK = (*_PIPELINE, "cicd.pipeline.task.name")
ATTRIBUTES = {
    "cicd.egress.connections": (
        *_TASK,
        *(
            "server.address",
            "server.port",
            "network.transport",
            "egress.verdict",
            "egress.novel",
            "egress.lineage",
        ),
    ),
    "cicd.egress.io": (*_TASK, "server.address", "network.io.direction"),
    "cicd.egress.connect.duration": (*_PIPELINE, "server.address", "egress.outcome"),
    "cicd.egress.jobs": _PIPELINE,
    "cicd.egress.enforcing": _PIPELINE,
    "cicd.egress.exporter.attempts": (),
    "cicd.egress.exporter.events": ("egress.stage", "egress.result", "error.type"),
    "cicd.egress.exporter.pending": ("egress.stage",),
    "cicd.egress.exporter.unattributed": ("error.type",),
}
"""The attributes of each metric's series, in the order of the page."""
_NOTES = {
    "cicd.egress.connections": "Aggregated attempts count, too. `egress.novel` is there with a baseline, "
    "`egress.lineage` (joined with `>`) with `--metric-lineage`. Exemplars have the egress span's trace.",
    "cicd.egress.io": "`transmit` and `receive`: payload of TCP and UDP, counted with the span that has it.",
    "cicd.egress.connect.duration": "Each bucket has a span as exemplar.",
    "cicd.egress.jobs": "",
    "cicd.egress.enforcing": "1 where what the policy denies fails, by what is in force in the kernel; else "
    "0.",
    "cicd.egress.exporter.attempts": "The left side of the account.",
    "cicd.egress.exporter.events": "`exported`, `aggregated` or `dropped`, each attempt once, by the stage "
    "where that "
    "was decided: `kernel`, `ring`, `process`, `spool`, `export`. With what is pending they add up to the "
    "attempts.",
    "cicd.egress.exporter.pending": "In the `ring`, the `queue`, or on disk (`spool`).",
    "cicd.egress.exporter.unattributed": "Why: `no_job`, `process_record_lost` or `table_full`.",
}
_INTRODUCTION = (
    "Counters are cumulative. Nothing that a job can make up without end is an attribute: no pid, no command "
    "line. "
    f"Of a pipeline {DESTINATIONS_MAX} destinations stand for themselves, and {LINEAGES_MAX} chains of "
    f"processes of each "
    f"destination; {PIPELINES_MAX} pairs of pipeline and task. The rest counts as `_other`. A raw or ping "
    f"socket that a "
    "policy denied has no peer: it is `_socket`. What isn't known is left out. The resource is that of "
    "[spans](spans.md#the-resource); Prometheus writes the names with `_` and the unit or `total` behind "
    "them "
    "([labels](../stack.md#labels))."
)


class Instrument(NamedTuple):
    """One metric, as the code makes it."""

    name: str
    kind: str
    unit: str
    description: str


class _Listing(NoOpMeter):
    """A meter that lists the instruments that are made with it."""

    def __init__(self) -> None:
        super().__init__("reference")
        self.made: list[Instrument] = []

    def create_observable_counter(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> Any:
        self.made.append(Instrument(name, "counter", unit, description))
        return super().create_observable_counter(name, callbacks, unit, description)

    def create_counter(self, name: str, unit: str = "", description: str = "") -> Any:
        self.made.append(Instrument(name, "counter", unit, description))
        return super().create_counter(name, unit, description)

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> Any:
        self.made.append(Instrument(name, "updowncounter", unit, description))
        return super().create_up_down_counter(name, unit, description)

    def create_observable_gauge(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> Any:
        self.made.append(Instrument(name, "gauge", unit, description))
        return super().create_observable_gauge(name, callbacks, unit, description)


def instruments() -> dict[str, Instrument]:
    """Return the instruments that the exporter makes, by name."""
    meter, ignore = _Listing(), _ignore
    Metrics(meter, ignore, lambda: Account(0, 0, 0))
    durations = Durations({})
    durations.add("", Outcome.ESTABLISHED, 0.0, INVALID_SPAN_CONTEXT)
    for metric in durations_metric(durations.points(0, 0)):
        meter.made.append(Instrument(metric.name, "histogram", metric.unit or "", metric.description or ""))
    return {instrument.name: instrument for instrument in meter.made}


def _ignore(_: Producer) -> None:
    """Do nothing: the producer is never called."""


def text() -> str:
    """Return the page. Raises SystemExit where the code has metrics that nobody described."""
    made = instruments()
    if made.keys() != ATTRIBUTES.keys() or made.keys() != _NOTES.keys():
        different = sorted(made.keys() ^ ATTRIBUTES.keys()) or sorted(made.keys() ^ _NOTES.keys())
        raise SystemExit(f"tools/reference/metrics.py and the code differ in {different}")
    rows = (
        [code(name), made[name].kind, code(made[name].unit), _described(made[name]), codes(names)]
        for name, names in ATTRIBUTES.items()
    )
    return page("Metrics", _INTRODUCTION, table(["metric", "kind", "unit", "", "attributes"], rows))


def _described(instrument: Instrument) -> str:
    return plain(". ".join(filter(None, (instrument.description, _NOTES[instrument.name]))))
