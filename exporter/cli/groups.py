"""Groups of commands; an unknown command is answered with the name of a similar one."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_COMPARED_MAX = 100
"""The most characters of a name that are compared: the time for it grows with their square."""


class UnknownCommandError(click.UsageError):
    """There is no command of that name."""

    def __init__(self, name: str, near: str | None, ctx: click.Context) -> None:
        """`near` is the command that `name` is most like; None when it is like none."""
        super().__init__(f"No such command {name!r}" + (f", did you mean `{near}`?" if near else "."), ctx)
        self.name = name


def is_program(name: str) -> bool:
    """Whether PATH has a program called `name`, so that it may have been meant as COMMAND."""
    import shutil

    return shutil.which(name) is not None


def _near(name: str, names: list[str]) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(name[:_COMPARED_MAX], names, n=1)


class Commands(click.Group):
    """A group that asks for its commands by name alone, so that they can be imported when they are called."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called. Raises UnknownCommandError when there is none of that name."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            near = [] if is_program(name) else _near(name, self.list_commands(ctx))
            raise UnknownCommandError(name, near[0] if near else None, ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Return the commands and options that begin with `incomplete`.

        click would import every command for their help; `summaries` needn't.
        """
        from click.shell_completion import CompletionItem

        told = self.summaries(ctx)
        names = [name for name in told if name.startswith(incomplete)]
        commands = [CompletionItem(name, help=told[name]) for name in names]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def summaries(self, ctx: click.Context) -> dict[str, str]:
        """Return a line on each command, in the order of `list_commands`."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        return {name: found.get_short_help_str(100) for name, found in commands.items() if found}


_RUN = "ci-egress run"
_WITH_COMMANDS_OPTIONS = ("run", "watch", "enforce", "stop", "replay", "report", "doctor")
"""Commands whose options somebody may have put in front of the command, the likeliest first."""


def hint(error: click.ClickException, path: str, root: click.Group) -> str:
    """Return how to mend a command line; `path` is its beginning that was understood."""
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
