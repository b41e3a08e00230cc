"""The queries and links of a dashboard, with variables filled in as Grafana does, asked of the real servers.

After `templateSrv` of Grafana 11.6. An unknown variable, which that would leave as it is, is an error here.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections import defaultdict
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from tests.dashboards import JsonObject, columns, variables
from tests.stack.apis import get

Value = str | list[str]
Row = dict[str, Any]

_VARIABLE = re.compile(r"\$\{(\w+)(?:\.([^:}]+))?(?::([^}]+))?\}|\$(\w+)")
_LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")
_REGEX_SPECIAL = re.compile(r"[\\^$.*+?()\[\]{}|]")
_ALL = "$__all"
STEP_S = 60
"""Of curves: they ask for steps of a minute at least, and no range here is longer than an hour."""


@dataclass(frozen=True)
class Span:
    """A time range, Unix seconds."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> int:
        return round(self.end_s - self.start_s)


class View:
    """A dashboard that is open, with a time range and values of its variables."""

    def __init__(self, board: JsonObject, servers: Servers, span: Span, chosen: dict[str, Value]) -> None:
        self.board, self.span = board, span
        self._servers = servers
        self._variables = variables(board)
        assert chosen.keys() <= self._variables.keys(), f"{board['uid']} has no {chosen.keys()}"
        self._values = {name: self._initial(variable) for name, variable in self._variables.items()} | chosen

    def options(self, name: str) -> list[str]:
        """What a query variable offers."""
        variable = self._variables[name]
        match = _LABEL_VALUES.fullmatch(variable["query"]["query"])
        assert match, variable["query"]
        assert variable["datasource"] == {"type": "prometheus", "uid": "${prometheus}"}
        selector = self._expression(match[1])
        answer = self._servers.prometheus(f"label/{match[2]}/values", self.span, **{"match[]": selector})
        return [str(one) for one in answer]

    def number(self, panel: JsonObject) -> float | None:
        """What a stat shows; None stands for its `noValue`."""
        (target,) = panel["targets"]
        found = [one["value"][1] for one in self._instant(target)]
        assert len(found) <= 1, f"{panel['title']}: one number, not {found}"
        return float(found[0]) if found else None

    def rows(self, panel: JsonObject) -> list[Row]:
        """What a table is made of, by the names of fields, before these get their titles."""
        merged: dict[frozenset[tuple[str, str]], Row] = defaultdict(dict)
        for target in panel["targets"]:
            name = "Value" if len(panel["targets"]) == 1 else f"Value #{target['refId']}"
            for one in self._instant(target):
                merged[frozenset(one["metric"].items())][name] = float(one["value"][1])
        steps = [step["id"] for step in panel["transformations"]]
        assert steps == (["organize"] if len(panel["targets"]) == 1 else ["merge", "organize"])
        return [{**dict(labels), **values} for labels, values in merged.items()]

    def table(self, panel: JsonObject) -> list[tuple[Any, ...]]:
        """The lines of a table, with None where a column has nothing."""
        names = columns(panel)
        rows = self.rows(panel)
        strangers = {name for row in rows for name in row} - set(names)
        assert not strangers, f"{panel['title']} shows {strangers} under no title"
        return [tuple(row.get(name) for name in names) for row in rows]

    def curves(self, panel: JsonObject) -> dict[str, list[float]]:
        """Values by legend, of all steps; without those that are not a number."""
        found: dict[str, list[float]] = defaultdict(list)
        assert panel["interval"] == "1m"
        assert self.span.length_s <= STEP_S * panel["maxDataPoints"]
        span = Span(self.span.start_s // STEP_S * STEP_S, self.span.end_s // STEP_S * STEP_S)
        for target in panel["targets"]:
            query = self._expression(target["expr"])
            answer = self._servers.prometheus("query_range", span, query=query, step=str(STEP_S))
            for one in answer["result"]:
                legend = _legend(target["legendFormat"], one["metric"])
                values = (float(text) for _, text in one["values"])
                found[legend] += [value for value in values if not math.isnan(value)]
        return dict(found)

    def exemplars(self, panel: JsonObject) -> set[str]:
        """Trace ids of the exemplars that a panel shows, by the label that the data source follows."""
        found = set()
        for target in panel["targets"]:
            if target["exemplar"]:
                query = self._expression(target["expr"])
                for one in self._servers.prometheus("query_exemplars", self.span, query=query):
                    found |= {each["labels"]["trace_id"] for each in one["exemplars"]}
        return found

    def traces(self, target: JsonObject) -> list[JsonObject]:
        """What a search of the Jaeger data source finds."""
        assert target["queryType"] == "search"
        assert target["datasource"] in (
            {"type": "jaeger", "uid": "${jaeger}"},
            {"type": "jaeger", "uid": self._values["jaeger"]},
        )
        wanted = {key: self._fill(target[key]) for key in ("service", "tags")}
        tags = dict(part.split("=", 1) for part in shlex.split(wanted["tags"]))
        return self._servers.traces(self.span, wanted["service"], tags, target.get("limit", 20))

    def link(self, url: str, row: Row, cell: str = "") -> str:
        """Where a data link leads, from a cell of a row or from a series with these labels."""
        return _VARIABLE.sub(lambda match: self._of_link(match, row, cell), url)

    def _expression(self, text: str) -> str:
        return _VARIABLE.sub(self._promql, text)

    def _instant(self, target: JsonObject) -> list[JsonObject]:
        assert target["instant"]
        assert target["datasource"] == {"type": "prometheus", "uid": "${prometheus}"}
        query = self._expression(target["expr"])
        found: list[JsonObject] = self._servers.prometheus("query", self.span, query=query)["result"]
        return found

    def _initial(self, variable: JsonObject) -> Value:
        match variable["type"]:
            case "textbox":
                return str(variable["query"])
            case "query":
                return variable["current"]["value"] if variable.get("current") else ""
            case _:
                return str(variable["current"]["value"])

    def _built_in(self, name: str) -> str | None:
        known = {
            "__range": f"{self.span.length_s}s",
            "__interval": f"{STEP_S}s",
            "__from": str(round(self.span.start_s * 1000)),
            "__to": str(round(self.span.end_s * 1000)),
        }
        return known.get(name)

    def _promql(self, match: re.Match[str]) -> str:
        name = match[1] or match[4]
        if name.isdigit():
            return match[0]  # a group of label_replace
        built_in = self._built_in(name)
        if built_in is not None:
            return built_in
        variable, value = self._variables[name], self._values[name]
        if variable.get("multi") or variable.get("includeAll"):
            values = [value] if isinstance(value, str) else value
            if values == [_ALL]:
                return str(variable["allValue"])
            escaped = [_REGEX_SPECIAL.sub(r"\\\\\g<0>", one) for one in values]
            return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
        assert isinstance(value, str)
        return value.replace("\\", "\\\\").replace("'", "\\\\'")

    def _fill(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            found = self._values[match[1] or match[4]]
            assert isinstance(found, str), f"{text}: several values make no tag"
            return found

        return _VARIABLE.sub(value, text)

    def _of_link(self, match: re.Match[str], row: Row, cell: str) -> str:
        name, path, how = match[1] or match[4], match[2] or "", match[3]
        if how == "queryparam":
            return urlencode({f"var-{name}": self._values[name]}, doseq=True)
        if name == "__url_time_range":
            return f"from={self._built_in('__from')}&to={self._built_in('__to')}"
        return quote(self._of_row(name, path, row, cell), safe="")

    def _of_row(self, name: str, path: str, row: Row, cell: str) -> str:
        if name == "__value":
            return str(row[cell])
        if path.startswith(("fields.", "labels.")):
            return str(row[path.split(".", 1)[1]])
        built_in = self._built_in(name)
        value = built_in if built_in is not None else self._values[name]
        assert isinstance(value, str)
        return value


def _legend(text: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), text)


@dataclass(frozen=True)
class Servers:
    """The data sources."""

    prometheus_url: str
    jaeger_url: str

    def prometheus(self, path: str, span: Span, **parameters: str) -> Any:
        """The data that Prometheus's API answers with."""
        when = {"time": span.end_s} if path == "query" else {"start": span.start_s, "end": span.end_s}
        fields = {**parameters, **{name: str(value) for name, value in when.items()}}
        return get(f"{self.prometheus_url}/api/v1/{path}", **fields)["data"]

    def traces(self, span: Span, service: str, tags: dict[str, str], limit: int) -> list[JsonObject]:
        """Traces with a span that has all the tags."""
        fields = {
            "service": service,
            "limit": str(limit),
            "lookback": "custom",
            "start": str(round(span.start_s * 1e6)),
            "end": str(round(span.end_s * 1e6)),
            **({"tags": json.dumps(tags)} if tags else {}),
        }
        found: list[JsonObject] = get(f"{self.jaeger_url}/api/traces", **fields)["data"]
        return found
