"""Spans and series of any text and number: a baseline that its file holds, in parts or in one piece."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from exporter.baseline.acts import ATTRIBUTES, add_span
from exporter.baseline.compare import compare
from exporter.baseline.conclude import conclude
from exporter.baseline.parse import parse_baseline
from exporter.baseline.prometheus import read_history
from exporter.baseline.prometheus_api import Answer, PrometheusSeries
from exporter.baseline.seen import Seen
from exporter.baseline.write import baseline_lines
from exporter.common.text import clean
from exporter.otlp.reading.spans import EgressSpan
from exporter.policy.model import Name
from tests.fuzz.draw import Draw

_NAMES = tuple(sorted(ATTRIBUTES))
_HOSTS = (
    *(
        "a.cdn.example",
        "b.cdn.example",
        "c.cdn.example",
        "x.a.cdn.example",
        "cdn.example",
        "a.github.io",
        "com",
    ),
    *(
        "b.github.io",
        "c.github.io",
        "192.0.2.1",
        "2001:db8::1",
        "::ffff:192.0.2.1",
        "127.0.0.1",
        "10.0.0.0/8",
    ),
    *("*.example", "_other", "_socket", "A.CDN.EXAMPLE.", "localhost", "a" * 300, "1.2.3", "fe80::1%lo"),
)
_PLAUSIBLE: dict[str, tuple[Any, ...]] = {
    "cicd.pipeline.name": ("release", "nightly", "x" * 2000),
    "cicd.pipeline.run.id": (*map(str, range(9)), "1" * 2000),
    "cicd.pipeline.task.name": ("build", "test"),
    "egress.attempts": (1, 7, 0, -1, 1 << 200),
    "egress.job.attempt": ("1", "2"),
    "egress.lineage": (["bash"], ["bash", "npm"], [], [[]], ["x" * 2000], ["a>b"], [""]),
    "egress.novel": (False, True),
    "egress.rule": ("answer", "default"),
    "egress.truncated": (None, ["egress.lineage"], ["process.command_line"]),
    "egress.verdict": ("allow", "audit", "deny"),
    "network.peer.address": ("192.0.2.80", "::1", "0.0.0.0", "x"),  # noqa: S104
    "network.transport": ("tcp", "udp", "icmp", "200", "quic"),
    "server.address": _HOSTS,
    "server.port": (443, 53, 0, 65536, -1, True),
}
_REPOSITORIES = (None, "bank/ledger", "shop/cart")
_LABELS = {
    "cicd_pipeline_name": "cicd.pipeline.name",
    "cicd_pipeline_task_name": "cicd.pipeline.task.name",
    "server_address": "server.address",
    "server_port": "server.port",
    "network_transport": "network.transport",
    "egress_verdict": "egress.verdict",
    "egress_novel": "egress.novel",
    "egress_lineage": "egress.lineage",
}
_DAY = date(2026, 11, 24)
_NS = 1_795_000_000 * 10**9


def check(draw: Draw) -> None:
    """Files and Prometheus, each a part of it or not."""
    spans = draw.some(lambda: _span(draw), 40)
    parts = [_seen(spans[: len(spans) // 2]), _seen(spans[len(spans) // 2 :])]
    together = Seen()
    for part in parts:
        together.merge(part)
    assert conclude(together) == conclude(_seen(spans))
    together.merge(read_history(_Server(draw), 3, today=_DAY))
    learnt = conclude(together)
    text = "".join(f"{line}\n" for line in baseline_lines(learnt.baseline))
    assert parse_baseline(clean(text).encode(), "baseline.yaml") == learnt.baseline
    again = conclude(_seen(spans), learnt.baseline)
    assert compare(learnt.baseline, again.baseline).is_none
    for entry in learnt.baseline.entries:
        assert isinstance(entry.host, Name) or not (entry.host.is_loopback or entry.folded)
        assert all(isinstance(entry.host, Name) and entry.host.covers(name) for name in entry.folded)


class _Server:
    shown = "http://prometheus.example"

    def __init__(self, draw: Draw) -> None:
        self._draw = draw

    def query(self, _: str, at_s: str) -> Answer:
        assert datetime.fromtimestamp(float(at_s), UTC).date() <= _DAY
        return Answer(self._draw.some(self._series, 9), self._draw.some(lambda: self._draw.text(9), 2))

    def _series(self) -> PrometheusSeries:
        values = {label: _value(self._draw, name) for label, name in _LABELS.items()}
        return PrometheusSeries({label: _label(value) for label, value in values.items()})


def _label(value: object) -> str:
    if isinstance(value, list):
        return ">".join(map(str, value))
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _seen(spans: list[EgressSpan]) -> Seen:
    seen = Seen()
    for span in spans:
        add_span(seen, span)
    return seen


def _span(draw: Draw) -> EgressSpan:
    started_ns = draw.unsigned(66) if draw.chance(0.1) else _NS + draw.randrange(1 << 52)
    values = {name: _value(draw, name) for name in _NAMES}
    known = {name: value for name, value in values.items() if value is not None}
    return EgressSpan(started_ns, known, draw.choice(_REPOSITORIES))


def _value(draw: Draw, name: str) -> Any:
    """Mostly plausible, or none."""
    if draw.chance(0.02):
        return draw.choice((None, 7, -1, True, 0.5, [], [[]], draw.text(20), [draw.text(3)]))
    plausible = _PLAUSIBLE[name]
    return plausible[draw.length(len(plausible) - 1)]
