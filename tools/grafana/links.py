"""Links from one dashboard to another, and to the traces."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

FLEET, PIPELINE, DESTINATION, EXPORTER = (
    f"ci-egress-{name}" for name in ("fleet", "pipeline", "destination", "exporter")
)
TITLES = {
    FLEET: ("Fleet", "What all pipelines connect to"),
    PIPELINE: ("Pipeline", "What one pipeline connects to"),
    DESTINATION: ("Destination", "Who connects to one destination"),
    EXPORTER: ("Exporter", "Whether everything is accounted for"),
}
TAG = "ci-egress"
Link = dict[str, Any]

CELL = "${__value.raw:percentencode}"
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")


def field(name: str) -> str:
    """Return a placeholder for the value of another column of the same row."""
    return f"${{__data.fields.{name}:percentencode}}"


def label(name: str) -> str:
    """Return a placeholder for the value of a label of a series."""
    return f"${{__field.labels.{name}:percentencode}}"


def to_dashboard(title: str, uid: str, **variables: str) -> Link:
    """Make a link to another dashboard, with the same servers and times, and with these variables."""
    given = [f"var-{name}={value}" for name, value in variables.items()]
    kept = ["${prometheus:queryparam}", "${jaeger:queryparam}", "${__url_time_range}"]
    return {"title": title, "url": f"/d/{uid}?{'&'.join([*given, *kept])}"}


def to_traces(title: str, tags: dict[str, str]) -> Link:
    """Make a link to Jaeger's traces with a span that has all of these tags, in Explore."""
    wanted = " ".join(f'{name}="{value}"' for name, value in tags.items())
    source = {"type": "jaeger", "uid": "${jaeger}"}
    search = {
        "refId": "A",
        "datasource": source,
        "queryType": "search",
        "service": "${service}",
        "tags": wanted,
    }
    pane = {
        "datasource": "${jaeger}",
        "queries": [search],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    encoded = _quoted(json.dumps({"traces": pane}, separators=(",", ":")))
    return {"title": title, "url": f"/explore?schemaVersion=1&panes={encoded}", "targetBlank": True}


def _quoted(text: str) -> str:
    """Percent-encode `text`, except Grafana's placeholders."""
    placeholders = _PLACEHOLDER.findall(text)
    parts = [quote(part, safe="") for part in _PLACEHOLDER.split(text)]
    return parts[0] + "".join(
        placeholder + part for placeholder, part in zip(placeholders, parts[1:], strict=True)
    )


def pipeline_cell() -> Link:
    """Make a link from a pipeline's name to its dashboard."""
    return to_dashboard("What ${__value.raw} connects to", PIPELINE, pipeline=CELL)


def destination_cell() -> Link:
    """Make a link from a destination's name to its dashboard."""
    return to_dashboard("Who connects to ${__value.raw}", DESTINATION, destination=CELL)


def built(link: Link) -> dashboard.DashboardLink:
    """Convert a link of a cell to one of a whole panel."""
    return dashboard.DashboardLink(link["title"]).url(link["url"])


def to_the_others(uid: str) -> list[dashboard.DashboardLink]:
    """Make the links at the top of the dashboard `uid`, to all others."""
    return [
        dashboard.DashboardLink(name)
        .type(DashboardLinkType.LINK)
        .icon("dashboard")
        .tooltip(tooltip)
        .url(f"/d/{other}?${{prometheus:queryparam}}&${{jaeger:queryparam}}")
        .keep_time(True)
        for other, (name, tooltip) in TITLES.items()
        if other != uid
    ]
