"""Make Markdown that shows texts exactly as they are given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\*<|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")


def plain(text: str) -> str:
    """Return `text` so that it is shown as it is, except text between backticks, which is code."""
    pieces = text.split("`")
    quoted = (
        code(piece) if number % 2 else _SPECIAL.sub(r"\\\1", piece) for number, piece in enumerate(pieces)
    )
    return "".join(quoted)


def code(text: str) -> str:
    """Format `text` as code, also for a table's cell."""
    return f"`{text}`".replace("|", "\\|")


def codes(texts: Iterable[str]) -> str:
    """Format each text as code, with commas between."""
    return ", ".join(map(code, texts))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a table, whose cells are Markdown on one line."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


def block(text: str, language: str = "") -> str:
    """Format code on lines of its own."""
    return f"```{language}\n{text.rstrip()}\n```"


def page(title: str, *parts: str) -> str:
    """Make a whole page."""
    return "\n\n".join([f"# {title}", *parts]) + "\n"
