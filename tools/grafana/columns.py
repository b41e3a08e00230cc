"""Columns that several tables have, with their links."""

from __future__ import annotations

from tools.grafana import links, promql
from tools.grafana.panels import ATTENTION, BAD, BYTES, COUNT, GOOD, Column, Mapping


def _value_map(options: dict[str, tuple[str, str]]) -> Mapping:
    """Map values to other words, and a colour."""
    listed = {
        value: {"text": text, "color": color, "index": place}
        for place, (value, (text, color)) in enumerate(options.items())
    }
    return {"type": "value", "options": listed}


VERDICTS = _value_map(
    {"deny": ("denied", BAD), "audit": ("would be denied", ATTENTION), "allow": ("allowed", GOOD)}
)
NOVELTY = _value_map({"true": ("novel", BAD), "false": ("known", GOOD)})
MODES = _value_map({"1": ("enforcing", GOOD), "0": ("not enforcing", ATTENTION)})

PIPELINE = Column(
    promql.PIPELINE,
    "Pipeline",
    links=(
        links.pipeline_cell(),
        links.to_traces("Traces of ${__value.raw}", {"cicd.pipeline.name": links.CELL}),
    ),
)
TASK = Column(promql.TASK, "Task")
DESTINATION = Column(
    promql.HOST,
    "Destination",
    links=(
        links.destination_cell(),
        links.to_traces("Traces with ${__value.raw}", {"server.address": links.CELL}),
    ),
)
DESTINATION_OF_PIPELINE = Column(
    promql.HOST,
    "Destination",
    links=(
        links.to_traces(
            "Traces of this pipeline with ${__value.raw}",
            {"cicd.pipeline.name": links.field(promql.PIPELINE), "server.address": links.CELL},
        ),
        links.destination_cell(),
    ),
)
PORT = Column(promql.PORT, "Port")
TRANSPORT = Column(promql.TRANSPORT, "Transport")
VERDICT = Column(promql.VERDICT, "Verdict", mappings=(VERDICTS,))
NOVEL = Column(promql.NOVEL, "Novelty", mappings=(NOVELTY,))
LINEAGE = Column(promql.LINEAGE, "Chain of programs")
ATTEMPTS = Column("Value", "Attempts", COUNT)


def value(ref_id: str, title: str, unit: str = COUNT, mappings: tuple[Mapping, ...] = ()) -> Column:
    """Make the column of one of several queries."""
    return Column(f"Value #{ref_id}", title, unit, mappings=mappings)


def sent_and_received(first: str, second: str) -> list[Column]:
    """Make the columns for payload each way."""
    return [value(first, "Sent", BYTES), value(second, "Received", BYTES)]
