"""Read exporters' accounts in a line of OTLP/JSON metrics. Its writer may be hostile, or another program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from .json import (
    SCOPE,
    Attributes,
    Pair,
    Resource,
    Scope,
    attributes_of,
    groups_of,
    integer,
    is_ours,
    members,
    plain_of,
    read_either,
    text_of,
    time_ns,
)

_INSTANCE = "service.instance.id"


class Point(NamedTuple):
    """The value of a metric that one instance of this program reported at a moment."""

    instance: str
    """The instance's `service.instance.id`."""
    metric: str
    """The metric's name."""
    at_ns: int
    """Nanoseconds since 1970 (UTC); 0 where the line has no time."""
    attributes: Attributes
    value: int


# Only the fields that are used, as in json.py. `sum` and `gauge` stay raw: most metrics aren't read.
class _Point(msgspec.Struct, gc=False, rename="camel"):
    attributes: list[Pair] = []
    time_unix_nano: str = ""
    as_int: int | str | None = None


class _Points(msgspec.Struct, gc=False, rename="camel"):
    data_points: list[_Point] = []


class _Metric(msgspec.Struct, gc=False):
    name: str = ""
    sum: msgspec.Raw = msgspec.Raw(b"{}")
    gauge: msgspec.Raw = msgspec.Raw(b"{}")


class _ScopeMetrics(msgspec.Struct, gc=False):
    scope: Scope = Scope()
    metrics: list[_Metric] = []


class _ResourceMetrics(msgspec.Struct, gc=False, rename="camel"):
    resource: Resource = msgspec.field(default_factory=Resource)
    scope_metrics: list[_ScopeMetrics] = []


class _Request(msgspec.Struct, gc=False, rename="camel"):
    resource_metrics: list[_ResourceMetrics]


_read_request = msgspec.json.Decoder(_Request).decode
_read_data_points = msgspec.json.Decoder(_Points).decode


def read_points(line: bytes, kinds: Mapping[str, str]) -> list[Point]:
    """Return the points of metrics; `kinds` has their names, each with `sum` or `gauge`.

    Raises LineError.
    """
    return read_either(line, partial(points_in_request, kinds=kinds), partial(points_in_any, kinds=kinds))


def points_in_request(line: bytes, kinds: Mapping[str, str]) -> Iterator[Point]:
    """Read a well-formed line fast. Raises msgspec's errors where it isn't JSON or a type isn't OTLP's."""
    for group in _read_request(line).resource_metrics:
        instance = plain_of(group.resource.attributes, (_INSTANCE,)).get(_INSTANCE)
        ours = [scoped.metrics for scoped in group.scope_metrics if scoped.scope.name == SCOPE]
        for metric in chain.from_iterable(ours):
            kind = kinds.get(metric.name)
            if kind is not None:
                points = _read_data_points(getattr(metric, kind)).data_points
                values = ((plain_of(each.attributes), each.time_unix_nano, each.as_int) for each in points)
                yield from _points(instance, metric.name, values)


def points_in_any(line: bytes, kinds: Mapping[str, str]) -> Iterator[Point]:
    """Read any line of JSON, leaving out values of wrong types. Raises LineError."""
    for group in groups_of(line, "resourceMetrics"):
        resource = group.get("resource") if isinstance(group, dict) else None
        instance = attributes_of(resource, (_INSTANCE,)).get(_INSTANCE)
        for scoped in filter(is_ours, members(group, "scopeMetrics")):
            for metric in members(scoped, "metrics"):
                name = metric.get("name") if isinstance(metric, dict) else None
                if isinstance(name, str) and name in kinds:
                    points = members(metric.get(kinds[name]), "dataPoints")
                    values = (
                        (attributes_of(each), each.get("timeUnixNano"), each.get("asInt"))
                        for each in points
                        if isinstance(each, dict)
                    )
                    yield from _points(instance, name, values)


def _points(instance: Any, metric: str, values: Iterator[tuple[Attributes, Any, Any]]) -> Iterator[Point]:
    named = text_of(instance)
    for attributes, at, as_int in values:
        is_number = isinstance(as_int, int | str) and not isinstance(as_int, bool)
        value = integer(as_int) if is_number else None
        if named is not None and value is not None and value >= 0:
            yield Point(named, metric, time_ns(at), attributes, value)
