"""Paths and names on pages lead to what they say: a tour through code that has moved leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.docs import tree
from tests.docs.pages import DOCS, PAGES, fences, quoted

_START = r"(?<![\w./~$@{}<>*:=-])"
_FILE = re.compile(rf"{_START}\w[\w.-]*(?:/[\w.-]+)*\.(?:py|h|c|mjs|js|sh|jinja)\b(?![\w/*])")
_FOLDER = re.compile(rf"{_START}\w[\w.-]*(?:/[\w.-]+)*/(?![\w.*{{$<])")
_PATH = re.compile(rf"{_START}(\w[\w-]*)/[\w./-]*\w")
_TEST = re.compile(r"(?<![\w/])test_\w+(?!\w*\.\w)")
_MEMBER = re.compile(r"([A-Z]\w*[a-z]\w*)\.(\w+)(?:\(\))?")

_FILES_OF_OTHERS = {"app.py", "build.sh", "ci.sh", "console.sh", "install.py", "manage.py", "wlst.sh"}
"""Of builds in examples, of other programs, and not of the project."""
_FOLDERS_OF_OTHERS = {"artifacts/", "build/", "dist/", "objects/", "runs/", "s/"}
"""Made by commands of the manual, and no folders at all: `s/` is a unit."""
_NO_CLASSES = {"Runner.Worker"}
_NOT_DEFINED = {
    "_bpf": "a folder in a wheel",
    "json": "a library that the module uses",
    "moved": "a value, of an attribute",
    "psutil": "a library that nothing else may import",
}
"""What pages have beside a file that doesn't define it."""

_NAMES = r"(?P<names>(?:`\w[\w.]*`(?:,\s|\sand\s|\sor\s)?)+)"
_CODE = r"`(?P<file>[\w./-]+\.(?:py|c|h|sh))`"
_BESIDE = (
    re.compile(rf"{_NAMES}\sin\s{_CODE}"),
    re.compile(rf"{_NAMES}\s\({_CODE}"),
    re.compile(rf"{_CODE}\s\({_NAMES}"),
    re.compile(rf"{_CODE}:\s{_NAMES}"),
)

PICTURE = (DOCS / "architecture.md", fences(DOCS / "architecture.md")[0][1])
"""Names in it stand below those of their rooms: test_architecture.py."""

each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def code(path: Path) -> list[str]:
    """What the page has between backticks, in tables, too, and in blocks."""
    return [*quoted(path), *(text for _, text in fences(path) if (path, text) != PICTURE)]


@each_page
def test_a_file_that_a_page_names_is_there_and_is_one_only(path: Path) -> None:
    named = {found for text in code(path) for found in _FILE.findall(text)}
    assert {text for text in named if tree.file(text) is None} <= _FILES_OF_OTHERS


@each_page
def test_a_folder_that_a_page_names_holds_files_and_is_one_only(path: Path) -> None:
    named = {found for text in code(path) for found in _FOLDER.findall(text)}
    wrong = {text for text in named if tree.folder(text) is None} - _FOLDERS_OF_OTHERS
    assert {text for text in wrong if not text.startswith("ci-egress/")} == set(), "that is made in jobs"


@each_page
def test_a_path_from_the_root_or_from_exporter_is_there_whatever_its_end(path: Path) -> None:
    top = {name.split("/")[0] for name in tree.folders()} - {".github"}
    matches = [match for text in code(path) for match in _PATH.finditer(text)]
    named = {
        match[0] for match in matches if match[1] in top or (match[1] in tree.rooms() and "." in match[0])
    }
    assert {text for text in named if tree.file(text) is None and tree.folder(text) is None} == set()


@each_page
def test_a_test_or_a_member_of_a_class_that_a_page_names_is_there(path: Path) -> None:
    tests = {found for text in quoted(path) for found in _TEST.findall(text)}
    assert tests <= tree.tests()
    named = [match for text in quoted(path) if (match := _MEMBER.fullmatch(text))]
    assert {match[0] for match in named if match[2] not in tree.members().get(match[1], ())} <= _NO_CLASSES


def beside(path: Path) -> set[tuple[str, str]]:
    """Files, and names that the page says are in them."""
    text = path.read_text(encoding="utf-8")
    found = [match for pattern in _BESIDE for match in pattern.finditer(text)]
    pairs = {(match["file"], name) for match in found for name in re.findall(r"`([\w.]+)`", match["names"])}
    return {(file, name) for file, name in pairs if tree.file(file) and not tree.file(name)}


@each_page
def test_a_name_that_a_page_has_beside_a_file_is_defined_there(path: Path) -> None:
    named = beside(path)
    missing = {(file, name) for file, name in named if not set(name.split(".")) <= tree.words(file)}
    assert {pair for pair in missing if pair[1] not in _NOT_DEFINED} == set()
    assert named or path.name not in ("CONTRIBUTING.md", "architecture.md")
