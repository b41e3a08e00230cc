"""Attributes of spans and log records: bounded in size, and honest about what was cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from opentelemetry.sdk.trace import ReadableSpan

from exporter.text import LIMIT_BYTES, cut

_LIST_LIMIT_BYTES = 32768
_CHARACTER_MAX_BYTES = 4
_SURELY_SHORT = LIMIT_BYTES // _CHARACTER_MAX_BYTES

Value = str | int | bool | list[str]

T = TypeVar("T")


class Layer:
    """Attributes that many spans share, encoded once."""

    __slots__ = ("__weakref__", "_encoded", "cut_names", "values")

    def __init__(self, values: Mapping[str, Value], cut_names: tuple[str, ...] = ()) -> None:
        """`cut_names` are those of `values` that aren't whole."""
        self.values = values
        self.cut_names = cut_names
        self._encoded: dict[Callable[..., Any], Any] = {}

    def encoded(self, encode: Callable[[Mapping[str, Value]], T]) -> T:
        """What `encode` makes of the values; it is asked once."""
        if encode not in self._encoded:
            self._encoded[encode] = encode(self.values)
        found: T = self._encoded[encode]
        return found


class Layered(Mapping[str, Value]):
    """The attributes of one span: those that it shares, and its own. No name is in two of them."""

    __slots__ = ("layers", "own")

    def __init__(self, layers: tuple[Layer, ...], own: Mapping[str, Value]) -> None:
        """Of these two."""
        self.layers = layers
        self.own = own

    def __getitem__(self, name: str) -> Value:
        """The value of `name`. Raises KeyError."""
        for layer in self.layers:
            if name in layer.values:
                return layer.values[name]
        return self.own[name]

    def __iter__(self) -> Iterator[str]:
        """All names."""
        for layer in self.layers:
            yield from layer.values
        yield from self.own

    def __len__(self) -> int:
        """How many names there are."""
        return len(self.own) + sum(len(layer.values) for layer in self.layers)


class LayeredSpan(ReadableSpan):
    """A span that tells its encoder what it shares with others."""

    def __init__(self, *identity: Any, attributes: Layered, **fields: Any) -> None:
        """`identity` (name, context, parent) and `fields` are those of a ReadableSpan."""
        super().__init__(*identity, **fields)
        self._layered = attributes

    @property
    def attributes(self) -> Layered:
        """All of them."""
        return self._layered


class Attributes:
    """Attributes under construction: unknown values are left out, long ones cut and listed."""

    def __init__(self, values: Mapping[str, Value] | None = None) -> None:
        """Start from `values`."""
        self._values: dict[str, Value] = dict(values or {})
        self.cut_names: list[str] = []

    def add(self, name: str, value: str | int | None) -> None:
        """Add a value if it is known."""
        if value is None or value == "":
            return
        if isinstance(value, str) and len(value) > _SURELY_SHORT:
            value, was_cut = cut(value)
            if was_cut:
                self.cut_names.append(name)
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

    def layer(self) -> Layer:
        """All of them, for many spans."""
        return Layer(self._values, tuple(dict.fromkeys(self.cut_names)))

    def upon(self, *layers: Layer) -> Layered:
        """All of them upon `layers`, with `egress.truncated` where something was cut."""
        cut_names = [name for layer in layers for name in layer.cut_names] + self.cut_names
        if cut_names:
            self._values["egress.truncated"] = cut_names
        return Layered(layers, self._values)
