"""Every panel, variable and link of the dashboards, asked of real servers: they show what the demo did."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_never
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from demo.stack.servers import prepare, running_stack
from exporter.common.errors import CiEgressError
from tests.checkout import ROOT
from tests.dashboards import FOLDER, JsonObject, columns, dashboards, panel_of, panels, variables
from tests.stack import dashboard_values as values
from tests.stack.dashboard_queries import Row, Span, View
from tests.stack.dashboard_values import EXPECTED, Curves, Durations, Expected, Number, Peaks, Table, Traces
from tests.stack.demo_fleet import BEACON, NAMES, Fleet, run_fleet

pytestmark = [pytest.mark.stack, pytest.mark.kernel, pytest.mark.timeout(900)]

BOARDS = dashboards()
PANELS = [(uid, panel["title"]) for uid, board in BOARDS.items() for panel in panels(board)]
LINKS = [
    (uid, panel["title"])
    for uid, board in BOARDS.items()
    for panel in panels(board)
    if '"url"' in json.dumps(panel)
]
CHOSEN = {
    "ci-egress-fleet": {"window": "1h"},
    "ci-egress-pipeline": {"window": "1h", "pipeline": "release"},
    "ci-egress-destination": {"window": "1h", "destination": BEACON},
    "ci-egress-exporter": {},
}
LONGEST_CONNECT_S = 130.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The demo's runs and the servers that know of them, and of nothing else."""
    try:
        binaries = prepare()
    except CiEgressError as error:
        pytest.fail(str(error), pytrace=False)
    folder = tmp_path_factory.mktemp("dashboards")
    servers = ("jaeger", "collector", "prometheus")
    with running_stack(folder / "stack", binaries=binaries, servers=servers) as stack:
        yield run_fleet(stack, folder)


def opened(fleet: Fleet, uid: str, span: Span | None = None, **chosen: str | list[str]) -> View:
    return View(BOARDS[uid], fleet.servers, span or fleet.recent, {**CHOSEN[uid], **chosen})


def test_there_is_an_expectation_for_each_panel_and_none_for_what_is_gone() -> None:
    assert sorted(PANELS) == sorted((uid, title) for uid, board in EXPECTED.items() for title in board)


@pytest.mark.parametrize(("uid", "title"), PANELS)
def test_a_panel_shows_what_the_demo_did(fleet: Fleet, uid: str, title: str) -> None:
    check(fleet, uid, panel_of(uid, title), EXPECTED[uid][title])


def check(fleet: Fleet, uid: str, panel: JsonObject, expected: Expected) -> None:
    recent, whole = opened(fleet, uid), opened(fleet, uid, fleet.whole)
    match expected:
        case Number(value):
            assert panel["type"] == "stat"
            assert recent.number(panel) == (value(fleet) if callable(value) else value)
        case Table(lines, after):
            assert panel["type"] == "table"
            shown = [line[after:] for line in recent.table(panel)]
            assert sorted(shown, key=repr) == sorted((floats(line) for line in lines(fleet)), key=repr)
        case Curves(sums, jobs):
            added_up = {legend: sum(points) for legend, points in whole.curves(panel).items()}
            assert added_up == sums(fleet)
            assert whole.exemplars(panel) == {fleet.trace_ids[job] for job in jobs}
        case Durations(legends, jobs):
            curves = whole.curves(panel)
            assert curves.keys() == legends
            assert all(0 < value <= LONGEST_CONNECT_S for points in curves.values() for value in points)
            assert all(points for points in curves.values())
            assert whole.exemplars(panel) == {fleet.trace_ids[job] for job in jobs}
        case Peaks(largest):
            assert {legend: max(points) for legend, points in whole.curves(panel).items()} == largest
        case Traces(jobs):
            (target,) = panel["targets"]
            shown_ids = [trace["traceID"] for trace in recent.traces(target)]
            assert sorted(shown_ids) == sorted(fleet.trace_ids[job] for job in jobs)
        case _:
            assert_never(expected)


def floats(line: tuple[Any, ...]) -> tuple[Any, ...]:
    """As Prometheus gives numbers."""
    return tuple(float(value) if isinstance(value, int) else value for value in line)


VARIABLES = {
    ("ci-egress-fleet", "pipeline"): ["hourly", "release"],
    ("ci-egress-pipeline", "pipeline"): ["hourly", "release"],
    ("ci-egress-pipeline", "task"): ["build", "smoke"],
    ("ci-egress-destination", "destination"): NAMES,
    ("ci-egress-destination", "pipeline"): ["hourly", "release"],
}


def test_there_is_an_expectation_for_each_variable_that_asks_something() -> None:
    asking = {
        (uid, name)
        for uid, board in BOARDS.items()
        for name, variable in variables(board).items()
        if variable["type"] == "query"
    }
    assert asking == VARIABLES.keys()


@pytest.mark.parametrize(("uid", "name"), VARIABLES)
def test_a_variable_offers_what_there_is(fleet: Fleet, uid: str, name: str) -> None:
    assert sorted(opened(fleet, uid).options(name)) == VARIABLES[uid, name]


@pytest.mark.parametrize(("pipelines", "attempts"), [(["hourly"], 11), (["hourly", "release"], 24)])
def test_several_pipelines_can_be_chosen(fleet: Fleet, pipelines: list[str], attempts: int) -> None:
    view = opened(fleet, "ci-egress-fleet", pipeline=pipelines)
    rows = view.rows(panel_of("ci-egress-fleet", "By pipeline"))
    assert sorted(row["cicd_pipeline_name"] for row in rows) == pipelines
    assert sum(row["Value #A"] for row in rows) == attempts


def test_one_task_can_be_chosen(fleet: Fleet) -> None:
    view = opened(fleet, "ci-egress-pipeline", task=["smoke"])
    assert view.number(panel_of("ci-egress-pipeline", "Attempts")) == 2
    assert view.number(panel_of("ci-egress-pipeline", "Novel destinations")) == 0


def test_what_is_refused_is_a_failed_connect(fleet: Fleet) -> None:
    view = opened(fleet, "ci-egress-destination", destination=values.GIT)
    assert view.number(panel_of("ci-egress-destination", "Failed connects")) == 1


def test_without_a_baseline_there_is_no_zero(fleet: Fleet) -> None:
    """A range in which no run had one."""
    before = Span(fleet.whole.start_s, fleet.recent.start_s)
    for uid, title in (
        ("ci-egress-fleet", "Novel destinations"),
        ("ci-egress-pipeline", "Novel destinations"),
        ("ci-egress-destination", "Novel attempts"),
    ):
        panel = panel_of(uid, title)
        assert opened(fleet, uid, before).number(panel) is None
        assert panel["fieldConfig"]["defaults"]["noValue"] == "no baseline"


def test_trace_searches_can_be_narrowed(fleet: Fleet) -> None:
    (target,) = panel_of("ci-egress-destination", "Traces")["targets"]
    for tags, jobs in (
        ("process.executable.name=curl", [3, 5]),
        ("process.executable.name=curl egress.verdict=deny", [5]),
        ("process.executable.name=node", []),
    ):
        found = opened(fleet, "ci-egress-destination", tags=tags).traces(target)
        assert sorted(trace["traceID"] for trace in found) == sorted(fleet.trace_ids[job] for job in jobs)


@pytest.mark.parametrize(("uid", "title"), LINKS)
def test_links_lead_to_what_they_name(fleet: Fleet, uid: str, title: str) -> None:
    panel = panel_of(uid, title)
    view = opened(fleet, uid)
    shown = list(links_shown(view, panel))
    expected = EXPECTED[uid][title]
    assert shown or (isinstance(expected, Table) and not expected.lines(fleet))
    for link, row, cell in shown:
        url = urlsplit(view.link(link["url"], row, cell))
        if url.path == "/explore":
            assert_traces_are_found(fleet, url.query, row, cell)
        else:
            assert_dashboard_opens(fleet, url.path, url.query)


def links_shown(view: View, panel: JsonObject) -> Iterator[tuple[JsonObject, Row, str]]:
    """Each link as it is offered: with the row and the cell, or the series, that it is on."""
    general = panel["fieldConfig"]["defaults"].get("links", [])
    if panel["type"] == "stat":
        yield from ((link, {}, "") for link in general)
    elif panel["type"] == "timeseries":
        (target,) = panel["targets"]
        (label,) = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
        yield from ((link, {label: legend}, "") for link in general for legend in view.curves(panel))
    else:
        names = {title: name for name, title in columns(panel).items()}
        for override in panel["fieldConfig"]["overrides"]:
            cell = names[override["matcher"]["options"]]
            offered = [
                link for each in override["properties"] if each["id"] == "links" for link in each["value"]
            ]
            yield from ((link, row, cell) for row in view.rows(panel) if cell in row for link in offered)


def assert_traces_are_found(fleet: Fleet, query: str, row: Row, cell: str) -> None:
    (panes,) = parse_qs(query)["panes"]
    (pane,) = json.loads(panes).values()
    (search,) = pane["queries"]
    span = Span(float(pane["range"]["from"]) / 1000, float(pane["range"]["to"]) / 1000)
    assert span == fleet.recent
    assert pane["datasource"] == "ci-egress-jaeger"
    found = opened(fleet, "ci-egress-fleet", span).traces(search)
    assert found
    assert row[cell] in search["tags"]
    assert {trace["traceID"] for trace in found} <= set(fleet.trace_ids.values())


def assert_dashboard_opens(fleet: Fleet, path: str, query: str) -> None:
    uid = path.removeprefix("/d/")
    asked = parse_qs(query, strict_parsing=True)
    chosen = {name.removeprefix("var-"): value for name, (value,) in asked.items() if name[:4] == "var-"}
    assert (chosen.pop("prometheus"), chosen.pop("jaeger")) == ("ci-egress-prometheus", "ci-egress-jaeger")
    span = Span(float(asked["from"][0]) / 1000, float(asked["to"][0]) / 1000)
    assert span == fleet.recent
    view = opened(fleet, uid, span, **chosen)
    assert all(value in view.options(name) for name, value in chosen.items())
    attempts = view.number(panel_of(uid, "Attempts"))
    assert attempts


def test_spans_have_what_jaegers_own_links_to_dashboards_are_on(fleet: Fleet) -> None:
    patterns = json.loads((ROOT / "deploy/jaeger-ui.json").read_text())["linkPatterns"]
    assert all(pattern["key"] in tags for pattern in patterns for tags in fleet.egress[3])


def test_a_span_leads_back_to_its_numbers(fleet: Fleet) -> None:
    """By the queries that Grafana offers on a span of Jaeger's."""
    sources = yaml.safe_load((FOLDER / "provisioning/datasources/ci-egress.yaml").read_text())["datasources"]
    (jaeger,) = [source for source in sources if source["type"] == "jaeger"]
    back = jaeger["jsonData"]["tracesToMetrics"]
    (egress, _) = [tags for tags in fleet.egress[3] if tags["server.address"] == BEACON]
    tags = ", ".join(f'{tag["value"]}="{egress[tag["key"]]}"' for tag in back["tags"])
    found = [
        fleet.servers.prometheus("query", fleet.recent, query=filled)["result"]
        for query in back["queries"]
        for filled in [expression(query["query"], tags, fleet.recent)]
    ]
    attempts, payload = (
        {frozenset(one["metric"].items()): one["value"][1] for one in each} for each in found
    )
    assert attempts == {frozenset({("egress_verdict", "audit"), ("egress_novel", "true")}): "2"}
    assert payload == {
        frozenset({("network_io_direction", way)}): str(int(fleet.payload(did, (3,), BEACON)))
        for way, did in (("transmit", "sent"), ("receive", "received"))
    }


def expression(text: str, tags: str, span: Span) -> str:
    """With `$$`, as provisioning files write `$`, and Grafana's variables filled in."""
    return text.replace("$$", "$").replace("$__tags", tags).replace("$__range", f"{span.length_s}s")


def test_exemplars_are_labelled_as_the_data_source_follows_them() -> None:
    folder = Path(FOLDER, "provisioning/datasources/ci-egress.yaml")
    sources = {source["type"]: source for source in yaml.safe_load(folder.read_text())["datasources"]}
    (way,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert (way["name"], way["datasourceUid"]) == ("trace_id", sources["jaeger"]["uid"])
