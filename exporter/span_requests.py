"""Requests of OTLP/JSON spans, of which readers want more or less. Who wrote them may be hostile.

Lines with what only this program writes are decoded to what a reader wants of each span; see `otlp_json`.
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
"""The kind of an act's span."""

SpanT = TypeVar("SpanT")
"""What is read of a span."""


# Only what is used, as in otlp_json.
class _ScopeSpans(msgspec.Struct, Generic[SpanT], gc=False):
    scope: Scope = Scope()
    spans: list[SpanT] = []


class _ResourceSpans(msgspec.Struct, Generic[SpanT], gc=False, rename="camel"):
    resource: msgspec.Raw = msgspec.Raw(b"{}")
    scope_spans: list[_ScopeSpans[SpanT]] = []


class Request(msgspec.Struct, Generic[SpanT], gc=False, rename="camel"):
    """A line, to be decoded to; msgspec raises where a type is another one than OTLP says."""

    resource_spans: list[_ResourceSpans[SpanT]]

    def own(self, names: Collection[str]) -> Iterator[tuple[Attributes, Iterator[SpanT]]]:
        """The spans of this program by their resource, of which the attributes in `names` are read."""
        for group in self.resource_spans:
            ours = [scoped.spans for scoped in group.scope_spans if scoped.scope.name == SCOPE]
            if ours:  # a collector's file holds other producers' spans, too
                resource = plain_of(read_resource(group.resource).attributes, names)
                yield resource, chain.from_iterable(ours)


def own_of_any(line: bytes, names: Collection[str]) -> Iterator[tuple[Attributes, Iterator[dict[str, Any]]]]:
    """As `Request.own`, of a line with wrong types in places, which are left out. Five times as slow.

    Raises LineError where it is no such line.
    """
    for group in groups_of(line, "resourceSpans"):
        resource = group.get("resource") if isinstance(group, dict) else None
        ours = (members(scoped, "spans") for scoped in filter(is_ours, members(group, "scopeSpans")))
        spans = (span for span in chain.from_iterable(ours) if isinstance(span, dict))
        yield attributes_of(resource, names), spans
