"""Collect all problems of a file, each with its place and its fix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, NamedTuple, Protocol

from exporter.common.errors import FileError
from exporter.common.text import counted, printable

_SHOWN_MAX = 60
TOLD_MAX = 1000
"""The most problems of one file that have a line each; more are only counted."""


class Placed(Protocol):
    """Something that has a place in a file."""

    @property
    def line(self) -> int | None:
        """The line, counted from 1."""

    @property
    def column(self) -> int | None:
        """The column, counted from 1 in characters."""


class Place(NamedTuple):
    """A place in a file; line and column are counted from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """One problem of a file, with its place and its fix."""

    line: int
    column: int
    what: str
    fix: str


class Problems:
    """A collection of problems, so that all can be reported at once."""

    def __init__(self) -> None:
        """Start without problems."""
        self._found: list[Problem] = []

    def add(self, place: Placed, what: str, fix: str) -> None:
        """Add a problem at `place`."""
        self._found.append(Problem(place.line or 1, place.column or 1, what, fix))

    def __len__(self) -> int:
        """Return the number of problems."""
        return len(self._found)

    def __iter__(self) -> Iterator[Problem]:
        """Iterate over the problems in the order of the file."""
        return iter(sorted(self._found, key=lambda problem: problem[:2]))


class InvalidTextError(ValueError):
    """A text that isn't valid, be it of a file or of an option: what is wrong with it, and how to fix it."""

    def __init__(self, what: str, fix: str) -> None:
        """`what` and `fix` are one line each."""
        super().__init__(what)
        self.what = what
        self.fix = fix


class DocumentError(FileError):
    """An error for a file that isn't valid; nothing in it is used."""

    kind: ClassVar[str]
    """The kind of file, as in "not a valid policy"."""

    def __init__(self, source: str, problems: Iterable[Problem], hint: str | None = None) -> None:
        """`source` names the file, or the option whose value is its text."""
        self.problems = tuple(problems)
        number = len(self.problems)
        told = self.problems[:TOLD_MAX]
        lines = tuple(f"{source}:{line}:{column}: {what}; {fix}" for line, column, what, fix in told)
        more = f", the first {TOLD_MAX:,} above" if number > TOLD_MAX else ""
        what = f"{source} is not a valid {self.kind}: {counted(number, 'error')}{more}"
        super().__init__(what, lines=lines, hint=hint)


def shown(text: str, limit: int = _SHOWN_MAX) -> str:
    """Return `text` of a file in backquotes: on one line, of at most `limit` characters, and harmless."""
    return f"`{printable(text, limit=limit)}`"
