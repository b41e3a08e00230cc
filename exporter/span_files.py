"""Egress spans in OTLP/JSON files, as `--otlp-dir` writes them. Who wrote to them may be hostile."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from exporter.errors import UsageError

PATTERN = "traces*.jsonl"
"""Files of a folder, rotated ones included."""
LINE_MAX = 64 << 20
"""Characters; a request has at most some megabytes."""
SCOPE = "ci_egress"
_CLIENT = 3
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_HINT = "name files or folders that `ci-egress run --otlp-dir` wrote"

Attributes = dict[str, Any]
"""Values are str, int, bool, float or a list of them."""


def span_files(paths: Iterable[Path]) -> list[Path]:
    """`paths`, with the files of spans in place of folders. Raises UsageError where there are none."""
    files = []
    for path in paths:
        found = sorted(path.glob(PATTERN)) if path.is_dir() else [path]
        if not found:
            raise UsageError(f"{path} has no {PATTERN}", hint=_HINT)
        files += found
    return files


def egress_spans(path: Path) -> Iterator[Attributes]:
    """Attributes of each egress span in `path`. Raises UsageError, with the line of what is wrong."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            number = 0
            while line := file.readline(LINE_MAX):
                number += 1
                if line.strip():
                    yield from _spans_of(line, f"{path}:{number}:1")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint=_HINT) from None


def _spans_of(line: str, place: str) -> Iterator[Attributes]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict) or not isinstance(request.get("resourceSpans"), list):
        raise UsageError(f"{place}: not a line of OTLP spans", hint=_HINT)
    for group in request["resourceSpans"]:
        for scoped in filter(_is_ours, _members(group, "scopeSpans")):
            for span in _members(scoped, "spans"):
                if isinstance(span, dict) and span.get("kind") == _CLIENT:
                    yield _attributes(span)


def _is_ours(scoped: object) -> bool:
    """Whether spans come from this program: a collector's file holds other producers' too."""
    scope = scoped.get("scope") if isinstance(scoped, dict) else None
    return isinstance(scope, dict) and scope.get("name") == SCOPE


def _members(value: object, name: str) -> list[Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _attributes(span: object) -> Attributes:
    pairs = (
        (pair.get("key"), _value(pair.get("value")))
        for pair in _members(span, "attributes")
        if isinstance(pair, dict)
    )
    return {key: value for key, value in pairs if isinstance(key, str) and value is not None}


def _value(value: object) -> Any:
    """As Python has it; None for what is no value."""
    match value:
        case (
            {"stringValue": str(plain)}
            | {"boolValue": bool(plain)}
            | {"doubleValue": float(plain)}
            | {"intValue": int(plain)}
        ):
            return plain
        case {"intValue": str(digits)} if _INTEGER.fullmatch(digits):
            return int(digits)
        case {"arrayValue": {"values": list(values)}}:
            return [plain for each in values if (plain := _value(each)) is not None]
        case _:
            return None
