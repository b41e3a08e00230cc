"""Markdown that says exactly what it is given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\*<|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")


def plain(text: str) -> str:
    """`text` as it stands, but for what stands between backticks, which is code."""
    pieces = text.split("`")
    quoted = (
        code(piece) if number % 2 else _SPECIAL.sub(r"\\\1", piece) for number, piece in enumerate(pieces)
    )
    return "".join(quoted)


def code(text: str) -> str:
    """As code, in a table's cell, too."""
    return f"`{text}`".replace("|", "\\|")


def codes(texts: Iterable[str]) -> str:
    """With commas between."""
    return ", ".join(map(code, texts))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """One of Markdown, whose cells are Markdown on one line."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


def block(text: str, language: str = "") -> str:
    """Code on lines of its own."""
    return f"```{language}\n{text.rstrip()}\n```"


def page(title: str, *parts: str) -> str:
    """A whole one."""
    return "\n\n".join([f"# {title}", *parts]) + "\n"
