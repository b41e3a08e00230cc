"""Manual pages: each command has one, and what reads such pages finds nothing wrong with them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import click
import pytest

from tools.manual import pages
from tools.reference.cli import commands

if TYPE_CHECKING:
    from pathlib import Path

PAGES = pages()


def shown(text: str, folder: Path) -> str:
    """As man(1) shows it, to a terminal of 100 columns. Fails when it has something to say about the page."""
    page = folder / "page.1"
    page.write_text(text)
    done = subprocess.run(
        ["man", "--warnings", "--local-file", "--encoding=UTF-8", page],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "100", "MAN_KEEP_FORMATTING": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_each_command_has_a_page() -> None:
    assert {*PAGES} == {f"{path.replace(' ', '-')}.1" for path in commands()}


@pytest.mark.parametrize("name", PAGES)
def test_man_and_mandoc_find_nothing_wrong(name: str, tmp_path: Path) -> None:
    assert shown(PAGES[name], tmp_path)
    linted = subprocess.run(
        ["mandoc", "-Tlint"], input=PAGES[name], capture_output=True, text=True, check=False
    )
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_what_the_help_has(name: str, tmp_path: Path) -> None:
    text = shown(PAGES[name], tmp_path)
    command = commands()[name.removesuffix(".1").replace("-", " ").replace("ci egress", "ci-egress")]
    words = text.split()
    assert words[words.index("NAME") + 1] == name.removesuffix(".1")
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert all(option in text for option in parameter.opts)
    if command.epilog:
        assert "\nEXIT STATUS\n" in text
    assert "\nEXAMPLES\n" in text
    assert "`" not in text


def test_a_line_of_an_example_stands_as_it_is_typed(tmp_path: Path) -> None:
    text = shown(PAGES["ci-egress-doctor.1"], tmp_path)
    assert "ci-egress doctor --json | jq -r '.checks[] | select(.ok | not).fix'\n" in text


def test_statuses_are_told_one_by_one(tmp_path: Path) -> None:
    text = shown(PAGES["ci-egress-run.1"], tmp_path)
    assert "\n       92     telemetry was lost and --strict was given.\n" in text
