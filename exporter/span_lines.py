"""Egress spans in a line of OTLP/JSON. Who wrote it may be hostile, or another program altogether."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import msgspec

from exporter.otlp_json import Attributes, attributes_of, plain_of, read_pairs, text_of, time_ns
from exporter.span_requests import CLIENT, Request, own_of_any

REPOSITORY = ("vcs.owner.name", "vcs.repository.name", "vcs.repository.url.full")
"""Attributes of a resource."""
_REPOSITORY_MAX = 1024
"""Characters."""


class EgressSpan(NamedTuple):
    """One act, or several."""

    started_ns: int
    """Since 1970, in UTC; 0 where the line doesn't tell."""
    attributes: Attributes
    repository: str | None = None
    """Whose job it is: `vcs.owner.name` and `vcs.repository.name` with a slash between, or its URL."""


# Only what is used, as in otlp_json.
class _Span(msgspec.Struct, gc=False, rename="camel"):
    kind: int = 0
    start_time_unix_nano: str = ""
    attributes: msgspec.Raw = msgspec.Raw(b"[]")
    """Read of the spans that are wanted only: half of all are processes."""


_read_request = msgspec.json.Decoder(Request[_Span]).decode


def read_line(line: bytes, names: Collection[str] | None = None) -> list[EgressSpan]:
    """The egress spans of this program, with the attributes in `names` or with all. Raises LineError."""
    try:
        return list(_well_formed(line, names))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return list(_anything(line, names))


def _well_formed(line: bytes, names: Collection[str] | None) -> Iterator[EgressSpan]:
    """Raises what msgspec does where a type is another one than OTLP says, or it isn't JSON."""
    for resource, spans in _read_request(line).own(REPOSITORY):
        repository = repository_of(resource)
        for span in spans:
            if span.kind == CLIENT:
                attributes = plain_of(read_pairs(span.attributes), names)
                yield EgressSpan(time_ns(span.start_time_unix_nano), attributes, repository)


def _anything(line: bytes, names: Collection[str] | None) -> Iterator[EgressSpan]:
    """The same of a line with wrong types in places, which are left out."""
    for resource, spans in own_of_any(line, REPOSITORY):
        repository = repository_of(resource)
        for span in spans:
            if span.get("kind") == CLIENT:
                started_ns = time_ns(span.get("startTimeUnixNano"))
                yield EgressSpan(started_ns, attributes_of(span, names), repository)


def repository_of(resource: Attributes) -> str | None:
    """Whose job a resource with these attributes is of: see `EgressSpan.repository`."""
    owner, name, url = (text_of(resource.get(key)) for key in REPOSITORY)
    told = f"{owner}/{name}" if owner and name else name or url
    return told if told and len(told) <= _REPOSITORY_MAX else None
