"""Reads the egress spans in a line of OTLP/JSON. Its writer may be hostile, or another program."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import msgspec

from exporter.otlp_json import Attributes, attributes_of, plain_of, read_pairs, text_of, time_ns
from exporter.span_requests import CLIENT, Request, own_of_any

REPOSITORY = ("vcs.owner.name", "vcs.repository.name", "vcs.repository.url.full")
"""The attributes of a resource that name a job's repository."""
_REPOSITORY_MAX = 1024
"""The most characters of a repository's name."""


class EgressSpan(NamedTuple):
    """A span of one attempt, or of several."""

    started_ns: int
    """Nanoseconds since 1970 (UTC); 0 where the line has no time."""
    attributes: Attributes
    repository: str | None = None
    """The job's repository: `vcs.owner.name` and `vcs.repository.name` with a slash between, or its URL."""


# Only what is used, as in otlp_json.
class _Span(msgspec.Struct, gc=False, rename="camel"):
    kind: int = 0
    start_time_unix_nano: str = ""
    attributes: msgspec.Raw = msgspec.Raw(b"[]")
    """Decoded for egress spans only: half of all spans are processes."""


_read_request = msgspec.json.Decoder(Request[_Span]).decode


def read_line(line: bytes, names: Collection[str] | None = None) -> list[EgressSpan]:
    """Return the egress spans of this program, with the attributes in `names` or all. Raises LineError."""
    try:
        return list(_well_formed(line, names))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return list(_anything(line, names))


def _well_formed(line: bytes, names: Collection[str] | None) -> Iterator[EgressSpan]:
    """Read a well-formed line fast. Raises msgspec's errors where it isn't JSON or a type isn't OTLP's."""
    for resource, spans in _read_request(line).own(REPOSITORY):
        repository = repository_of(resource)
        for span in spans:
            if span.kind == CLIENT:
                attributes = plain_of(read_pairs(span.attributes), names)
                yield EgressSpan(time_ns(span.start_time_unix_nano), attributes, repository)


def _anything(line: bytes, names: Collection[str] | None) -> Iterator[EgressSpan]:
    """Read any line of JSON, leaving out values of wrong types. Raises LineError."""
    for resource, spans in own_of_any(line, REPOSITORY):
        repository = repository_of(resource)
        for span in spans:
            if span.get("kind") == CLIENT:
                started_ns = time_ns(span.get("startTimeUnixNano"))
                yield EgressSpan(started_ns, attributes_of(span, names), repository)


def repository_of(resource: Attributes) -> str | None:
    """Return the repository that a job's resource names, as in `EgressSpan.repository`. None: it has none."""
    owner, name, url = (text_of(resource.get(key)) for key in REPOSITORY)
    told = f"{owner}/{name}" if owner and name else name or url
    return told if told and len(told) <= _REPOSITORY_MAX else None
