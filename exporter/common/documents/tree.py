"""Read a YAML file, which may be hostile, into a small tree in which every node knows its place.

The file is read as a stream of events, so that parts that no such file needs are never built: anchors and
aliases (a few of them can make a billion nodes), tags, further documents, deep nesting. All values stay text;
the reader of the tree decides what they mean, so that `no` and `1_0` aren't misread.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeAlias

import yaml

from exporter.common.errors import UsageError

from .problems import Place, Placed, Problem, Problems, shown
from .syntax import behind, diagnose

DEPTH_MAX = 12

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SPANS = re.compile(rb'\s*\{\s*"resource(Spans|Metrics|Logs)"')


@dataclass(frozen=True)
class DocumentKind:
    """A kind of file, with the limits on its size and its nodes."""

    name: str
    """Name of the kind, as in "a policy is one document"."""
    size_max: int
    """The most bytes."""
    nodes_max: int
    """The most values, lists and mappings, keys included."""
    levels: str
    """The most levels of nesting in a valid file, as a word."""
    smaller: str
    """How to fix a file that is too large."""
    wildcard: str
    """An example of a wildcard in such a file, without quotes."""
    made_of_spans: str
    """How to make such a file from spans, for somebody who gave a file of spans instead."""

    @property
    def too_deep(self) -> tuple[str, str]:
        """What is wrong with a file that is nested too deep, and how to fix it."""
        return "nested too deep", f"a {self.name} has no more than {self.levels} levels"

    @property
    def in_quotes(self) -> str:
        """How to write a wildcard."""
        return f'write it in double quotes, as in "{self.wildcard}"'


class Scalar(NamedTuple):
    """A single value, as text."""

    line: int
    column: int
    text: str
    is_plain: bool
    """Whether it is written without quotes."""


class Listing(NamedTuple):
    """A sequence."""

    line: int
    column: int
    items: list[Node]


class Mapping(NamedTuple):
    """Keys and values, in the order of the file; a key may be there twice."""

    line: int
    column: int
    pairs: list[tuple[Node, Node]]


Node: TypeAlias = Scalar | Listing | Mapping


class _UnreadableError(Exception):
    """The rest of the file can't be read; the reason and its place have been added to the problems."""


class _Builder:
    def __init__(self, kind: DocumentKind, problems: Problems) -> None:
        self._kind = kind
        self._problems = problems
        self._extras: dict[str, Problem] = {}
        """The first anchor, alias and tag, which such a file has no use for."""
        self._extras_found: Counter[str] = Counter()
        self._open: list[Listing | Mapping] = []
        self._keys: list[Node | None] = []
        """For each of `_open`, the key that waits for its value."""
        self._nodes = 0
        self.roots: list[Node] = []

    def take(self, event: Any) -> None:
        """Add the parser's next event to the tree. Raises _UnreadableError."""
        mark = event.start_mark
        line, column = mark.line + 1, mark.column + 1
        match event:
            case yaml.ScalarEvent():
                self._add(Scalar(line, column, event.value, not event.style))
                self._refuse_extras(event, line, column)
            case yaml.CollectionEndEvent():
                self._open.pop()
                self._keys.pop()
            case yaml.CollectionStartEvent():
                is_list = isinstance(event, yaml.SequenceStartEvent)
                self._begin(Listing(line, column, []) if is_list else Mapping(line, column, []))
                self._refuse_extras(event, line, column)
            case yaml.AliasEvent():
                node = Scalar(line, column, "", is_plain=True)
                self._add(node)
                fix = f"write out what it stands for; for a wildcard, {self._kind.in_quotes}"
                self._refuse("an alias", node, f"*{event.anchor}", fix)
            case yaml.DocumentStartEvent() if self.roots:
                fix = f"a {self._kind.name} is one document: remove `---`"
                self._give_up(Place(line, column), "a second document", fix)

    def _begin(self, node: Listing | Mapping) -> None:
        self._add(node)
        self._open.append(node)
        self._keys.append(None)
        if len(self._open) > DEPTH_MAX:
            self._give_up(node, *self._kind.too_deep)

    def _add(self, node: Node) -> None:
        self._nodes += 1
        if self._nodes > self._kind.nodes_max:
            self._give_up(node, f"more than {self._kind.nodes_max:,} values", self._kind.smaller)
        if not self._open:
            self.roots.append(node)
            return
        around = self._open[-1]
        if isinstance(around, Listing):
            around.items.append(node)
            return
        key, self._keys[-1] = self._keys[-1], node
        if key is not None:
            around.pairs.append((key, node))
            self._keys[-1] = None

    def _refuse_extras(self, event: Any, line: int, column: int) -> None:
        if event.anchor is not None:
            self._refuse("an anchor", Place(line, column), f"&{event.anchor}", "remove it")
        if event.tag is not None:
            self._refuse("a tag", Place(line, column), event.tag, "remove it, or quote the text")

    def _refuse(self, sort: str, place: Placed, text: str, fix: str) -> None:
        self._extras_found[sort] += 1
        if sort not in self._extras:
            self._extras[sort] = Problem(place.line or 1, place.column or 1, f"{sort}, {shown(text)}", fix)

    def tell_extras(self) -> bool:
        """Report anchors, aliases and tags; return whether there were any.

        Each sort has one line, since a file may have thousands of each.
        """
        for sort, first in self._extras.items():
            others = self._extras_found[sort] - 1
            more = f" and {others:,} more" if others else ""
            self._problems.add(first, first.what + more, first.fix)
        return bool(self._extras)

    def _give_up(self, place: Placed, what: str, fix: str) -> NoReturn:
        self._problems.add(place, what, fix)
        raise _UnreadableError


def load(path: Path, kind: DocumentKind) -> bytes:
    """Return the bytes of the file `path`, up to one more than `kind` allows. Raises UsageError."""
    try:
        with path.open("rb") as file:
            return file.read(kind.size_max + 1)
    except OSError as error:
        what = f"cannot read the {kind.name} {path}: {error.strerror}"
        raise UsageError(what, hint="name a file that this user can read") from None


def read(data: bytes, kind: DocumentKind, problems: Problems) -> Node | None:
    """Return the tree in `data`; None when it is empty or can't be read; `problems` then have the reason.

    None is returned for a file with anchors, aliases or tags, too: nodes behind aliases would be missing, and
    be reported as wrong.
    """
    if _SPANS.match(data):
        problems.add(Place(1, 1), f"these are lines of OTLP, no {kind.name}", kind.made_of_spans)
        return None
    text = _text(data, kind, problems)
    if text is None:
        return None
    builder = _Builder(kind, problems)
    is_whole = _build(builder, text, kind, problems)
    if builder.tell_extras() or not is_whole:
        return None
    if not builder.roots:
        problems.add(Place(1, 1), "the file is empty", f"a {kind.name} begins with `version: 1`")
        return None
    return builder.roots[0]


def _build(builder: _Builder, text: str, kind: DocumentKind, problems: Problems) -> bool:
    """Feed the parser's events to `builder`; return whether `text` was read to its end."""
    try:
        for event in yaml.parse(text, Loader=_PARSER):
            builder.take(event)
    except _UnreadableError:
        return False
    except yaml.YAMLError as error:
        problems.add(*diagnose(error, text, kind, builder.roots))
        return False
    return True


def _text(data: bytes, kind: DocumentKind, problems: Problems) -> str | None:
    if len(data) > kind.size_max:
        problems.add(Place(1, 1), f"larger than {kind.size_max >> 20} MiB", kind.smaller)
        return None
    data = data.removeprefix(BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        place = behind(data[: error.start].decode())
        problems.add(place, f"not UTF-8 (byte {data[error.start]:#04x})", "save it as UTF-8")
        return None
