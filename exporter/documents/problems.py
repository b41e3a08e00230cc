"""What is wrong with a file: all of it, each with its place and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, NamedTuple, Protocol

from exporter.errors import FileError
from exporter.text import counted, printable

_SHOWN_MAX = 60
TOLD_MAX = 1000
"""Of one file, each with a line of its own; more are counted."""


class Placed(Protocol):
    """Something that stands in a file."""

    @property
    def line(self) -> int | None:
        """From 1."""

    @property
    def column(self) -> int | None:
        """From 1, in characters."""


class Place(NamedTuple):
    """Where in a file; both from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """One thing that is wrong."""

    line: int
    column: int
    what: str
    fix: str


class Problems:
    """Collects them, so that all are told at once."""

    def __init__(self) -> None:
        """None so far."""
        self._found: list[Problem] = []

    def add(self, place: Placed, what: str, fix: str) -> None:
        """One more, at `place`."""
        self._found.append(Problem(place.line or 1, place.column or 1, what, fix))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._found)

    def __iter__(self) -> Iterator[Problem]:
        """In the order of the file."""
        return iter(sorted(self._found, key=lambda problem: problem[:2]))


class DocumentError(FileError):
    """A file that isn't valid: it means nothing."""

    kind: ClassVar[str]
    """What the file is, as in "not a valid policy"."""

    def __init__(self, source: str, problems: Iterable[Problem], hint: str | None = None) -> None:
        """`source` is the file, or the option."""
        self.problems = tuple(problems)
        number = len(self.problems)
        told = self.problems[:TOLD_MAX]
        lines = tuple(f"{source}:{line}:{column}: {what}; {fix}" for line, column, what, fix in told)
        more = f", the first {TOLD_MAX:,} above" if number > TOLD_MAX else ""
        what = f"{source} is not a valid {self.kind}: {counted(number, 'error')}{more}"
        super().__init__(what, lines=lines, hint=hint)


def shown(text: str, limit: int = _SHOWN_MAX) -> str:
    """`text` of a file in backquotes, on one line, bounded to `limit` characters and harmless."""
    return f"`{printable(text, limit=limit)}`"
