"""Attributes of spans and log records: bounded in size, with the names of those that were cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from opentelemetry.sdk.trace import ReadableSpan

from exporter.common.text import LIMIT_BYTES, cut

_LIST_LIMIT_BYTES = 32768
_CHARACTER_MAX_BYTES = 4
_SURELY_SHORT = LIMIT_BYTES // _CHARACTER_MAX_BYTES

Value = str | int | bool | list[str]

T = TypeVar("T")


class Layer:
    """Attributes that many spans share, encoded once."""

    __slots__ = ("__weakref__", "_encoded", "cut_names", "values")

    def __init__(self, values: Mapping[str, Value], cut_names: tuple[str, ...] = ()) -> None:
        """`cut_names` are the names of values that were cut."""
        self.values = values
        self.cut_names = cut_names
        self._encoded: dict[Callable[..., Any], Any] = {}

    def encoded(self, encode: Callable[[Mapping[str, Value]], T]) -> T:
        """Return the values as `encode` encodes them; `encode` is called once."""
        if encode not in self._encoded:
            self._encoded[encode] = encode(self.values)
        found: T = self._encoded[encode]
        return found


class Layered(Mapping[str, Value]):
    """The attributes of one span: layers that it shares, and its own. No name is in two of these."""

    __slots__ = ("layers", "own")

    def __init__(self, layers: tuple[Layer, ...], own: Mapping[str, Value]) -> None:
        """`layers` are shared with other spans, `own` are the span's own attributes."""
        self.layers = layers
        self.own = own

    def __getitem__(self, name: str) -> Value:
        """Return the value of `name`. Raises KeyError."""
        for layer in self.layers:
            if name in layer.values:
                return layer.values[name]
        return self.own[name]

    def __iter__(self) -> Iterator[str]:
        """Yield all names."""
        for layer in self.layers:
            yield from layer.values
        yield from self.own

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self.own) + sum(len(layer.values) for layer in self.layers)


class LayeredSpan(ReadableSpan):
    """A span that shows its encoder which attributes it shares with other spans."""

    def __init__(self, *identity: Any, attributes: Layered, **fields: Any) -> None:
        """`identity` (name, context, parent) and `fields` are arguments of ReadableSpan."""
        super().__init__(*identity, **fields)
        self._layered = attributes

    @property
    def attributes(self) -> Layered:
        """All attributes, the shared ones and its own."""
        return self._layered


class Attributes:
    """A builder of attributes: unknown values are left out, long ones are cut and listed."""

    def __init__(self, values: Mapping[str, Value] | None = None) -> None:
        """Start from `values`."""
        self._values: dict[str, Value] = dict(values or {})
        self.cut_names: list[str] = []

    def add(self, name: str, value: str | int | None) -> None:
        """Add a value; one that is unknown (None, or empty) is left out."""
        if value is None or value == "":
            return
        if isinstance(value, str) and len(value) > _SURELY_SHORT:
            value, was_cut = cut(value)
            if was_cut:
                self.cut_names.append(name)
        self._values[name] = value

    def add_list(self, name: str, values: list[str], *, each_bytes: int = _LIST_LIMIT_BYTES) -> None:
        """Add a list, each value at most `each_bytes` and all at most 32 KiB; the rest is left out."""
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

    def layer(self) -> Layer:
        """Return all attributes as a layer for many spans."""
        return Layer(self._values, tuple(dict.fromkeys(self.cut_names)))

    def upon(self, *layers: Layer) -> Layered:
        """Return `layers` and all attributes; `egress.truncated` has the names of those that were cut."""
        cut_names = [name for layer in layers for name in layer.cut_names] + self.cut_names
        if cut_names:
            self._values["egress.truncated"] = cut_names
        return Layered(layers, self._values)
