"""A YAML file as a small tree in which every node knows its place. The file may be hostile.

It is read as a stream of events, so that nothing is built from what a policy has no use for: anchors and
aliases (a few of them can stand for a billion nodes), tags, further documents, deep nesting. Values stay
text; what a place of the policy expects there is for the reader of the tree to say, so `no` and `1_0` are
no riddles.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from exporter.policy.problems import Place, Placed, Problems, shown

SIZE_MAX = 4 << 20
"""Bytes."""
DEPTH_MAX = 12
NODES_MAX = 250_000

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_QUOTE = 'write it in double quotes, as in "*.registry.example:443"'
_WRITE_OUT = f"write out what it stands for; for a wildcard, {_QUOTE}"
_UNQUOTED = "text that begins with one of * & [ { @ ` ! | > % needs double quotes; indent with spaces"


@dataclass(frozen=True)
class Scalar:
    """A single value, as text."""

    line: int
    column: int
    text: str
    is_plain: bool
    """Whether it stands there without quotes."""


@dataclass(frozen=True)
class Listing:
    """A sequence."""

    line: int
    column: int
    items: list[Node] = field(default_factory=list)


@dataclass(frozen=True)
class Mapping:
    """Keys and values, in the order of the file; a key may be there twice."""

    line: int
    column: int
    pairs: list[tuple[Node, Node]] = field(default_factory=list)


Node = Scalar | Listing | Mapping


class _UnreadableError(Exception):
    """Nothing can be read from here on; what and where is told to the problems."""


class _Builder:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._open: list[Listing | Mapping] = []
        self._keys: list[Node | None] = []
        """For each of `_open`, the key that waits for its value."""
        self._nodes = 0
        self.roots: list[Node] = []

    def take(self, event: Any) -> None:
        """The next event. Raises _UnreadableError."""
        place = Place(event.start_mark.line + 1, event.start_mark.column + 1)
        match event:
            case yaml.AliasEvent():
                self._add(Scalar(*place, "", is_plain=True))
                self._problems.add(place, f"an alias, {shown(f'*{event.anchor}')}", _WRITE_OUT)
            case yaml.ScalarEvent():
                self._add(Scalar(*place, event.value, is_plain=not event.style))
                self._refuse_extras(event, place)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                kind = Listing if isinstance(event, yaml.SequenceStartEvent) else Mapping
                self._begin(kind(*place))
                self._refuse_extras(event, place)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._open.pop()
                self._keys.pop()
            case yaml.DocumentStartEvent() if self.roots:
                self._give_up(place, "a second document", "a policy is one document: remove `---`")

    def _begin(self, node: Listing | Mapping) -> None:
        self._add(node)
        self._open.append(node)
        self._keys.append(None)
        if len(self._open) > DEPTH_MAX:
            self._give_up(node, "nested too deep", "a policy has no more than six levels")

    def _add(self, node: Node) -> None:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            self._give_up(node, f"more than {NODES_MAX:,} values", "split the policy by jobs")
        if not self._open:
            self.roots.append(node)
            return
        match self._open[-1]:
            case Listing(items=items):
                items.append(node)
            case Mapping(pairs=pairs):
                key, self._keys[-1] = self._keys[-1], node
                if key is not None:
                    pairs.append((key, node))
                    self._keys[-1] = None

    def _refuse_extras(self, event: Any, place: Place) -> None:
        if event.anchor is not None:
            self._problems.add(place, f"an anchor, {shown(f'&{event.anchor}')}", "remove it")
        if event.tag is not None:
            self._problems.add(place, f"a tag, {shown(event.tag)}", "remove it, or quote the text")

    def _give_up(self, place: Placed, what: str, fix: str) -> NoReturn:
        self._problems.add(place, what, fix)
        raise _UnreadableError


def read(data: bytes, problems: Problems) -> Node | None:
    """The tree in `data`; None for an empty file, and where it can't be read, which `problems` then tell."""
    text = _text(data, problems)
    if text is None:
        return None
    builder = _Builder(problems)
    try:
        for event in yaml.parse(text, Loader=_PARSER):
            builder.take(event)
    except _UnreadableError:
        return None
    except yaml.YAMLError as error:
        problems.add(*_syntax_problem(error, text))
        return None
    return builder.roots[0] if builder.roots else None


def _text(data: bytes, problems: Problems) -> str | None:
    if len(data) > SIZE_MAX:
        problems.add(Place(1, 1), f"larger than {SIZE_MAX >> 20} MiB", "split the policy by jobs")
        return None
    data = data.removeprefix(BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        place = _behind(data[: error.start].decode())
        problems.add(place, f"not UTF-8 (byte {data[error.start]:#04x})", "save it as UTF-8")
        return None


def _syntax_problem(error: yaml.YAMLError, text: str) -> tuple[Place, str, str]:
    """What the parser said, at the place where it begins to be wrong."""
    if isinstance(error, yaml.reader.ReaderError):  # its position is in bytes, or in characters
        found = yaml.reader.Reader.NON_PRINTABLE.search(text)
        fix = "remove it, or write it as an escape in quotes"
        return _behind(text[: found.start() if found else 0]), "a control character", fix
    context, problem = getattr(error, "context", None), getattr(error, "problem", None)
    if context == "while scanning an alias":
        return _marked(error, "context_mark"), "`*` without quotes is an alias in YAML", _QUOTE
    told = ", ".join(part for part in (context, problem) if part) or "it can't be parsed"
    return _marked(error, "problem_mark"), f"not YAML: {told}", _UNQUOTED


def _marked(error: yaml.YAMLError, name: str) -> Place:
    mark = getattr(error, name, None)
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


def _behind(text: str) -> Place:
    """The place of what follows `text`."""
    return Place(text.count("\n") + 1, len(text) - text.rfind("\n"))
