"""What the FAQ quotes of the program's messages stands in the program."""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import pairwise

import pytest

from tests.checkout import ROOT
from tests.docs.pages import DOCS, fences

FAQ = DOCS / "faq.md"
TUTORIAL = DOCS / "tutorial.md"
_PREFIX = re.compile(r"^ci-egress: (?:error: |warning: )?")
_LEAST_LETTERS = 7
"""Of a text in the program: shorter ones would be found in anything."""
_PRINTED = "blocked: "
"""How a line begins that is put together of several texts: the tutorial prints one."""


def quoted() -> list[str]:
    """Each line that the page shows as printed."""
    shown = [text for language, text in fences(FAQ) if not language]
    lines = [_PREFIX.sub("", line) for text in shown for line in text.splitlines() if line]
    return [line.removesuffix(": …") for line in lines if not line.startswith(_PRINTED)]


@cache
def texts() -> list[re.Pattern[str]]:
    """What the program can say: its texts, with whatever is put into them."""
    found = []
    for path in (ROOT / "exporter").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts: list[ast.expr] = []
            if isinstance(node, ast.JoinedStr):
                parts = node.values
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = [node]
            fixed = [part.value for part in parts if isinstance(part, ast.Constant)]
            if len(re.findall(r"[A-Za-z]", "".join(map(str, fixed)))) >= _LEAST_LETTERS:
                found.append(re.compile("".join(_pattern(part) for part in parts)))
    return found


def _pattern(part: ast.expr) -> str:
    return re.escape(str(part.value)) if isinstance(part, ast.Constant) else "(.+)"


def is_said(text: str) -> bool:
    """Whether the program says it, or each of the pieces that are joined by semicolons."""
    if any(pattern.fullmatch(text) for pattern in texts()):
        return True
    cuts = [match.start() for match in re.finditer("; ", text)]
    return any(is_said(text[:cut]) and is_said(text[cut + 2 :]) for cut in cuts)


@pytest.mark.parametrize("line", quoted())
def test_a_message_that_the_faq_quotes_is_one_of_the_program(line: str) -> None:
    assert is_said(line)


def test_what_the_program_never_says_is_found() -> None:
    assert not is_said("cgroup v2 is missing; mount it")
    assert not is_said("Linux 5.10.0 is too old; buy a new machine")
    assert is_said("Linux 5.10.0 is too old; upgrade to Linux 5.15 or newer")


def test_a_line_that_the_faq_quotes_otherwise_is_one_that_the_tutorial_prints() -> None:
    assert _PRINTED in FAQ.read_text(encoding="utf-8")
    assert f"\nci-egress: {_PRINTED}" in TUTORIAL.read_text(encoding="utf-8")


def test_the_faq_is_about_what_breaks() -> None:
    text = FAQ.read_text(encoding="utf-8")
    for first, second in pairwise(("ci-egress doctor", "stop --all", "still denies", "Names aren't seen")):
        assert text.index(first) < text.index(second)
