"""Attributes of spans and log records: bounded in size, and honest about what was cut."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.text import cut

_LIST_LIMIT_BYTES = 32768
_CHARACTER_MAX_BYTES = 4

Value = str | int | bool | list[str]


class Attributes:
    """Attributes under construction: unknown values are left out, long ones cut and listed."""

    def __init__(self, values: Mapping[str, Value] | None = None, cut_names: tuple[str, ...] = ()) -> None:
        """Start from `values`, of which `cut_names` are cut already."""
        self._values: dict[str, Value] = dict(values or {})
        self.cut_names = list(cut_names)

    def add(self, name: str, value: str | int | None) -> None:
        """Add a value if it is known."""
        if isinstance(value, str):
            value, was_cut = cut(value)
            if was_cut:
                self.cut_names.append(name)
        if value is not None and value != "":
            self._values[name] = value

    def add_list(self, name: str, values: list[str], *, each_bytes: int = _LIST_LIMIT_BYTES) -> None:
        """Add a list of at most 32 KiB in all, each value at most `each_bytes`; the rest is missing."""
        kept: list[str] = []
        room_bytes = _LIST_LIMIT_BYTES
        for value in values:
            text, _ = cut(value, min(each_bytes, room_bytes))
            kept.append(text)
            room_bytes -= len(text.encode())
            if room_bytes < _CHARACTER_MAX_BYTES:
                break
        if kept != values:
            self.cut_names.append(name)
        self._values[name] = kept

    def done(self) -> dict[str, Value]:
        """All of them, with `egress.truncated` where something was cut."""
        if self.cut_names:
            self._values["egress.truncated"] = self.cut_names
        return self._values
