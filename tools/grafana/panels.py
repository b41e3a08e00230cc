"""The few kinds of panel that the dashboards are made of. Each has a description and a unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as option
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

from tools.grafana.links import Link, built
from tools.grafana.variables import JAEGER, PROMETHEUS

Panel = Builder[model.Panel]
Mapping = dict[str, Any]

COUNT, BYTES, SECONDS, TEXT, RATIO = "short", "bytes", "s", "string", "percentunit"
GOOD, BAD, ATTENTION, NEUTRAL = "green", "red", "orange", "text"
_EMPTY_CELL = "–"
_REF_IDS = "ABCDEFGHIJ"
_STEP_MIN = "1m"
_BARS = 60
"""The number of bars: more would show no more, and each costs Prometheus as much as the whole range."""


class Size(NamedTuple):
    """The size of a panel in cells of the grid, which is 24 wide."""

    width: int
    height: int


STAT, HALF, WHOLE = Size(3, 4), Size(12, 9), Size(24, 9)


@dataclass(frozen=True)
class Column:
    """A column of a table, which shows a field."""

    name: str
    """The field's name: a label, `Value`, or `Value #A` with several queries."""
    title: str
    unit: str = TEXT
    links: tuple[Link, ...] = ()
    mappings: tuple[Mapping, ...] = ()


@dataclass(frozen=True)
class Curve:
    """A query over time."""

    expr: str
    legend: str
    has_exemplars: bool = False


@dataclass(frozen=True)
class Alarm:
    """The value from which on a number has another colour."""

    color: str = NEUTRAL
    above: float = 1
    otherwise: str = GOOD


CALM = Alarm(NEUTRAL, otherwise=NEUTRAL)


def number(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str = COUNT,
    alarm: Alarm = CALM,
    no_value: str = "0",
    links: tuple[Link, ...] = (),
    mappings: tuple[Mapping, ...] = (),
) -> Panel:
    """Make a panel with one number for the whole time range."""
    steps = [model.Threshold(None, alarm.otherwise), model.Threshold(alarm.above, alarm.color)]
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .with_target(_instant("A", expr).legend_format(title))
        .unit(unit)
        .no_value(no_value)
        .thresholds(dashboard.ThresholdsConfig().steps(steps))
        .data_links([built(link) for link in links])
        .mappings([model.ValueMap.from_json(mapping) for mapping in mappings])
        .graph_mode(option.BigValueGraphMode.NONE)
        .color_mode(option.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .span(STAT.width)
        .height(STAT.height)
    )


def rows(
    title: str,
    description: str,
    exprs: list[str],
    columns: list[Column],
    *,
    no_value: str,
    size: Size = HALF,
) -> Panel:
    """Make a table: a line for each set of labels, a column for each query; the first value sorts."""
    queries = [
        _instant(ref_id, expr).format(PromQueryFormat.TABLE)
        for ref_id, expr in zip(_REF_IDS, exprs, strict=False)
    ]
    arranged = {
        "excludeByName": {"Time": True},
        "indexByName": {column.name: place for place, column in enumerate(columns)},
        "renameByName": {column.name: column.title for column in columns},
    }
    panel = _table(title, description, no_value, size).datasource(PROMETHEUS)
    for query in queries:
        panel.with_target(query)
    if len(queries) > 1:
        panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(model.DataTransformerConfig(id_val="organize", options=arranged))
    for column in columns:
        panel.override_by_name(column.title, _properties(column))
    by = next(column.title for column in columns if column.unit != TEXT)
    return panel.sort_by([common.TableSortByFieldState().display_name(by).desc(True)])


def _properties(column: Column) -> list[model.DynamicConfigValue]:
    properties = [
        model.DynamicConfigValue(id_val="unit", value=column.unit),
        # Else an empty cell shows the text that the whole table shows when it is empty.
        model.DynamicConfigValue(id_val="noValue", value=_EMPTY_CELL),
    ]
    if column.links:
        properties.append(model.DynamicConfigValue(id_val="links", value=list(column.links)))
    if column.mappings:
        properties.append(model.DynamicConfigValue(id_val="mappings", value=list(column.mappings)))
        cell = {"type": "color-text"}
        properties.append(model.DynamicConfigValue(id_val="custom.cellOptions", value=cell))
    return properties


def over_time(
    title: str,
    description: str,
    curves: list[Curve],
    *,
    unit: str = COUNT,
    links: tuple[Link, ...] = (),
    colors: dict[str, str] | None = None,
    is_stacked: bool = True,
    size: Size = HALF,
) -> Panel:
    """Make a panel over time, with bars that add up, or else points."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .interval(_STEP_MIN)
        .max_data_points(_BARS)
        .unit(unit)
        .min(0)
        .data_links([built(link) for link in links])
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(option.TooltipDisplayMode.MULTI))
        .span(size.width)
        .height(size.height)
    )
    if is_stacked:
        panel.draw_style(option.GraphDrawStyle.BARS).fill_opacity(60).stacking(
            common.StackingConfig().mode(option.StackingMode.NORMAL)
        )
    else:
        panel.draw_style(option.GraphDrawStyle.POINTS).point_size(6)
    for ref_id, curve in zip(_REF_IDS, curves, strict=False):
        panel.with_target(
            _query(ref_id, curve.expr).range().legend_format(curve.legend).exemplar(curve.has_exemplars)
        )
    for name, color in (colors or {}).items():
        fixed = {"mode": "fixed", "fixedColor": color}
        panel.override_by_name(name, [model.DynamicConfigValue(id_val="color", value=fixed)])
    return panel


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(option.LegendDisplayMode.TABLE)
        .placement(option.LegendPlacement.RIGHT)
        .calcs(["sum"])
        .sort_by("Total")
        .sort_desc(True)
    )


class _TraceSearch(Builder[Dataquery], Dataquery):
    """A query of Grafana's Jaeger data source, which its models don't have."""

    def __init__(self, tags: str) -> None:
        self._tags = tags

    def build(self) -> Dataquery:
        """Return it: it is data already."""
        return self

    def to_json(self) -> dict[str, object]:
        """Return the query as the data source reads it; tags are in logfmt."""
        return {
            "refId": "A",
            "datasource": {"type": JAEGER.type_val, "uid": JAEGER.uid},
            "queryType": "search",
            "service": "$service",
            "tags": self._tags,
            "limit": 20,
        }


def traces(title: str, description: str, tags: str, *, no_value: str) -> Panel:
    """Make a table of the latest traces in which one span has all the tags; a trace's id opens it."""
    panel = _table(title, description, no_value, HALF).datasource(JAEGER).with_target(_TraceSearch(tags))
    for name, unit in (("Trace ID", TEXT), ("Start time", "dateTimeAsIso"), ("Duration", "µs")):
        panel.override_by_name(name, [model.DynamicConfigValue(id_val="unit", value=unit)])
    return panel


def _table(title: str, description: str, no_value: str, size: Size) -> table.Panel:
    return (
        table.Panel()
        .title(title)
        .description(description)
        .unit(TEXT)
        .no_value(no_value)
        .filterable(True)
        .span(size.width)
        .height(size.height)
    )


def _instant(ref_id: str, expr: str) -> prometheus.Dataquery:
    return _query(ref_id, expr).instant()


def _query(ref_id: str, expr: str) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .datasource(PROMETHEUS)
        .ref_id(ref_id)
        .expr(expr)
        .editor_mode(QueryEditorMode.CODE)
    )
