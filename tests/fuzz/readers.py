"""The two readers of a line of OTLP/JSON agree: the fast one and the one that takes any JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from exporter.otlp.reading.json import LineError

T = TypeVar("T")


def agreed(
    line: bytes,
    names: Any,
    in_request: Callable[[bytes, Any], Iterable[T]],
    in_any: Callable[[bytes, Any], Iterable[T]],
    read: Callable[[bytes, Any], list[T]],
) -> list[T]:
    """Return what `read` makes of a line, as both of its readers do; nothing where the line is none."""
    try:
        fast = list(in_request(line, names))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fast = None
    try:
        tolerant = list(in_any(line, names))
    except LineError:
        tolerant = None
    assert fast is None or fast == tolerant
    try:
        found = read(line, names)
    except LineError:
        assert tolerant is None
        return []
    assert found == (tolerant if fast is None else fast)
    return found
