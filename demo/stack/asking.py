"""Ask Jaeger and Alertmanager, by their own interfaces, until they have a span or an alert."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from exporter.common.errors import CiEgressError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from demo.stack.runs import Destination
    from demo.trace import Span

NOVEL_DESTINATION = "CICDEgressNovelDestination"
"""The alert that egress_novel="true" raises: dashboards/prometheus/alerts.yaml."""
_ARRIVAL_WITHIN_S = 60.0
_ANSWER_TIMEOUT_S = 30.0
_PAUSE_S = 0.1

Found = TypeVar("Found")


class Alert(NamedTuple):
    """An alert that fires, as Alertmanager has it."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    seen_at_s: float
    """When Alertmanager was first seen to have the alert, in seconds since 1970."""


class Links(NamedTuple):
    """The URLs at which Jaeger shows a span."""

    page: str
    """The URL of a page for people; a placeholder where Jaeger was built without its interface."""
    trace: str
    """The URL of the whole trace as JSON, for programs."""


def wait_for_span(jaeger_url: str, span: Span) -> Links:
    """Return the links to a span once both work. Raises CiEgressError when they don't in time."""
    links = Links(
        f"{jaeger_url}/trace/{span.trace_id}?uiFind={span.span_id}",
        f"{jaeger_url}/api/traces/{span.trace_id}",
    )

    def leads_there() -> Links | None:
        traces = (_fetch_json(links.trace) or {"data": []})["data"]
        is_there = any(each["spanID"] == span.span_id for trace in traces for each in trace["spans"])
        return links if is_there and _fetch(links.page) is not None else None

    return _wait_for(leads_there, f"span {span.span_id} in Jaeger")


def wait_for_alert(alertmanager_url: str, destination: Destination, *, is_inhibited: bool) -> Alert:
    """Return the alert for a destination once it fires, or is inhibited.

    Raises CiEgressError when it isn't in time.
    """
    wanted = {
        "alertname": NOVEL_DESTINATION,
        "server_address": destination.host,
        "server_port": str(destination.port),
        "network_transport": destination.transport,
    }
    states = {"active": str(not is_inhibited).lower(), "inhibited": str(is_inhibited).lower()}
    filters = [("filter", f'{name}="{value}"') for name, value in wanted.items()]
    url = f"{alertmanager_url}/api/v2/alerts?{urlencode([*states.items(), *filters])}"

    def fires() -> Alert | None:
        found = _fetch_json(url)
        return Alert(found[0]["labels"], found[0]["annotations"], time.time()) if found else None

    return _wait_for(fires, f"an alert for {destination}")


def _wait_for(find: Callable[[], Found | None], what: str) -> Found:
    deadline_s = time.monotonic() + _ARRIVAL_WITHIN_S
    while (found := find()) is None:
        if time.monotonic() > deadline_s:
            raise CiEgressError(f"there is no {what} after {_ARRIVAL_WITHIN_S:.0f} s")
        time.sleep(_PAUSE_S)
    return found


def _fetch_json(url: str) -> Any:
    """Return the JSON at `url`. None: nothing is there."""
    content = _fetch(url)
    return None if content is None else json.loads(content)


def _fetch(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_TIMEOUT_S) as answer:  # noqa: S310 - http to loopback
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND:
            return None
        raise CiEgressError(f"{url}: {error}") from error
