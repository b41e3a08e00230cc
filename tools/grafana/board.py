"""A dashboard as a whole: sections of panels, from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

from tools.grafana import links, variables
from tools.grafana.panels import Panel
from tools.grafana.variables import Variable

_SCHEMA_VERSION = 41


@dataclass(frozen=True)
class Section:
    """A row of a dashboard, with its panels."""

    title: str
    panels: list[Panel]


@dataclass(frozen=True)
class Board:
    """One of the dashboards."""

    uid: str
    description: str
    variables: list[Variable]
    sections: list[Section]
    from_time: str = "now-6h"

    def built(self) -> model.Dashboard:
        """Build the dashboard as Grafana reads it."""
        title, _ = links.TITLES[self.uid]
        made = (
            dashboard.Dashboard(f"CI/CD egress: {title.lower()}")
            .uid(self.uid)
            .description(self.description)
            .tags([links.TAG])
            .time(self.from_time, "now")
            .refresh("5m")
            .timezone("browser")
            .editable()
            .tooltip(model.DashboardCursorSync.CROSSHAIR)
            .links(list(links.to_the_others(self.uid)))
        )
        for variable in [*variables.common(), *self.variables]:
            made.with_variable(variable)
        for section in self.sections:
            made.with_row(dashboard.Row(section.title))
            for panel in section.panels:
                made.with_panel(panel)
        result = made.build()
        result.schema_version = _SCHEMA_VERSION
        for number, placed in enumerate(result.panels or [], 1):
            placed.id_val = number
        return result
