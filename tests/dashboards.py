"""The dashboards as files, and their parts by name."""

from __future__ import annotations

import json
from typing import Any

from tests.checkout import ROOT

JsonObject = dict[str, Any]

FOLDER = ROOT / "dashboards" / "grafana"


def dashboards() -> dict[str, JsonObject]:
    """Those of the folder, by their uid."""
    loaded = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]
    return {board["uid"]: board for board in loaded}


def panel_of(uid: str, title: str) -> JsonObject:
    """The one with this title."""
    (found,) = [panel for panel in panels(dashboards()[uid]) if panel["title"] == title]
    return found


def panels(board: JsonObject) -> list[JsonObject]:
    """All but the rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def variables(board: JsonObject) -> dict[str, JsonObject]:
    """By their name."""
    return {variable["name"]: variable for variable in board["templating"]["list"]}


def columns(panel: JsonObject) -> dict[str, str]:
    """Titles of a table's columns by the names of their fields, from left to right."""
    organize = panel["transformations"][-1]["options"]
    titles: dict[str, str] = organize["renameByName"]
    assert organize["excludeByName"] == {"Time": True}
    return dict(sorted(titles.items(), key=lambda item: organize["indexByName"][item[0]]))
