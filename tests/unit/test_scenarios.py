"""docs/scenarios.md names tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| \d+ \|", line)
]
_NAMED = sorted({test for row in _ROWS for test in re.findall(r"`([^`]+)`", row[-1])})


def test_each_scenario_has_a_row_and_a_test_unless_it_is_to_come() -> None:
    assert [int(row[0]) for row in _ROWS] == list(range(1, 26))
    assert [row[0] for row in _ROWS if len(row) != 5] == []
    assert [row[0] for row in _ROWS if (row[-1] == "") != (row[-2] == "to come")] == []


@pytest.mark.parametrize("named", _NAMED)
def test_a_test_that_is_named_is_there(named: str) -> None:
    path, name = named.split("::")
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
