"""Text as it may leave the process: valid UTF-8 of bounded size, on a terminal without effect."""

from __future__ import annotations

import json
import re

LIMIT_BYTES = 8192

_SURROGATE = re.compile(r"[\ud800-\udfff]")

# Controls (C0, C1, DEL), and the format characters that reorder or hide what follows.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def clean(text: str) -> str:
    """`text` with U+FFFD for surrogates: Python's stand-in for bytes that aren't UTF-8."""
    return _SURROGATE.sub("\ufffd", text)


def cut(text: str, limit_bytes: int = LIMIT_BYTES) -> tuple[str, bool]:
    """`text` of at most `limit_bytes` of UTF-8, never within a character, and whether it was longer."""
    if len(text) * 4 <= limit_bytes:
        return text, False
    encoded = text.encode()
    if len(encoded) <= limit_bytes:
        return text, False
    return encoded[:limit_bytes].decode(errors="ignore"), True


def printable(text: str, *, limit: int = 160) -> str:
    """`text` on one line, with escapes for what a terminal would act upon, of at most `limit` characters."""
    safe = _UNPRINTABLE.sub(lambda match: _escape(match[0]), clean(text[: limit + 1]))
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def json_line(value: object) -> str:
    """`value` as JSON on one line, in ASCII, with U+FFFD for lone surrogates, which strict parsers refuse."""
    return json.dumps(json.loads(clean(json.dumps(value, ensure_ascii=False))))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
