"""Reads all spans of this program in a line of OTLP/JSON, with fields that `span_lines` skips."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import msgspec

from exporter.otlp_json import Attributes, attributes_of, plain_of, read_pairs, time_ns
from exporter.span_requests import CLIENT, Request, own_of_any

_TRACE_ID, _SPAN_ID = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{16}")
_TIME_MAX_NS = 1 << 63
"""Nanoseconds since 1970: a time in the year 2262."""


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


# Only what is used, as in otlp_json.
class _Span(msgspec.Struct, gc=False, rename="camel"):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    kind: int = 0
    start_time_unix_nano: str = ""
    end_time_unix_nano: str = ""
    attributes: msgspec.Raw = msgspec.Raw(b"[]")


_read_request = msgspec.json.Decoder(Request[_Span]).decode


def read_whole_line(line: bytes, names: Collection[str]) -> list[WholeSpan]:
    """Return the spans of this program, with their and their resources' attributes in `names`.

    Raises LineError.
    """
    try:
        return list(_well_formed(line, names))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return list(_anything(line, names))


def _well_formed(line: bytes, names: Collection[str]) -> Iterator[WholeSpan]:
    """Read a well-formed line fast. Raises msgspec's errors where it isn't JSON or a type isn't OTLP's."""
    for resource, spans in _read_request(line).own(names):
        for span in spans:
            attributes = plain_of(read_pairs(span.attributes), names)
            ids = (span.trace_id, span.span_id, span.parent_span_id)
            times = (span.start_time_unix_nano, span.end_time_unix_nano)
            yield _span(ids, span.name, span.kind, times, attributes, resource)


def _anything(line: bytes, names: Collection[str]) -> Iterator[WholeSpan]:
    """Read any line of JSON, leaving out values of wrong types. Raises LineError."""
    for resource, spans in own_of_any(line, names):
        for span in spans:
            get = span.get
            ids = (get("traceId"), get("spanId"), get("parentSpanId"))
            times = (get("startTimeUnixNano"), get("endTimeUnixNano"))
            yield _span(ids, get("name"), get("kind"), times, attributes_of(span, names), resource)


def _span(  # noqa: PLR0913, PLR0917 - what a span has
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
        kind == CLIENT and not isinstance(kind, bool),
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
