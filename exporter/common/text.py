"""Text that may leave the process: valid UTF-8 of bounded size, and harmless on a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

LIMIT_BYTES = 8192

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def clean(text: str) -> str:
    """Put U+FFFD in place of surrogates, which are Python's stand-in for bytes that aren't UTF-8."""
    return _SURROGATE.sub("\ufffd", text)


def cut(text: str, limit_bytes: int = LIMIT_BYTES) -> tuple[str, bool]:
    """Cut `text` to at most `limit_bytes` of UTF-8, in whole characters; also return whether it was cut."""
    if len(text) * 4 <= limit_bytes:
        return text, False
    encoded = text.encode()
    if len(encoded) <= limit_bytes:
        return text, False
    return encoded[:limit_bytes].decode(errors="ignore"), True


def printable(text: str, *, limit: int = 160) -> str:
    """Return `text` on one line of at most `limit` characters, harmless on a terminal.

    Controls, format characters, unassigned ones, and blanks other than the space are written as escapes.
    """
    kept = clean(text[: limit + 1])
    safe = kept if kept.isprintable() else "".join(map(_shown, kept))
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def counted(number: int, what: str, plural: str = "") -> str:
    """Return number and noun (`1 attempt`, `2 attempts`); `plural` is by default `what` with an s."""
    return f"{number} {form_of(number, what, plural)}"


def form_of(number: int, what: str, plural: str = "") -> str:
    """Return the word's form for `number`: `what` for 1, else `plural`, by default `what` with an s."""
    return what if number == 1 else plural or f"{what}s"


def first_of(texts: Sequence[str], most: int, *, between: str = ", ") -> str:
    """Join the first `most` texts, and say how many more there are, as in `a, b and 3 more`."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return between.join(texts[:most]) + more


def json_line(value: object) -> str:
    """Return `value` as JSON on one line, in ASCII.

    Lone surrogates, which strict parsers refuse, become U+FFFD.
    """
    return json.dumps(json.loads(clean(json.dumps(value, ensure_ascii=False))))


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
