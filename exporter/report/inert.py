"""Make hostile text inert in Markdown: as <code> in HTML blocks, which no Markdown renderer looks into.

GitHub and GitLab make links of @names, #numbers, commit hashes, addresses and URLs wherever they find them,
except in code. A renderer that did look into these blocks would find no character that means anything to it.
"""

from __future__ import annotations

import re
import unicodedata

from exporter.common.text import printable

TEXT_MAX = 253
"""The most characters of a text: a name in DNS has no more."""

_MEANT = re.compile(r"[!-~]")
_HARMLESS = frozenset("'+,-./:;=%()?_")
_PIECE = re.compile(r".{8,15}?[./:_@=-]|.{1,16}", re.DOTALL)
"""A piece of a text; between two pieces a line may break."""
_WORD = re.compile(
    r"(?![0-9a-f]{7})(?:\(?[A-Za-z][A-Za-z]*(?:'[a-z]{1,2})?[.,:;)]?|\(?[0-9]{1,6}[.,:;)]?)|[>…→×]"
)
"""A plain word, in which no renderer can see a link, a mention or a reference."""
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})


def size(text: str) -> int:
    """Return the bytes of `text` in UTF-8."""
    return len(text.encode())


def escaped(text: str) -> str:
    """Escape `text`, which must be printable, for the content of an HTML element or attribute."""
    return _MEANT.sub(_escaped, text)


def code(text: str, *, limit: int = TEXT_MAX) -> str:
    """Format `text` as <code>, on one line of at most `limit` characters, which a narrow screen may break."""
    shown = printable(text, limit=limit)
    pieces = "<wbr>".join(map(escaped, _PIECE.findall(shown)))
    return f"<code{_direction(shown)}>{pieces}</code>"


def prose(text: str, *, limit: int = 500) -> str:
    """Format a sentence that may quote an attacker: plain words as they are, the rest as <code>."""
    told: list[str] = []
    quoted: list[str] = []
    for word in printable(text, limit=limit).split():
        if not _WORD.fullmatch(word):
            quoted.append(word)
            continue
        if quoted:
            told.append(code(" ".join(quoted), limit=limit))
            quoted.clear()
        told.append(escaped(word))
    if quoted:
        told.append(code(" ".join(quoted), limit=limit))
    return " ".join(told)


def fenced(text: str, language: str) -> str:
    """Format a block of code that shows `text` as it is, with a fence that is longer than any in it."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text) or [""]))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isalnum() or character in _HARMLESS else f"&#{ord(character)};"


def _direction(text: str) -> str:
    """Return an attribute for text with right-to-left letters, which would else reorder text beside it."""
    turns = not text.isascii() and any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in text)
    return ' dir="ltr"' if turns else ""
