"""Keep the texts of spans, which may come from an attacker: each once and cut, all within a limit."""

from __future__ import annotations

import sys

from exporter.common.text import LIMIT_BYTES, clean
from exporter.events.programs import CHAIN_MAX
from exporter.otlp.reading.json import text_of, texts_of

NAME_MAX = 1024
"""The most characters of a name."""
_ROOM = 96 << 20
"""The most bytes of memory for all texts."""
_SHORT, _FEW = 200, 4
"""The most characters of a text that finds no room, and the most texts of a list that finds none."""


class Texts:
    """The texts of all spans, each kept once."""

    def __init__(self, room: int = _ROOM) -> None:
        """`room` is the memory for all texts, in bytes; later texts are cut short and not kept here."""
        self._room = room
        self._known: dict[str, str] = {}
        self._lists: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.cut = 0
        """The number of texts and lists that were cut for want of room."""

    def line(self, value: object) -> str:
        """Return a command line; empty if `value` is no text."""
        return self._kept(text_of(value) or "", LIMIT_BYTES)

    def name(self, value: object) -> str | None:
        """Return a name. None: `value` is no text."""
        text = text_of(value)
        return None if text is None else self._kept(text, NAME_MAX)

    def names(self, value: object) -> tuple[str, ...]:
        """Return a chain of names; empty if `value` is no list of texts."""
        return self._list(value, NAME_MAX)

    def lines(self, value: object) -> tuple[str, ...]:
        """Return command lines; empty if `value` is no list of texts."""
        return self._list(value, LIMIT_BYTES)

    def _list(self, value: object, limit: int) -> tuple[str, ...]:
        kept = tuple(self._kept(text, limit) for text in texts_of(value)[:CHAIN_MAX])
        known = self._lists.get(kept)
        if known is not None:
            return known
        if not self._takes(kept):
            self.cut += len(kept) > _FEW
            return kept[-_FEW:]
        return self._lists.setdefault(kept, kept)

    def _kept(self, text: str, limit: int) -> str:
        shown = clean(text[:limit])
        known = self._known.get(shown)
        if known is not None:
            return known
        if not self._takes(shown):
            self.cut += len(shown) > _SHORT
            return shown[:_SHORT]
        return self._known.setdefault(shown, shown)

    def _takes(self, what: object) -> bool:
        """Whether there is room for `what`; if so, subtract it from the room."""
        size = sys.getsizeof(what)
        if size > self._room:
            return False
        self._room -= size
        return True
