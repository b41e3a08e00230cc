"""Types and functions for reading OTLP/JSON. Its writer may be hostile, or another program.

A line is read in one of two ways. The fast one builds only the parts that are asked for, and fails at any
wrong type; the slow one takes whatever JSON there is, and leaves out the parts that have a wrong type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

import msgspec

SCOPE = "ci_egress"
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_TIME = re.compile(r"[0-9]{1,20}")

Attributes = dict[str, Any]
"""Attributes by name; a value is a str, int, bool, float or a list of them."""


T = TypeVar("T")


class LineError(ValueError):
    """A line is no OTLP/JSON request of the signal that is being read."""


def read_either(
    line: bytes, in_request: Callable[[bytes], Iterable[T]], in_any: Callable[[bytes], Iterable[T]]
) -> list[T]:
    """Return the items that `in_request` reads in a well-formed line, or `in_any` in any other line.

    `in_request` raises msgspec's errors where the line isn't JSON or a type isn't OTLP's; `in_any` leaves out
    values of a wrong type, and raises LineError.
    """
    try:
        return list(in_request(line))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return list(in_any(line))


def text_of(value: object) -> str | None:
    """Return an attribute's value if it is a text and not empty, else None."""
    return value if isinstance(value, str) and value else None


def number_of(value: object) -> int | None:
    """Return an attribute's value if it is an integer from 0 on, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def texts_of(value: object) -> tuple[str, ...]:
    """Return an attribute's value if it is a list of texts, else an empty tuple."""
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return ()
    return tuple(value)


# These types have only the fields that are used: others are skipped, not built. gc=False, since JSON has no
# circles.
class Value(msgspec.Struct, gc=False, rename="camel"):
    """An attribute's value: one of the fields is set."""

    string_value: str | None = None
    int_value: int | str | None = None
    bool_value: bool | None = None
    double_value: float | None = None
    array_value: Values | None = None


class Values(msgspec.Struct, gc=False):
    """A list of values."""

    values: list[Value]


class Pair(msgspec.Struct, gc=False):
    """An attribute: its name and its value."""

    key: str
    value: Value


class Scope(msgspec.Struct, gc=False, frozen=True):
    """The instrumentation scope of a group of spans or metrics."""

    name: str = ""


class Resource(msgspec.Struct, gc=False):
    """The resource of a group of spans or metrics."""

    attributes: list[Pair] = []


read_resource = msgspec.json.Decoder(Resource).decode
read_pairs = msgspec.json.Decoder(list[Pair]).decode


def plain_of(pairs: list[Pair], names: Collection[str] | None = None) -> Attributes:
    """Convert attributes, those in `names` or all, to Python values by name."""
    return {
        pair.key: value
        for pair in pairs
        if (names is None or pair.key in names) and (value := _plain(pair.value)) is not None
    }


def _plain(value: Value) -> Any:
    """Convert a value to Python's. None: it holds no value."""
    if value.string_value is not None:
        return value.string_value
    if value.bool_value is not None:
        return value.bool_value
    if value.double_value is not None:
        return value.double_value
    if value.int_value is not None:
        return integer(value.int_value)
    if value.array_value is not None:
        return [plain for each in value.array_value.values if (plain := _plain(each)) is not None]
    return None


def integer(value: int | str) -> int | None:
    """Parse a 64-bit integer, which OTLP/JSON writes as text. None: it is no number."""
    if isinstance(value, int):
        return value
    return int(value) if _INTEGER.fullmatch(value) else None


def time_ns(text: object) -> int:
    """Parse a time, in nanoseconds since 1970 (UTC). Returns 0 if `text` is no time."""
    return int(text) if isinstance(text, str) and _TIME.fullmatch(text) else 0


def groups_of(line: bytes, member: str) -> list[Any]:
    """Return the list called `member` in whatever JSON `line` is. Raises LineError if it has none."""
    try:
        request = json.loads(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict) or not isinstance(request.get(member), list):
        raise LineError
    found: list[Any] = request[member]
    return found


def is_ours(scoped: object) -> bool:
    """Whether a group of spans or metrics is of this program's scope."""
    scope = scoped.get("scope") if isinstance(scoped, dict) else None
    return isinstance(scope, dict) and scope.get("name") == SCOPE


def members(value: object, name: str) -> list[Any]:
    """Return the member `name` of a JSON object if it is a list, else an empty list."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def attributes_of(owner: object, names: Collection[str] | None = None) -> Attributes:
    """Convert the attributes of a span, data point or resource as `plain_of` does; `owner` is any JSON."""
    pairs = (
        (pair.get("key"), _any_value(pair.get("value")))
        for pair in members(owner, "attributes")
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
            return integer(plain)
        case {"arrayValue": {"values": list(values)}}:
            return [plain for each in values if (plain := _any_value(each)) is not None]
        case _:
            return None
