"""Find out what is wrong with a file that isn't YAML: the parser's message, or its cause where it is known.

The parser names the place where it could not go on. The error often stands further up.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from .problems import Place, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .tree import DocumentKind, Node

_SPECIAL = "*&[{@`!|>%"
_QUOTE_IT = "text that begins with one of * & [ { @ ` ! | > % needs double quotes"
_INDENT = (
    "indent this line, and the one above, as those around them, with spaces; quote text that has `: ` in it"
)
_INDENTATION = (
    "did not find expected '-' indicator",
    "did not find expected key",
    "mapping values are not allowed in this context",
)
"""The parser's messages about lines that aren't aligned; it names the wrong line or the next one."""
_CONFLICT = re.compile(r"^(<{7}|={7}|>{7})(?=[ \r\n]|\Z)", re.MULTILINE)
"""Marks that a version control system leaves where two changes met."""
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""The characters that end a line for the parser."""
_VALUE = re.compile(r"\s*(?:- +)*(?:[^\s:\"']+: +)?(.?)")
"""The beginning of a line, up to the first character of its value."""
_PLAIN = re.compile(r"(?!- |#|[\"'])(?!.*:(?: |$)).+")
"""A line without a key that isn't an item of a list, either."""


class Diagnosis(NamedTuple):
    """What is wrong, where, and how to fix it."""

    place: Place
    what: str
    fix: str


def diagnose(error: yaml.YAMLError, text: str, kind: DocumentKind, roots: Sequence[Node]) -> Diagnosis:
    """Return what is wrong with `text`, of which the parser read `roots` before its `error`."""
    if isinstance(error, yaml.reader.ReaderError):  # its position is in bytes, or in characters
        found = yaml.reader.Reader.NON_PRINTABLE.search(text)
        fix = "remove it, or write it as an escape in quotes"
        return Diagnosis(behind(text[: found.start() if found else 0]), "a control character", fix)
    failure = _Failure(error, text)
    return (
        _refused(failure, kind)
        or _conflict(text)
        or _tab_or_quote(failure)
        or _stray_line(failure, roots)
        or Diagnosis(failure.place, f"not YAML: {failure.told}", _fix(failure, kind))
    )


def behind(text: str) -> Place:
    """Return the place right behind `text`."""
    return Place(text.count("\n") + 1, len(text) - text.rfind("\n"))


class _Failure:
    """The parser's error, with the text that it is about."""

    def __init__(self, error: yaml.YAMLError, text: str) -> None:
        self.context: str = getattr(error, "context", None) or ""
        self.problem: str = getattr(error, "problem", None) or ""
        self._mark: Any = getattr(error, "problem_mark", None)
        """Where the parser could not go on."""
        self._context_mark: Any = getattr(error, "context_mark", None)
        """Where the part begins that the parser could not read to its end."""
        self._text = text
        self._lines = _LINE_END.split(text)

    @property
    def told(self) -> str:
        return ", ".join(part for part in (self.context, self.problem) if part) or "it can't be parsed"

    @property
    def place(self) -> Place:
        return _place(self._mark)

    @property
    def context_place(self) -> Place:
        return _place(self._context_mark)

    @property
    def character(self) -> str:
        return self._at(self._mark)

    @property
    def character_before(self) -> str:
        return self._at(self._mark, -1)

    @property
    def context_character(self) -> str:
        return self._at(self._context_mark)

    @property
    def line_before(self) -> str:
        """The part of the line in front of `place`."""
        return self.line_at(self.place.line)[: self.place.column - 1]

    def line_at(self, number: int) -> str:
        """Return the line with this number, which may be the one behind the last."""
        return self._lines[number - 1] if number <= len(self._lines) else ""

    def _at(self, mark: Any, offset: int = 0) -> str:
        index = mark.index + offset if mark else -1
        return self._text[index] if 0 <= index < len(self._text) else ""


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


def _refused(failure: _Failure, kind: DocumentKind) -> Diagnosis | None:
    """Diagnose a part that may be YAML, but that this kind of file may not have."""
    if failure.context == "while scanning an alias":
        return Diagnosis(failure.context_place, "`*` without quotes is an alias in YAML", kind.in_quotes)
    if failure.problem == "exceeded maximum nesting depth":  # before any of the brackets is an event
        return Diagnosis(failure.place, *kind.too_deep)
    return None


def _tab_or_quote(failure: _Failure) -> Diagnosis | None:
    if failure.character == "\t":
        return Diagnosis(failure.place, "a tab", "indent with spaces")
    if failure.context == "while scanning a quoted scalar":
        quote = shown(failure.context_character)
        what = f"nothing closes the quote {quote}"
        return Diagnosis(failure.context_place, what, f"write {quote} behind the text")
    return None


def _conflict(text: str) -> Diagnosis | None:
    mark = _CONFLICT.search(text)
    if mark is None:
        return None
    fix = "settle it, and remove its three marks"
    return Diagnosis(behind(text[: mark.start()]), f"a merge conflict, {shown(mark[0])}", fix)


def _stray_line(failure: _Failure, roots: Sequence[Node]) -> Diagnosis | None:
    """Diagnose a line that is neither a key nor an item: the parser reads on, and reports the next line."""
    if failure.context == "while scanning a simple key":
        number = failure.context_place.line
    elif failure.problem == "mapping values are not allowed in this context":
        number = _first_plain_line(failure)
    elif failure.problem == "did not find expected <document start>" and len(roots) == 1:
        number = roots[0].line
    else:
        return None
    line = failure.line_at(number)
    if not _PLAIN.fullmatch(line.strip()):
        return None
    place = Place(number, len(line) - len(line.lstrip()) + 1)
    what = f"{shown(line.strip())} is neither a key with `:` behind it nor an item with `- ` in front"
    return Diagnosis(place, what, "write it as one of these, or remove it")


def _first_plain_line(failure: _Failure) -> int:
    """Return the number of the first of the plain lines right above the failure, or else of its own line."""
    first = number = failure.place.line
    while number > 1:
        number -= 1
        line = failure.line_at(number).strip()
        if line and not _PLAIN.fullmatch(line):
            break
        first = number if line else first
    return first


def _fix(failure: _Failure, kind: DocumentKind) -> str:
    if failure.context in ("while parsing a flow sequence", "while parsing a flow mapping"):
        opened = f"the {shown(failure.context_character)} of line {failure.context_place.line}"
        return f"close {opened}, or put text that begins with it in double quotes"
    if failure.problem == "did not find expected node content":
        return f"remove the {shown(failure.character)}, or put text that begins with it in double quotes"
    if failure.character_before and failure.character_before in "\"'":
        return "a quoted text ends in front of this: close the quote before that, or put all of it in quotes"
    if "escape" in failure.problem:
        return r"write `\\` for a backslash in double quotes"
    is_special = {failure.character, failure.context_character} & set(_SPECIAL)
    if is_special or _begins_special(failure.line_before):
        return _QUOTE_IT
    return (
        _INDENT
        if failure.problem in _INDENTATION
        else f"a {kind.name} has `key: value` on each line, or `- item`"
    )


def _begins_special(line: str) -> bool:
    found = _VALUE.match(line)
    return found is not None and bool(found[1]) and found[1] in _SPECIAL
