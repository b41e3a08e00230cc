"""Files that pages name are there: a tour through code that has moved leads nowhere."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, quoted

_FILE = re.compile(r"\w[\w.-]*(?:/[\w.-]+)*\.(?:py|h|c|mjs|sh)")
_FOLDER = re.compile(
    r"(?:bpf|exporter|demo|tests|benchmarks|tools|deploy|dashboards|docs|action)(?:/[\w.-]+)*/"
)
_BESIDE = {"ci.sh", "build.sh", "install.py", "app.py"}
"""Of builds in examples, and not of the project."""


@cache
def files() -> frozenset[str]:
    folders = ("action", "benchmarks", "bpf", "demo", "deploy", "exporter", "tests", "tools")
    found = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return frozenset(str(path.relative_to(ROOT)) for path in found)


def is_there(named: str) -> bool:
    """Whether it is a file, or the end of a file's path."""
    return any(f"/{path}".endswith(f"/{named}") for path in files())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_that_a_page_names_is_there(path: Path) -> None:
    named = quoted(path)
    of_files = {text for text in named if _FILE.fullmatch(text)}
    assert {text for text in of_files if not is_there(text)} <= _BESIDE
    assert {text for text in named if _FOLDER.fullmatch(text) and not (ROOT / text).is_dir()} == set()


@cache
def hooks() -> dict[str, set[str]]:
    """Programs of the kernel's by their file, without what their names begin with: connect4, exec."""
    program = re.compile(r"^int (?:on|before|after)_(\w+)\(", re.MULTILINE)
    found = {path.name: set(program.findall(path.read_text())) for path in (ROOT / "bpf").glob("*.bpf.c")}
    return {name: programs for name, programs in found.items() if programs}


def spelled(hook: str) -> set[str]:
    """`connect4/6` stands for two."""
    stem = re.fullmatch(r"(\w+)4/6", hook)
    return {f"{stem[1]}4", f"{stem[1]}6"} if stem else {hook}


def test_the_picture_has_each_hook_beside_the_file_that_it_is_in() -> None:
    picture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[1]
    drawn = dict(re.findall(r"^ (\w+\.bpf\.c) +(.*?)  ", picture, re.MULTILINE))
    assert set(hooks()) <= set(drawn)
    named = {name: set().union(*map(spelled, re.findall(r"[\w/]+", told))) for name, told in drawn.items()}
    known = {hook for each in hooks().values() for hook in each if re.search(r"[\d_]", hook)}  # no mere word
    assert {"connect4", "sendmsg6", "sock_ops", "sock_release"} <= known & set().union(*named.values())
    assert {name: wrong for name in named if (wrong := named[name] & known - hooks().get(name, set()))} == {}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_hook_that_a_page_names_with_its_file_is_in_that(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    before = re.findall(r"`(?:bpf/)?(\w+\.bpf\.c)`[^`]*\(`(?:on|before|after)_(\w+)`\)", text)
    behind = re.findall(r"`(?:on|before|after)_(\w+)`[^`]*\(`(?:bpf/)?(\w+\.bpf\.c)`\)", text)
    named = [*before, *((file, hook) for hook, file in behind)]
    assert [(file, hook) for file, hook in named if hook not in hooks().get(file, ())] == []
    assert named or path.name not in ("CONTRIBUTING.md", "architecture.md")
