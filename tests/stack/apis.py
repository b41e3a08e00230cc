"""What the servers' own interfaces tell: Prometheus's series, Alertmanager's alerts, Jaeger's traces."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

import urllib3

JsonObject = dict[str, Any]
Labels = dict[str, str]
ANSWER_WITHIN_S = 60.0


def get(url: str, **parameters: str) -> Any:
    """What a server answers, which must be a success."""
    answer = urllib3.request("GET", url, fields=parameters, retries=False, timeout=ANSWER_WITHIN_S)
    assert answer.status == 200, f"{url}: {answer.status} {answer.data!r}"
    return answer.json()


def seconds(moment: str) -> float:
    """A moment in RFC 3339 as seconds since 1970; of what is finer than a microsecond, nothing is left."""
    whole, _, rest = moment.removesuffix("Z").partition(".")
    fraction = rest.partition("+")[0]
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")


class Destination(NamedTuple):
    """Where connections went to, by the labels that say it."""

    server_address: str
    server_port: str
    network_transport: str

    @classmethod
    def of(cls, labels: Labels) -> Self:
        """From labels that say more."""
        return cls(*(labels[name] for name in cls._fields))


@dataclass(frozen=True)
class Series:
    """One series, and its samples as they were stored."""

    labels: Labels
    samples: list[tuple[float, float]]
    """Seconds since 1970, and the value."""

    @property
    def moments_s(self) -> list[float]:
        """When each of them was taken."""
        return [at_s for at_s, _ in self.samples]


@dataclass(frozen=True)
class Alert:
    """One alert that Alertmanager knows."""

    labels: Labels
    annotations: Labels = field(repr=False)
    started_s: float
    """By the evaluation that fired it."""
    updated_s: float
    """When Alertmanager was last told of it."""
    state: str
    """`active`, `suppressed` or `unprocessed`"""


@dataclass(frozen=True)
class Prometheus:
    """Its HTTP interface."""

    url: str

    def now(self, query: str) -> dict[frozenset[tuple[str, str]], float]:
        """Values of an instant query, by their labels."""
        result = self._query(query)
        return {frozenset(one["metric"].items()): float(one["value"][1]) for one in result}

    def stored(self, selector: str, over_s: int = 3600) -> list[Series]:
        """Samples of the last seconds, just as they were stored."""
        result = self._query(f"{selector}[{over_s}s]")
        return [
            Series(one["metric"], [(float(at_s), float(value)) for at_s, value in one["values"]])
            for one in result
        ]

    def _query(self, query: str) -> list[JsonObject]:
        result: list[JsonObject] = get(f"{self.url}/api/v1/query", query=query)["data"]["result"]
        return result


@dataclass(frozen=True)
class Alertmanager:
    """Its HTTP interface."""

    url: str

    def alerts(self, *matchers: str) -> list[Alert]:
        """Those that are not over, of the labels that matchers such as `team="app"` want."""
        query = urlencode([("filter", one) for one in matchers])
        found: list[JsonObject] = get(f"{self.url}/api/v2/alerts?{query}")
        return [
            Alert(
                one["labels"],
                one["annotations"],
                seconds(one["startsAt"]),
                seconds(one["updatedAt"]),
                one["status"]["state"],
            )
            for one in found
        ]


@dataclass(frozen=True)
class JaegerSpan:
    """A span as Jaeger gives it back; lists come as JSON."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for a root."""
    tags: JsonObject = field(repr=False)
    process: JsonObject = field(repr=False)
    """Attributes of the resource."""

    def listed(self, attribute: str) -> list[str]:
        """The value of an attribute that is a list."""
        value: list[str] = json.loads(self.tags[attribute])
        return value


@dataclass(frozen=True)
class JaegerTrace:
    """One trace."""

    spans: list[JaegerSpan]

    def above(self, span: JaegerSpan) -> list[JaegerSpan]:
        """Every span above this one, the job first."""
        by_id = {one.span_id: one for one in self.spans}
        chain: list[JaegerSpan] = []
        while span.parent_id in by_id:
            span = by_id[span.parent_id]
            chain.insert(0, span)
        return chain

    def having(self, **tags: object) -> list[JaegerSpan]:
        """Spans with these attributes, `server_address` meaning `server.address`."""
        wanted = {name.replace("_", "."): value for name, value in tags.items()}
        return [span for span in self.spans if wanted.items() <= span.tags.items()]


@dataclass(frozen=True)
class Jaeger:
    """Its query interface."""

    url: str

    def find(self, **tags: str) -> list[JaegerTrace]:
        """Traces with a span that has these attributes, `server_address` meaning `server.address`."""
        wanted = json.dumps({name.replace("_", "."): value for name, value in tags.items()})
        answer = get(f"{self.url}/api/traces", service="ci-egress", tags=wanted, limit="1000", lookback="1h")
        return [_trace(one) for one in answer["data"]]

    def trace(self, trace_id: str) -> JaegerTrace | None:
        """The trace with this id; None while there is none."""
        url = f"{self.url}/api/traces/{trace_id}"
        answer = urllib3.request("GET", url, retries=False, timeout=ANSWER_WITHIN_S)
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        assert answer.status == HTTPStatus.OK, answer.data
        (found,) = answer.json()["data"]
        return _trace(found)


def _trace(raw: JsonObject) -> JaegerTrace:
    processes = {name: _tags(process) for name, process in raw["processes"].items()}
    return JaegerTrace([_span(span, processes) for span in raw["spans"]])


def _span(raw: JsonObject, processes: dict[str, JsonObject]) -> JaegerSpan:
    parents = [one["spanID"] for one in raw["references"] if one["refType"] == "CHILD_OF"]
    return JaegerSpan(
        raw["operationName"],
        raw["traceID"],
        raw["spanID"],
        parents[0] if parents else "",
        _tags(raw),
        processes[raw["processID"]],
    )


def _tags(raw: JsonObject) -> JsonObject:
    return {tag["key"]: tag["value"] for tag in raw.get("tags", ())}
