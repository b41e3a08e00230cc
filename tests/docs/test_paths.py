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
