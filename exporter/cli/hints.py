"""Hints for a command line that is wrong: what to type instead."""

from __future__ import annotations

import shlex

import click

from exporter.cli.groups import UnknownCommandError, is_program

_RUN = "ci-egress run"
_WITH_COMMANDS_OPTIONS = ("run", "watch", "enforce", "stop", "replay", "report", "doctor")
"""Commands whose options somebody may have put in front of the command, the likeliest first."""


def hint(error: click.ClickException, path: str, root: click.Group) -> str:
    """Return how to mend a command line of which `path` was understood."""
    shows = f"`{path} --help` shows how to use it"
    match error:
        case UnknownCommandError() if path == "ci-egress" and is_program(error.name):
            return f"to trace what it connects to: `{_RUN} -- {shlex.quote(error.name)} …`"
        case click.NoSuchOption() if path == "ci-egress" and (name := _owner(root, error.option_name)):
            return f"it stands behind the command: `ci-egress {name} {error.option_name} …`"
        case click.NoSuchOption() if _is_below(root, path, error.option_name):
            return f"it stands behind the command: `{path} COMMAND {error.option_name} …`"
        case click.NoSuchOption() if path == _RUN and not error.possibilities:
            return f"if it is COMMAND's, put `--` in front of COMMAND: `{_RUN} -- …`; else {shows}"
        case click.MissingParameter() if path == _RUN and not error.message:
            return f"say what to trace, as in `{_RUN} -- make test`"
    return shows


def _is_below(root: click.Group, path: str, option: str) -> bool:
    """Whether `path` is a group of commands, and one of them has the option."""
    _, *names = path.split()
    context = click.Context(root)
    command = root.get_command(context, names[0]) if len(names) == 1 else None
    if not isinstance(command, click.Group):
        return False
    below = (command.get_command(context, name) for name in command.list_commands(context))
    return any(found is not None and _has(found, option) for found in below)


def _owner(root: click.Group, option: str) -> str | None:
    """Return the first command that has the option; None when none has it."""
    context = click.Context(root)
    for name in _WITH_COMMANDS_OPTIONS:
        command = root.get_command(context, name)
        if command is not None and _has(command, option):
            return name
    return None


def _has(command: click.Command, option: str) -> bool:
    return any(option in each.opts for each in command.params)
