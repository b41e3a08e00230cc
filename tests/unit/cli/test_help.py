"""The help of every command: it shows how the command is called, and what it shows is accepted."""

from __future__ import annotations

import re
import shlex
from inspect import cleandoc
from itertools import takewhile

import click
import pytest

from exporter.cli import cli
from tools.reference.cli import commands

COMMANDS = commands()
LEAVES = {path: command for path, command in COMMANDS.items() if not isinstance(command, click.Group)}
_OF_THE_SHELL = "|<>()&"


def examples(command: click.Command) -> list[str]:
    """Lines of the paragraphs that click leaves as they are."""
    paragraphs = re.split(r"\n\s*\n", cleandoc(command.help or ""))
    kept = [cleandoc(each.removeprefix("\b")) for each in paragraphs if each.startswith("\b")]
    return [line for each in kept for line in each.splitlines()]


def called(line: str) -> list[str]:
    """The arguments that an example gives to `ci-egress`, up to where what it prints goes."""
    words = shlex.shlex(line.partition(" # ")[0], posix=True, punctuation_chars=_OF_THE_SHELL)
    words.whitespace_split = True
    found = [*words]
    behind = found[found.index("ci-egress") + 1 :]
    return [*takewhile(lambda word: word[0] not in _OF_THE_SHELL, behind)]


EXAMPLES = [line for command in COMMANDS.values() for line in examples(command)]


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_shows_how_it_is_called(path: str) -> None:
    shown = [" ".join(["ci-egress", *called(line)]) for line in examples(COMMANDS[path])]
    assert any(f"{call} ".startswith(f"{path} ") for call in shown)


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_is_accepted(line: str) -> None:
    context = click.Context(cli, info_name="ci-egress")
    command: click.Command = cli
    arguments = called(line)
    while isinstance(command, click.Group):
        _, below, arguments = command.resolve_command(context, arguments)
        assert below is not None
        command, context = below, click.Context(below, parent=context)
    command.make_context(command.name, arguments, parent=context.parent)


@pytest.mark.parametrize("path", LEAVES)
def test_a_command_tells_its_exit_statuses(path: str) -> None:
    told = (LEAVES[path].epilog or "").partition("Exit status: ")[2]
    assert re.search(r"\b2\b", told) or path == "ci-egress doctor"


@pytest.mark.parametrize("path", COMMANDS)
def test_each_option_and_command_is_told_in_whole_sentences(path: str) -> None:
    command = COMMANDS[path]
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    assert all(option.help and option.help.endswith(".") for option in options)
    assert command.get_short_help_str(200).endswith(".")


def test_the_first_thing_that_is_shown_is_how_to_find_out_whether_it_works() -> None:
    context = click.Context(cli, info_name="ci-egress")
    assert called(examples(cli)[0]) == ["doctor"]
    assert cli.list_commands(context)[0] == "doctor"
