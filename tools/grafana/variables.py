"""The variables that one sets at the top of a dashboard."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

from tools.grafana import promql
from tools.grafana.promql import CONNECTIONS, PIPELINE, TASK, series

Variable = Builder[model.VariableModel]

PROMETHEUS = model.DataSourceRef(type_val="prometheus", uid="${prometheus}")
JAEGER = model.DataSourceRef(type_val="jaeger", uid="${jaeger}")


def common() -> list[Variable]:
    """Make the variables of every dashboard: the servers to ask."""
    sources = [
        build.DatasourceVariable(kind)
        .type(kind)
        .label(kind.capitalize())
        .description(description)
        .current(model.VariableOption(text=kind.capitalize(), value=f"ci-egress-{kind}"))
        for kind, description in (
            ("prometheus", "Where the metrics are"),
            ("jaeger", "Where the traces are"),
        )
    ]
    service = (
        build.TextBoxVariable("service")
        .label("Service")
        .description("What OTEL_SERVICE_NAME of the exporters says; `ci-egress` without it")
        .default_value("ci-egress")
        .hide(model.VariableHide.HIDE_VARIABLE)
    )
    return [*sources, service]


def window() -> Variable:
    """Make the variable for how far back a destination must be unknown to count as new by history."""
    return (
        build.CustomVariable("window")
        .label("Known for")
        .description("How long before the time range a destination counts as known")
        .values("1h,1d,7d,14d,30d")
        .current(model.VariableOption(text="7d", value="7d"))
    )


def pipelines() -> Variable:
    """Make the variable for some pipelines, or all."""
    return _several("pipeline", "Pipelines", "Pipelines that connected to something", CONNECTIONS, PIPELINE)


def pipeline() -> Variable:
    """Make the variable for one pipeline."""
    return _one("pipeline", "Pipeline", "The pipeline to look at", PIPELINE)


def tasks() -> Variable:
    """Make the variable for some tasks of the pipeline, or all."""
    of_pipeline = series(CONNECTIONS, f'{PIPELINE}="$pipeline"')
    return _several("task", "Tasks", "Its tasks (CI jobs)", of_pipeline, TASK)


def destination() -> Variable:
    """Make the variable for one destination."""
    return _one("destination", "Destination", "The name or address to look at", promql.HOST)


def pipelines_of_destination() -> Variable:
    """Make the variable for some of the pipelines that connected to the destination, or all."""
    to_it = series(CONNECTIONS, f'{promql.HOST}="$destination"')
    return _several("pipeline", "Pipelines", "Pipelines that connected to it", to_it, PIPELINE)


def more_tags() -> Variable:
    """Make the variable for further tags that a span must have."""
    return (
        build.TextBoxVariable("tags")
        .label("More span tags")
        .description("Narrows the trace searches, as in: process.executable.name=curl egress.novel=true")
        .default_value("")
    )


def _one(name: str, title: str, description: str, label: str) -> Variable:
    return _query(name, title, description, CONNECTIONS, label)


def _several(name: str, title: str, description: str, metric: str, label: str) -> Variable:
    # `.*`, not a list of all values: series without this label are among all, too.
    every = model.VariableOption(text=["All"], value=["$__all"])
    return (
        _query(name, title, description, metric, label)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(every)
    )


def _query(name: str, title: str, description: str, metric: str, label: str) -> build.QueryVariable:
    query: dict[str, object] = {
        "qryType": 1,
        "query": f"label_values({metric}, {label})",
        "refId": "PrometheusVariableQueryEditor-VariableQuery",
    }
    return (
        build.QueryVariable(name)
        .label(title)
        .description(description)
        .datasource(PROMETHEUS)
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )
