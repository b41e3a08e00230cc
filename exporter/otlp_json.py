"""OTLP/JSON as it is read back: types, values, attributes. Who wrote it may be hostile, or another program.

What is read comes in two ways: the fast one builds only what is asked for, and refuses a wrong type anywhere;
the other one takes whatever JSON there is, and leaves out what has a wrong type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

import msgspec

SCOPE = "ci_egress"
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_TIME = re.compile(r"[0-9]{1,20}")

Attributes = dict[str, Any]
"""Values are str, int, bool, float or a list of them."""


class LineError(ValueError):
    """It is no OTLP/JSON request of the signal that is read."""


def text_of(value: object) -> str | None:
    """An attribute's value that is text, and not empty; None for any other."""
    return value if isinstance(value, str) and value else None


def number_of(value: object) -> int | None:
    """An attribute's value that is a number from 0 on; None for any other."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def texts_of(value: object) -> tuple[str, ...]:
    """An attribute's value that is a list of texts; empty for any other."""
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return ()
    return tuple(value)


# Only what is used, so that the rest is skipped, not built; gc=False, since JSON has no circles.
class Value(msgspec.Struct, gc=False, rename="camel"):
    """An attribute's value: one of them."""

    string_value: str | None = None
    int_value: int | str | None = None
    bool_value: bool | None = None
    double_value: float | None = None
    array_value: Values | None = None


class Values(msgspec.Struct, gc=False):
    """A list of values."""

    values: list[Value]


class Pair(msgspec.Struct, gc=False):
    """An attribute."""

    key: str
    value: Value


class Scope(msgspec.Struct, gc=False, frozen=True):
    """Who instrumented it."""

    name: str = ""


class Resource(msgspec.Struct, gc=False):
    """What it is of."""

    attributes: list[Pair] = []


read_resource = msgspec.json.Decoder(Resource).decode
read_pairs = msgspec.json.Decoder(list[Pair]).decode


def plain_of(pairs: list[Pair], names: Collection[str] | None = None) -> Attributes:
    """Attributes, those in `names` or all, as Python has them."""
    return {
        pair.key: value
        for pair in pairs
        if (names is None or pair.key in names) and (value := _plain(pair.value)) is not None
    }


def _plain(value: Value) -> Any:
    """As Python has it; None for what is no value."""
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
    """Of 64 bits, which stand as text; None for what is no number."""
    if isinstance(value, int):
        return value
    return int(value) if _INTEGER.fullmatch(value) else None


def time_ns(text: object) -> int:
    """Since 1970, in UTC; 0 where it isn't told."""
    return int(text) if isinstance(text, str) and _TIME.fullmatch(text) else 0


def groups_of(line: bytes, member: str) -> list[Any]:
    """`member` of whatever JSON `line` is. Raises LineError where it has none."""
    try:
        request = json.loads(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict) or not isinstance(request.get(member), list):
        raise LineError
    found: list[Any] = request[member]
    return found


def is_ours(scoped: object) -> bool:
    """Whether it is of this program's scope."""
    scope = scoped.get("scope") if isinstance(scoped, dict) else None
    return isinstance(scope, dict) and scope.get("name") == SCOPE


def members(value: object, name: str) -> list[Any]:
    """A member that is a list; empty for any other."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def attributes_of(owner: object, names: Collection[str] | None = None) -> Attributes:
    """Those of a span, a data point or a resource, in `names` or all, as `plain_of` has them."""
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
