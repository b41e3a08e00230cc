"""What is new in a job, as a line: where to, what was ruled on it, by whom. Every text is the attacker's."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from io import StringIO
from typing import NamedTuple

from rich.console import Console, RenderableType
from rich.text import Text

from exporter.destinations import Destination
from exporter.programs import Program
from exporter.summary_table import shown_chain
from exporter.terms import DENIED, VERDICT_WORDS, WOULD_DENY, Ruling
from exporter.text import printable

KNOWN_MAX = 20_000
"""Kinds of acts that are told apart in a job."""

_STYLES = {DENIED: "bold red", WOULD_DENY: "magenta"}


class First(NamedTuple):
    """An act like none before it in its job."""

    where: Destination
    chain: tuple[str, ...]
    said: Ruling

    @property
    def is_of_note(self) -> bool:
        """Whether somebody should look at it."""
        return self.said.is_against or bool(self.said.is_novel)

    @property
    def is_shown(self) -> bool:
        """Whether it is worth a line: what stays on this machine only is where somebody should look at it."""
        return self.is_of_note or not self.where.is_loopback

    def line(self) -> Text:
        """For a person."""
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


class Known:
    """What there was of a job, in bounds."""

    def __init__(self) -> None:
        """Nothing."""
        self._known: set[int] = set()
        """Hashes, with a key of this process: a chain of processes is long."""
        self.is_full = False
        """Whether what is new can't be told any more."""

    def first(self, where: Destination, program: Program | None, said: Ruling) -> First | None:
        """The act, if there was none like it; None also where that isn't known."""
        chain = program.lineage if program else ()
        like: Hashable = (where[:3], chain, said.verdict, said.is_novel)
        known_by = hash(like)
        if known_by in self._known or self.is_full:
            return None
        self._known.add(known_by)
        self.is_full = len(self._known) >= KNOWN_MAX
        return First(where, chain, said)


def drawn(what: RenderableType, columns: int) -> str:
    """`what` as a terminal of `columns` takes it, without a line's end behind the last one.

    In colours, unless NO_COLOR is set.
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
