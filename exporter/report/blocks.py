"""The parts of a job's summary, and how they share the room that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from exporter.common.text import counted

from .additions import Additions
from .inert import fenced, prose, size

Section = Callable[[int], str]
"""Function from a number of bytes to a text of that size at most: empty if there is no text, or no room."""

_NOTES_MAX = 50
_FRAME_BYTES = 600
"""The bytes that additions take besides their pieces: the fold, the sentences, a fence of usual length."""
_INLINE_MAX = 4000
"""The most characters of a line that is offered for pasting."""


def fitted(sections: Sequence[Section], limit_bytes: int) -> str:
    """Join sections, each with a fair share of the room that the sections before it left."""
    text = []
    for index, section in enumerate(sections):
        share = max(0, limit_bytes // (len(sections) - index))
        made = section(share)
        if size(made) <= share:
            text.append(made)
            limit_bytes -= size(made)
    return "".join(text)


def folded(title: str, body: str, *, is_open: bool = False) -> str:
    """Fold `body` behind `title`, which is HTML; return nothing if there is no body."""
    if not body:
        return ""
    return f"<details{' open' if is_open else ''}><summary>{title}</summary>\n\n{body}\n</details>\n\n"


def listed(notes: Sequence[str], limit_bytes: int) -> str:
    """Format sentences, which may quote an attacker, as the items of an HTML list."""
    items = [f"<li>{prose(note)}</li>\n" for note in notes[:_NOTES_MAX]]
    more = f"<li>… and {len(notes)} more</li>\n"
    kept = fitting(items, limit_bytes - size(f"<ul>\n{more}</ul>\n\n"))
    if not kept:
        return ""
    hidden = len(notes) - len(kept)
    return f"<ul>\n{''.join(kept)}{f'<li>… and {hidden} more</li>{chr(10)}' if hidden else ''}</ul>\n\n"


def fitting(texts: Iterable[str], limit_bytes: int) -> list[str]:
    """Return the first texts, up to the first one for which there is no room."""
    kept = []
    for text in texts:
        limit_bytes -= size(text)
        if limit_bytes < 0:
            break
        kept.append(text)
    return kept


def pasted(made: Additions, limit_bytes: int) -> str:
    """Format additions as a folded block of code to copy; empty if there is nothing to add, or no room."""
    room = limit_bytes - _FRAME_BYTES - size(made.head) - size(made.title) - size(made.where)
    kept = fitting((f"{piece}\n" for piece in made.pieces), room)
    if not kept:
        return ""
    hidden = len(made.pieces) - len(kept)
    head = f"{made.head}\n" if made.head else ""
    more = f"  # … and {hidden:,} more, for which there was no room\n" if hidden else ""
    block = fenced(f"{head}{''.join(kept)}{more}", "yaml")
    inline = "" if hidden else _inline(made.inline, room - sum(map(size, kept)))
    parts = [f"<p>{made.where}</p>\n", block, *([inline] if inline else []), *_left_out(made)]
    return folded(f"{made.title}: {counted(len(made.pieces), 'destination')}", "\n".join(parts))


def _inline(words: Sequence[str], limit_bytes: int) -> str:
    line = f'--allowed-endpoints "{" ".join(words)}"'
    block = f"<p>Or on the command line:</p>\n\n{fenced(line, 'text')}"
    fits = words and len(line) <= _INLINE_MAX and size(block) <= limit_bytes
    return block if fits else ""


def _left_out(made: Additions) -> list[str]:
    if not made.left_out:
        return []
    return [f"<p>{counted(made.left_out, 'attempt')} can't be added: denied, or without a name.</p>\n"]
