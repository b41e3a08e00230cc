"""Read this program's spans in a line of OTLP/JSON. Its writer may be hostile, or another program.

There are two readers: of egress spans alone, with few fields (a baseline is learnt from gigabytes of lines),
and of all spans with all their fields (for reports). Each decodes a well-formed line to just the fields that
it wants; see json.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import partial
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from .json import (
    SCOPE,
    Attributes,
    Scope,
    attributes_of,
    groups_of,
    is_ours,
    members,
    plain_of,
    read_either,
    read_pairs,
    read_resource,
    text_of,
    time_ns,
)

REPOSITORY = ("vcs.owner.name", "vcs.repository.name", "vcs.repository.url.full")
"""The attributes of a resource that name a job's repository."""
_REPOSITORY_MAX = 1024
"""The most characters of a repository's name."""
_CLIENT = 3
"""OTLP's kind of an attempt's span."""
_TRACE_ID, _SPAN_ID = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{16}")
_TIME_MAX_NS = 1 << 63
"""Nanoseconds since 1970: a time in the year 2262."""

SpanT = TypeVar("SpanT")
"""The type that a span is decoded to: it has the fields that a reader wants."""


class EgressSpan(NamedTuple):
    """A span of one attempt, or of several."""

    started_ns: int
    """Nanoseconds since 1970 (UTC); 0 where the line has no time."""
    attributes: Attributes
    repository: str | None = None
    """The job's repository: `vcs.owner.name` and `vcs.repository.name` with a slash between, or its URL."""


class WholeSpan(NamedTuple):
    """A span of a job, a process or an attempt."""

    trace_id: str
    """32 hexadecimal digits; empty where the line has no valid id."""
    span_id: str
    """16 hexadecimal digits; empty where the line has no valid id."""
    parent_id: str
    """16 hexadecimal digits; empty for a root, or where the line has no valid id."""
    name: str
    is_egress: bool
    """Whether it is the span of an attempt."""
    started_ns: int
    """Nanoseconds since 1970 (UTC); 0 where the line has no time."""
    ended_ns: int
    """Nanoseconds since 1970 (UTC), never before `started_ns`."""
    attributes: Attributes
    resource: Attributes


def read_egress_spans(line: bytes, names: Collection[str] | None = None) -> list[EgressSpan]:
    """Return the egress spans of this program, with the attributes in `names` or all. Raises LineError."""
    return read_either(line, partial(egress_in_request, names=names), partial(egress_in_any, names=names))


def read_whole_spans(line: bytes, names: Collection[str]) -> list[WholeSpan]:
    """Return the spans of this program, with the attributes in `names`, their own and their resources'.

    Raises LineError.
    """
    return read_either(line, partial(whole_in_request, names=names), partial(whole_in_any, names=names))


def repository_of(resource: Attributes) -> str | None:
    """Return the repository that a job's resource names, as in `EgressSpan.repository`, or None."""
    owner, name, url = (text_of(resource.get(key)) for key in REPOSITORY)
    repository = f"{owner}/{name}" if owner and name else name or url
    return repository if repository and len(repository) <= _REPOSITORY_MAX else None


# Only the fields that are used, as in json.py.
class _ScopeSpans(msgspec.Struct, Generic[SpanT], gc=False):
    scope: Scope = Scope()
    spans: list[SpanT] = []


class _ResourceSpans(msgspec.Struct, Generic[SpanT], gc=False, rename="camel"):
    resource: msgspec.Raw = msgspec.Raw(b"{}")
    scope_spans: list[_ScopeSpans[SpanT]] = []


class _Request(msgspec.Struct, Generic[SpanT], gc=False, rename="camel"):
    """The type that a line is decoded to; msgspec raises an error where a type isn't OTLP's."""

    resource_spans: list[_ResourceSpans[SpanT]]

    def own(self, names: Collection[str]) -> Iterator[tuple[Attributes, Iterator[SpanT]]]:
        """Yield, resource by resource, its attributes in `names` and its spans of this program."""
        for group in self.resource_spans:
            ours = [scoped.spans for scoped in group.scope_spans if scoped.scope.name == SCOPE]
            if ours:  # a collector's file holds other producers' spans, too
                resource = plain_of(read_resource(group.resource).attributes, names)
                yield resource, chain.from_iterable(ours)


def _own_of_any(line: bytes, names: Collection[str]) -> Iterator[tuple[Attributes, Iterator[dict[str, Any]]]]:
    """Do the same as `_Request.own` for any JSON, leaving out values of wrong types. Five times as slow.

    Raises LineError if `line` is no request of spans.
    """
    for group in groups_of(line, "resourceSpans"):
        resource = group.get("resource") if isinstance(group, dict) else None
        ours = (members(scoped, "spans") for scoped in filter(is_ours, members(group, "scopeSpans")))
        spans = (span for span in chain.from_iterable(ours) if isinstance(span, dict))
        yield attributes_of(resource, names), spans


class _EgressFields(msgspec.Struct, gc=False, rename="camel"):
    kind: int = 0
    start_time_unix_nano: str = ""
    attributes: msgspec.Raw = msgspec.Raw(b"[]")
    """Decoded for egress spans only: half of all spans are processes."""


_read_egress_request = msgspec.json.Decoder(_Request[_EgressFields]).decode


def egress_in_request(line: bytes, names: Collection[str] | None) -> Iterator[EgressSpan]:
    """Read a well-formed line fast. Raises msgspec's errors where it isn't JSON or a type isn't OTLP's."""
    for resource, spans in _read_egress_request(line).own(REPOSITORY):
        repository = repository_of(resource)
        for span in spans:
            if span.kind == _CLIENT:
                attributes = plain_of(read_pairs(span.attributes), names)
                yield EgressSpan(time_ns(span.start_time_unix_nano), attributes, repository)


def egress_in_any(line: bytes, names: Collection[str] | None) -> Iterator[EgressSpan]:
    """Read any line of JSON, leaving out values of wrong types. Raises LineError."""
    for resource, spans in _own_of_any(line, REPOSITORY):
        repository = repository_of(resource)
        for span in spans:
            if span.get("kind") == _CLIENT:
                started_ns = time_ns(span.get("startTimeUnixNano"))
                yield EgressSpan(started_ns, attributes_of(span, names), repository)


class _WholeFields(msgspec.Struct, gc=False, rename="camel"):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    kind: int = 0
    start_time_unix_nano: str = ""
    end_time_unix_nano: str = ""
    attributes: msgspec.Raw = msgspec.Raw(b"[]")


_read_whole_request = msgspec.json.Decoder(_Request[_WholeFields]).decode


def whole_in_request(line: bytes, names: Collection[str]) -> Iterator[WholeSpan]:
    """Read a well-formed line fast. Raises msgspec's errors where it isn't JSON or a type isn't OTLP's."""
    for resource, spans in _read_whole_request(line).own(names):
        for span in spans:
            attributes = plain_of(read_pairs(span.attributes), names)
            ids = (span.trace_id, span.span_id, span.parent_span_id)
            times = (span.start_time_unix_nano, span.end_time_unix_nano)
            yield _whole(ids, span.name, span.kind, times, attributes, resource)


def whole_in_any(line: bytes, names: Collection[str]) -> Iterator[WholeSpan]:
    """Read any line of JSON, leaving out values of wrong types. Raises LineError."""
    for resource, spans in _own_of_any(line, names):
        for span in spans:
            get = span.get
            ids = (get("traceId"), get("spanId"), get("parentSpanId"))
            times = (get("startTimeUnixNano"), get("endTimeUnixNano"))
            yield _whole(ids, get("name"), get("kind"), times, attributes_of(span, names), resource)


def _whole(  # noqa: PLR0913, PLR0917 - what a span has
    ids: tuple[Any, Any, Any],
    name: Any,
    kind: Any,
    times: tuple[Any, Any],
    attributes: Attributes,
    resource: Attributes,
) -> WholeSpan:
    trace_id, span_id, parent_id = ids
    started_ns, ended_ns = map(_time_ns, times)
    return WholeSpan(
        _id(trace_id, _TRACE_ID),
        _id(span_id, _SPAN_ID),
        _id(parent_id, _SPAN_ID),
        name if isinstance(name, str) else "",
        kind == _CLIENT and not isinstance(kind, bool),
        started_ns,
        max(started_ns, ended_ns),
        attributes,
        resource,
    )


def _id(value: Any, form: re.Pattern[str]) -> str:
    """Return an id in lower case (a collector may write capitals); empty if it isn't a valid one."""
    lower = value.lower() if isinstance(value, str) and len(value) <= len("0" * 32) else ""
    return lower if form.fullmatch(lower) and lower.strip("0") else ""


def _time_ns(text: Any) -> int:
    found = time_ns(text)
    return found if found < _TIME_MAX_NS else 0
