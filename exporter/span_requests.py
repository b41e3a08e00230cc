"""Reads requests of OTLP/JSON spans for readers that want different fields. Their writer may be hostile.

A line that is well-formed is decoded to just the fields that a reader wants of each span; see `otlp_json`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain
from typing import Any, Generic, TypeVar

import msgspec

from exporter.otlp_json import (
    SCOPE,
    Attributes,
    Scope,
    attributes_of,
    groups_of,
    is_ours,
    members,
    plain_of,
    read_resource,
)

CLIENT = 3
"""OTLP's kind of an attempt's span."""

SpanT = TypeVar("SpanT")
"""The type that a span is decoded to: it has the fields that a reader wants."""


# Only what is used, as in otlp_json.
class _ScopeSpans(msgspec.Struct, Generic[SpanT], gc=False):
    scope: Scope = Scope()
    spans: list[SpanT] = []


class _ResourceSpans(msgspec.Struct, Generic[SpanT], gc=False, rename="camel"):
    resource: msgspec.Raw = msgspec.Raw(b"{}")
    scope_spans: list[_ScopeSpans[SpanT]] = []


class Request(msgspec.Struct, Generic[SpanT], gc=False, rename="camel"):
    """The type that a line is decoded to; msgspec raises an error where a type isn't OTLP's."""

    resource_spans: list[_ResourceSpans[SpanT]]

    def own(self, names: Collection[str]) -> Iterator[tuple[Attributes, Iterator[SpanT]]]:
        """Yield, resource by resource, its attributes in `names` and its spans of this program."""
        for group in self.resource_spans:
            ours = [scoped.spans for scoped in group.scope_spans if scoped.scope.name == SCOPE]
            if ours:  # a collector's file holds other producers' spans, too
                resource = plain_of(read_resource(group.resource).attributes, names)
                yield resource, chain.from_iterable(ours)


def own_of_any(line: bytes, names: Collection[str]) -> Iterator[tuple[Attributes, Iterator[dict[str, Any]]]]:
    """Do the same as `Request.own` for any JSON, leaving out values of wrong types. Five times as slow.

    Raises LineError where it is no request of spans.
    """
    for group in groups_of(line, "resourceSpans"):
        resource = group.get("resource") if isinstance(group, dict) else None
        ours = (members(scoped, "spans") for scoped in filter(is_ours, members(group, "scopeSpans")))
        spans = (span for span in chain.from_iterable(ours) if isinstance(span, dict))
        yield attributes_of(resource, names), spans
