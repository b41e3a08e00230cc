"""Egress spans in a line of OTLP/JSON. Who wrote it may be hostile, or another program altogether."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import msgspec

SCOPE = "ci_egress"
_CLIENT = 3
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_TIME = re.compile(r"[0-9]{1,20}")
_BEGINNING = b'{"resourceSpans"'

Attributes = dict[str, Any]
"""Values are str, int, bool, float or a list of them."""


class EgressSpan(NamedTuple):
    """One act, or several."""

    started_ns: int
    """Since 1970, in UTC; 0 where the line doesn't tell."""
    attributes: Attributes


class LineError(ValueError):
    """It is no OTLP/JSON request of spans."""


def text_of(value: object) -> str | None:
    """An attribute's value that is text, and not empty; None for any other."""
    return value if isinstance(value, str) and value else None


def number_of(value: object) -> int | None:
    """An attribute's value that is a number from 0 on; None for any other."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


# Only what is used, so that the rest is skipped, not built; gc=False, since JSON has no circles.
class _Value(msgspec.Struct, gc=False, rename="camel"):
    string_value: str | None = None
    int_value: int | str | None = None
    bool_value: bool | None = None
    double_value: float | None = None
    array_value: _Values | None = None


class _Values(msgspec.Struct, gc=False):
    values: list[_Value]


class _Pair(msgspec.Struct, gc=False):
    key: str
    value: _Value


class _Span(msgspec.Struct, gc=False, rename="camel"):
    kind: int = 0
    start_time_unix_nano: str = ""
    attributes: msgspec.Raw = msgspec.Raw(b"[]")
    """Read of the spans that are wanted only: half of all are processes."""


class _Scope(msgspec.Struct, gc=False, frozen=True):
    name: str = ""


class _ScopeSpans(msgspec.Struct, gc=False):
    scope: _Scope = _Scope()
    spans: list[_Span] = []


class _ResourceSpans(msgspec.Struct, gc=False, rename="camel"):
    scope_spans: list[_ScopeSpans] = []


class _Request(msgspec.Struct, gc=False, rename="camel"):
    resource_spans: list[_ResourceSpans]


_read_request = msgspec.json.Decoder(_Request).decode
_read_pairs = msgspec.json.Decoder(list[_Pair]).decode


def read_line(line: bytes, names: Collection[str] | None = None) -> list[EgressSpan]:
    """The egress spans of this program, with the attributes in `names` or with all. Raises LineError."""
    try:
        return list(_well_formed(line, names))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return list(_anything(line, names))


def is_unfinished(line: bytes) -> bool:
    """Whether it is the beginning of such a line: its writer is at work, or was ended."""
    if not _BEGINNING.startswith(line[: len(_BEGINNING)]):
        return False
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return True
    return False


def _well_formed(line: bytes, names: Collection[str] | None) -> Iterator[EgressSpan]:
    """Raises what msgspec does where a type is another one than OTLP says, or it isn't JSON."""
    for group in _read_request(line).resource_spans:
        for scoped in group.scope_spans:
            if scoped.scope.name != SCOPE:  # a collector's file holds other producers' spans, too
                continue
            for span in scoped.spans:
                if span.kind == _CLIENT:
                    pairs = _read_pairs(span.attributes)
                    attributes = {
                        pair.key: value
                        for pair in pairs
                        if (names is None or pair.key in names) and (value := _plain(pair.value)) is not None
                    }
                    yield EgressSpan(_time_ns(span.start_time_unix_nano), attributes)


def _plain(value: _Value) -> Any:
    """As Python has it; None for what is no value."""
    if value.string_value is not None:
        return value.string_value
    if value.bool_value is not None:
        return value.bool_value
    if value.double_value is not None:
        return value.double_value
    if value.int_value is not None:
        return _integer(value.int_value)
    if value.array_value is not None:
        return [plain for each in value.array_value.values if (plain := _plain(each)) is not None]
    return None


def _integer(value: int | str) -> int | None:
    if isinstance(value, int):
        return value
    return int(value) if _INTEGER.fullmatch(value) else None


def _time_ns(text: object) -> int:
    return int(text) if isinstance(text, str) and _TIME.fullmatch(text) else 0


def _anything(line: bytes, names: Collection[str] | None) -> Iterator[EgressSpan]:
    """The same of a line with wrong types in places, which are left out. Five times as slow."""
    try:
        request = json.loads(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict) or not isinstance(request.get("resourceSpans"), list):
        raise LineError
    for group in request["resourceSpans"]:
        for scoped in filter(_is_ours, _members(group, "scopeSpans")):
            for span in _members(scoped, "spans"):
                if isinstance(span, dict) and span.get("kind") == _CLIENT:
                    started_ns = _time_ns(span.get("startTimeUnixNano"))
                    yield EgressSpan(started_ns, _attributes(span, names))


def _is_ours(scoped: object) -> bool:
    scope = scoped.get("scope") if isinstance(scoped, dict) else None
    return isinstance(scope, dict) and scope.get("name") == SCOPE


def _members(value: object, name: str) -> list[Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _attributes(span: object, names: Collection[str] | None) -> Attributes:
    pairs = (
        (pair.get("key"), _any_value(pair.get("value")))
        for pair in _members(span, "attributes")
        if isinstance(pair, dict)
    )
    return {
        key: value
        for key, value in pairs
        if isinstance(key, str) and value is not None and (names is None or key in names)
    }


def _any_value(value: object) -> Any:
    match value:
        case {"stringValue": str(plain)} | {"boolValue": bool(plain)} | {"doubleValue": float(plain)}:
            return plain
        case {"intValue": int(plain) | str(plain)} if not isinstance(plain, bool):
            return _integer(plain)
        case {"arrayValue": {"values": list(values)}}:
            return [plain for each in values if (plain := _any_value(each)) is not None]
        case _:
            return None
