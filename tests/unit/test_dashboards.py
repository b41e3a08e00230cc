"""The dashboards as files: Grafana's own models read them, they explain themselves, and their links hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.checkout import ROOT
from tests.dashboards import FOLDER, JsonObject, columns, dashboards, panels, variables
from tools.grafana.__main__ import generated

GRID_WIDTH = 24
BOARDS = dashboards()


def has_columns(panel: Any) -> bool:
    return panel["type"] == "table" and "expr" in panel["targets"][0]


each_board = pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
PANELS = [
    pytest.param(panel, id=f"{uid}: {panel['title']}")
    for uid, board in BOARDS.items()
    for panel in panels(board)
]
each_panel = pytest.mark.parametrize("panel", PANELS)
each_table = pytest.mark.parametrize("panel", [each for each in PANELS if has_columns(each.values[0])])


def test_the_files_are_what_the_generator_makes() -> None:
    assert {path: path.read_text() for path in FOLDER.glob("*.json")} == generated()


@each_board
def test_grafanas_models_give_back_all_that_they_read(board: JsonObject) -> None:
    register_default_plugins()
    assert json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder)) == board


@each_panel
def test_a_panel_has_a_description_and_a_unit(panel: JsonObject) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]


@each_table
def test_each_column_has_a_unit_and_something_for_an_empty_cell(panel: JsonObject) -> None:
    """By default a cell would say what the whole table says when there is nothing."""
    settings = {
        override["matcher"]["options"]: {each["id"]: each["value"] for each in override["properties"]}
        for override in panel["fieldConfig"]["overrides"]
    }
    assert settings.keys() == set(columns(panel).values())
    assert all(each["unit"] and each["noValue"] == "–" for each in settings.values())


@each_panel
def test_a_panel_that_may_have_nothing_to_show_says_what_that_means(panel: JsonObject) -> None:
    assert panel["type"] == "timeseries" or panel["fieldConfig"]["defaults"]["noValue"]


@each_panel
def test_data_sources_are_those_that_one_chose(panel: JsonObject) -> None:
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    kinds = {source["type"] for source in sources}
    assert len(kinds) == 1
    assert all(source["uid"] == f"${{{source['type']}}}" for source in sources)


@each_board
def test_panels_fill_the_grid_without_overlap(board: JsonObject) -> None:
    def cells(panel: JsonObject) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}

    for first, second in combinations(map(cells, board["panels"]), 2):
        assert not first & second
    taken = set().union(*map(cells, board["panels"]))
    assert taken == {(x, y) for x in range(GRID_WIDTH) for y in range(max(y for _, y in taken) + 1)}


@each_board
def test_a_dashboard_tells_its_panels_apart(board: JsonObject) -> None:
    titles = [panel["title"] for panel in panels(board)]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(titles)) == len(titles)
    assert len(set(ids)) == len(ids)


def links(node: Any) -> Iterator[str]:
    """Every address below a node."""
    if isinstance(node, dict):
        if isinstance(node.get("url"), str):
            yield node["url"]
        for below in node.values():
            yield from links(below)
    elif isinstance(node, list):
        for below in node:
            yield from links(below)


@each_board
def test_links_are_to_dashboards_and_variables_that_exist(board: JsonObject) -> None:
    inner = [url for url in links(board) if not url.startswith("/explore?")]
    assert inner
    for url in inner:
        kind, uid = urlsplit(url).path.removeprefix("/").split("/")
        assert kind == "d"
        there = variables(BOARDS[uid])
        for name in parse_qs(urlsplit(url).query):
            assert name.removeprefix("var-") in there
        for name in ("prometheus", "jaeger"):
            assert f"${{{name}:queryparam}}" in url
            assert name in there


@each_board
def test_every_other_dashboard_is_linked_at_the_top(board: JsonObject) -> None:
    linked = {urlsplit(link["url"]).path.removeprefix("/d/") for link in board["links"]}
    assert linked == BOARDS.keys() - {board["uid"]}
    assert all(link["keepTime"] for link in board["links"])


@each_board
def test_links_to_traces_are_to_the_data_source_that_one_chose(board: JsonObject) -> None:
    outer = [url for url in links(board) if url.startswith("/explore?")]
    assert outer
    for url in outer:
        (pane,) = json.loads(unquote(parse_qs(urlsplit(url).query)["panes"][0])).values()
        (query,) = pane["queries"]
        assert query["datasource"] == {"type": "jaeger", "uid": "${jaeger}"}
        assert query["service"] == "${service}"


def test_jaegers_links_are_to_dashboards_and_variables_that_exist() -> None:
    patterns = json.loads((ROOT / "deploy/jaeger-ui.json").read_text())["linkPatterns"]
    assert patterns
    for pattern in patterns:
        url = urlsplit(pattern["url"].replace(f"#{{{pattern['key']}}}", "VALUE"))
        ((name, value),) = parse_qsl(url.query)
        assert value == "VALUE"
        assert name.removeprefix("var-") in variables(BOARDS[url.path.removeprefix("/d/")])
    jaeger = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]["jaeger"]
    assert "./jaeger-ui.json:/etc/jaeger/ui.json:ro" in jaeger["volumes"]
    assert "--set=extensions.jaeger_query.ui.config_file=/etc/jaeger/ui.json" in jaeger["command"]


def provisioned(kind: str) -> JsonObject:
    loaded: JsonObject = yaml.safe_load((FOLDER / "provisioning" / kind / "ci-egress.yaml").read_text())
    return loaded


def test_the_default_data_sources_are_the_provisioned_ones() -> None:
    uids = {source["type"]: source["uid"] for source in provisioned("datasources")["datasources"]}
    for board in BOARDS.values():
        chosen = {
            variable["query"]: variable["current"]["value"]
            for variable in variables(board).values()
            if variable["type"] == "datasource"
        }
        assert chosen == uids


def test_provisioning_is_for_the_servers_and_folders_of_the_compose_file() -> None:
    services = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]
    hosts = {urlsplit(source["url"]).hostname for source in provisioned("datasources")["datasources"]}
    assert hosts <= services.keys()
    (provider,) = provisioned("dashboards")["providers"]
    mounted = {
        Path(target): source for source, target, _ in map(split_volume, services["grafana"]["volumes"])
    }
    assert mounted[Path(provider["options"]["path"])] == "../dashboards/grafana"
    assert mounted[Path("/etc/grafana/provisioning")] == "../dashboards/grafana/provisioning"


def split_volume(volume: str) -> tuple[str, str, str]:
    source, target, *options = volume.split(":")
    return source, target, ",".join(options)
