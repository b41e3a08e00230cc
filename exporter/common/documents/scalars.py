"""Write text as YAML: plain where every parser reads it as this text, else quoted, with escapes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache

from exporter.common.text import clean

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./+@-]*")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
"""Words that YAML 1.1 or 1.2 reads, in upper or lower case, as something else than text."""
_NOT_ASCII = re.compile(r"[^ -~]")
_BEYOND_BMP = 0x10000
_KEPT_MAX = 16_384


@lru_cache(maxsize=_KEPT_MAX)
def scalar(text: str) -> str:
    """Return `text` as a YAML value or key, also within `[]` or `{}`: on one line, harmless on a terminal.

    Lone surrogates, which no file in UTF-8 can hold, become U+FFFD.
    """
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return _NOT_ASCII.sub(_escaped, json.dumps(clean(text), ensure_ascii=False))


def listed(texts: Iterable[str]) -> str:
    """Return texts as a YAML list in brackets."""
    return f"[{', '.join(map(scalar, texts))}]"


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < _BEYOND_BMP else f"\\U{code:08x}"
