"""Hostile text in Markdown: it stands in HTML blocks, which no renderer of Markdown looks into, as <code>.

GitHub and GitLab make links of @names, #numbers, hashes of commits, addresses and URLs wherever they find
them, but in code. A renderer that did look into it would find no character that means something to it.
"""

from __future__ import annotations

import re
import unicodedata

from exporter.text import printable

TEXT_MAX = 253
"""Characters: a name has no more in DNS."""

_MEANT = re.compile(r"[!-~]")
_HARMLESS = frozenset("'+,-./:;=%()?_")
_PIECE = re.compile(r".{8,15}?[./:_@=-]|.{1,16}", re.DOTALL)
"""Between two of them a line may break."""
_WORD = re.compile(
    r"(?![0-9a-f]{7})(?:\(?[A-Za-z][A-Za-z]*(?:'[a-z]{1,2})?[.,:;)]?|\(?[0-9]{1,6}[.,:;)]?)|[>…→×]"
)
"""What is a word for everybody: nothing in it can be a link, a mention or a reference."""
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})


def size(text: str) -> int:
    """Bytes of UTF-8."""
    return len(text.encode())


def escaped(text: str) -> str:
    """`text`, which is printable, as the content of an HTML element or attribute."""
    return _MEANT.sub(_escaped, text)


def code(text: str, *, limit: int = TEXT_MAX) -> str:
    """`text` on one line of at most `limit` characters; a narrow screen may break it anywhere."""
    shown = printable(text, limit=limit)
    pieces = "<wbr>".join(map(escaped, _PIECE.findall(shown)))
    return f"<code{_direction(shown)}>{pieces}</code>"


def prose(text: str, *, limit: int = 500) -> str:
    """A sentence that quotes the attacker: its words as they are, the rest as code."""
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
    """A block of code, which shows `text` as it is, with whatever fence it takes."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text) or [""]))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isalnum() or character in _HARMLESS else f"&#{ord(character)};"


def _direction(text: str) -> str:
    """Of letters that run to the left: without it, they would take what stands beside them along."""
    turns = not text.isascii() and any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in text)
    return ' dir="ltr"' if turns else ""
