"""Helpers for the readers of YAML documents: they check keys and kinds of values."""

from __future__ import annotations

from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import TypeVar

from .problems import InvalidTextError, Problems, shown
from .tree import Listing, Mapping, Node, Scalar

VERSION = "1"
Fields = dict[str, Node]
"""The values of a mapping, by their keys."""

_KINDS = {Scalar: "a text", Listing: "a list", Mapping: "a mapping"}
_EMPTY = ("", "~", "null")
_T = TypeVar("_T")
_COMPARED_MAX = 100
"""The most characters of a word that are compared with known words: the time grows with their square."""


def read_fields(node: Node, known: tuple[str, ...], what: str, problems: Problems) -> Fields | None:
    """Return the values of a mapping by their keys, which must be among `known`; None for any other node."""
    if not isinstance(node, Mapping):
        wrong_kind(node, what, f"a mapping with {', '.join(known)}", problems)
        return None
    fields = {}
    for key, value in read_pairs(node, problems):
        if key.text in known:
            fields[key.text] = value
        else:
            near = get_close_matches(key.text[:_COMPARED_MAX], known, n=1)
            fix = f"did you mean `{near[0]}`?" if near else f"known here are {', '.join(known)}"
            problems.add(key, f"unknown key {shown(key.text)}", fix)
    return fields


def is_another(node: Node, own: Collection[str], others: Collection[str]) -> bool:
    """Whether the file is of another kind: it has keys of `others`, and none of `own` except the version."""
    if not isinstance(node, Mapping):
        return False
    keys = {key.text for key, _ in node.pairs if isinstance(key, Scalar)} - {"version"}
    return not keys.isdisjoint(others) and keys.isdisjoint(own)


def read_pairs(node: Mapping, problems: Problems) -> list[tuple[Scalar, Node]]:
    """Return the pairs whose keys are text; of a repeated key, the first."""
    seen: dict[str, Scalar] = {}
    pairs = []
    for key, value in node.pairs:
        if not isinstance(key, Scalar):
            wrong_kind(key, "a key", "a text", problems)
        elif key.text in seen:
            fix = f"merge it with line {seen[key.text].line}"
            problems.add(key, f"{shown(key.text)} is there twice", fix)
        else:
            seen[key.text] = key
            pairs.append((key, value))
    return pairs


def check_version(root: Node, fields: Fields, problems: Problems) -> None:
    """Report a problem unless `version` is there, and is the one that this program knows."""
    version = fields.get("version")
    if version is None:
        problems.add(root, "`version` is missing", "begin the file with `version: 1`")
    elif not (isinstance(version, Scalar) and version.is_plain and version.text == VERSION):
        problems.add(version, "not a version that this program knows", "write `version: 1`")


def read_choice(node: Node, key: str, known: tuple[str, ...], problems: Problems) -> str | None:
    """Return one of the words `known`; None, with a problem reported, for anything else."""
    if not isinstance(node, Scalar):
        wrong_kind(node, f"`{key}`", " or ".join(known), problems)
        return None
    if node.text not in known:
        near = get_close_matches(node.text[:_COMPARED_MAX], known, n=1)
        fix = f"did you mean `{near[0]}`?" if near else f"write {' or '.join(known)}"
        problems.add(node, f"`{key}` can't be {shown(node.text)}", fix)
        return None
    return node.text


def read_text(node: Scalar, parse: Callable[[str], _T], problems: Problems) -> _T | None:
    """Return what `parse` makes of the text; None, with a problem reported, if it raises InvalidTextError."""
    try:
        return parse(node.text)
    except InvalidTextError as error:
        problems.add(node, error.what, error.fix)
        return None


def wrong_kind(node: Node, what: str, expected: str, problems: Problems) -> None:
    """Report the problem that `what` is empty, or of another kind than `expected`."""
    told = "is empty" if is_empty(node) else f"can't be {_KINDS[type(node)]}"
    problems.add(node, f"{what} {told}", f"it is {expected}")


def is_empty(node: Node) -> bool:
    """Whether there is no value, or one that means nothing: `~` or `null`."""
    return isinstance(node, Scalar) and node.is_plain and node.text in _EMPTY
