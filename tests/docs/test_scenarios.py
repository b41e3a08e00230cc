"""docs/scenarios.md names tests that there are."""

from __future__ import annotations

import ast
import re

import pytest

from tests.checkout import ROOT

_TEXT = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
_ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in _TEXT.splitlines()
    if re.match(r"\| \d+ \|", line)
]
_NAMED = sorted(set(re.findall(r"`([a-z/_]+\.py::[^`]+)`", _TEXT)))
_NO_TEST = "none: "


def test_each_scenario_has_tests_without_a_policy_and_under_one_or_says_why_not() -> None:
    assert [int(row[0]) for row in _ROWS] == list(range(1, 28))
    assert [row[0] for row in _ROWS if len(row) != 6] == []
    assert [row[0] for row in _ROWS if ".py::" not in row[3] and not row[3].startswith(_NO_TEST)] == []
    assert [row[0] for row in _ROWS if ".py::" not in row[4]] == []


@pytest.mark.parametrize("named", _NAMED)
def test_a_test_that_is_named_is_there(named: str) -> None:
    path, name = named.split("::")
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
