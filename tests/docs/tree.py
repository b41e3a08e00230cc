"""The files and folders of the project, and the names that they define, for pages that speak of them."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING

from tests.checkout import ROOT, tracked

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "exporter/"
_OF_C = re.compile(r"^(?![\s/#*]).*", re.MULTILINE)
"""Lines of C that aren't indented: they define something, or say with which hook."""


@cache
def files() -> frozenset[str]:
    return frozenset(tracked(ROOT))


@cache
def folders() -> frozenset[str]:
    """Folders that hold a file: what else lies about, as a folder of compiled Python alone, doesn't."""
    parts = [path.split("/") for path in files()]
    return frozenset("/".join(part[:depth]) for part in parts for depth in range(1, len(part)))


@cache
def rooms() -> frozenset[str]:
    found = (re.fullmatch(rf"{PACKAGE}(\w+)/__init__\.py", path) for path in files())
    return frozenset(match[1] for match in found if match)


def meant(named: str, there: frozenset[str]) -> list[str]:
    """Return what a path on a page may mean of `there`, full from the root or from `exporter/`, or a tail."""
    full = [path for path in (named, PACKAGE + named) if path in there]
    return full[:1] or [path for path in there if path.endswith(f"/{named}")]


def file(named: str) -> str | None:
    """Return the file that a path on a page means, or None if that is none, or one of several."""
    found = meant(named, files())
    return found[0] if len(found) == 1 else None


def folder(named: str) -> str | None:
    """Return the folder that a path on a page means. A tail is first looked for in `exporter/`."""
    found = meant(named.rstrip("/"), folders())
    inside = [path for path in found if path.startswith(PACKAGE)]
    return (inside or found)[0] if len(inside or found) == 1 else None


@cache
def words(named: str) -> frozenset[str]:
    """Return the names that a file defines, in C and shell also those that a definition mentions."""
    path = file(named) or named
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".py"):
        return frozenset(_defined(ast.parse(text)))
    return frozenset(re.findall(r"\w+", "\n".join(_OF_C.findall(text))))


@cache
def members() -> dict[str, set[str]]:
    """Return what each class of the project has, by its name: methods, attributes, those of its bases."""
    own, bases = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for path in files():
        if not path.endswith(".py"):
            continue
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                own[node.name].update(_defined(node))
                bases[node.name].update(base.id for base in node.bases if isinstance(base, ast.Name))
    return {name: own[name].union(*(own[base] for base in bases[name] if base in own)) for name in own}


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


@cache
def tests() -> frozenset[str]:
    """Return the names of all tests."""
    modules = [path for path in files() if re.fullmatch(r"tests/.*\.py", path)]
    return frozenset(word for path in modules for word in words(path) if word.startswith("test_"))
