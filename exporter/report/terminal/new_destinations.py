"""New acts of a job, a line each: destination, verdict, process chain. Texts may come from an attacker."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from io import StringIO
from typing import NamedTuple

from rich.console import Console, RenderableType
from rich.text import Text

from exporter.common.text import printable
from exporter.events.destinations import Destination
from exporter.pipeline.attempt import Attempt
from exporter.pipeline.ruling import DENIED, VERDICT_WORDS, WOULD_DENY, Ruling
from exporter.pipeline.summary_table import shown_chain

KNOWN_MAX = 20_000
"""The most kinds of acts that are told apart in a job."""

_STYLES = {DENIED: "bold red", WOULD_DENY: "magenta"}


class First(NamedTuple):
    """An act that is unlike all before it in its job."""

    where: Destination
    chain: tuple[str, ...]
    said: Ruling

    @property
    def is_of_note(self) -> bool:
        """Whether somebody should look at it: it is new, was denied, or would be."""
        return self.said.is_against or bool(self.said.is_novel)

    @property
    def is_shown(self) -> bool:
        """Whether it is worth a line: an act on loopback has one only if it is of note."""
        return self.is_of_note or not self.where.is_loopback

    def line(self) -> Text:
        """Format it as a line for people."""
        line = Text.assemble(("→ ", "dim"), (printable(self.where.shown), "bold"))
        if self.where.transport != "tcp":
            line.append(f" {printable(self.where.transport or '?')}")
        if self.said.is_novel:
            line.append(" new", style="bold yellow")
        if self.said.is_against:
            verdict = self.said.verdict
            line.append(f" {VERDICT_WORDS[verdict]}", style=_STYLES[verdict])
            if self.said.rule:
                line.append(f" by {printable(self.said.rule)}")
        line.append(f"  {shown_chain(self.chain) or 'a program that is not known'}", style="dim")
        return line


class KnownKinds:
    """The kinds of acts that a job has done so far, KNOWN_MAX at most."""

    def __init__(self) -> None:
        """Start without any."""
        self._known: set[int] = set()
        """Hashes of the kinds (process chains are long), with a key of this process."""
        self.is_full = False
        """Whether the limit is reached, so that new kinds aren't recognized any more."""

    def first(self, attempt: Attempt) -> First | None:
        """Return the act if it is the first of its kind. None: it isn't, or that can't be known any more."""
        where, chain, said = attempt.destination, attempt.lineage, attempt.ruling
        like: Hashable = (where[:3], chain, said.verdict, said.is_novel)
        known_by = hash(like)
        if known_by in self._known or self.is_full:
            return None
        self._known.add(known_by)
        self.is_full = len(self._known) >= KNOWN_MAX
        return First(where, chain, said)


def drawn(what: RenderableType, columns: int) -> str:
    """Render `what` for a terminal of `columns`, without a newline at the end.

    It is coloured, unless NO_COLOR is set.
    """
    console = _console(columns)
    with console.capture() as capture:
        console.print(what, end="", overflow="ellipsis", no_wrap=True)
    return capture.get()


@lru_cache(maxsize=4)
def _console(columns: int) -> Console:
    return Console(
        file=StringIO(), force_terminal=True, width=columns, highlight=False, markup=False, emoji=False
    )
