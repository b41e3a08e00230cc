"""Commands below a command: what is none of them gets the name that it's like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_COMPARED_MAX = 100
"""Characters; comparing takes their square."""


class UnknownCommandError(click.UsageError):
    """There is no command of that name."""

    def __init__(self, name: str, near: str | None, ctx: click.Context) -> None:
        """`near` is the one that it's like."""
        super().__init__(f"No such command {name!r}" + (f", did you mean `{near}`?" if near else "."), ctx)
        self.name = name


def is_program(name: str) -> bool:
    """Whether it may have been meant as COMMAND."""
    import shutil

    return shutil.which(name) is not None


def _near(name: str, names: list[str]) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(name[:_COMPARED_MAX], names, n=1)


class Commands(click.Group):
    """Asks for its commands by name alone, so that they may be imported when they are called."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called. Raises UnknownCommandError where there is none of that name."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            near = [] if is_program(name) else _near(name, self.list_commands(ctx))
            raise UnknownCommandError(name, near[0] if near else None, ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """The commands that begin so, which click would import, and the options."""
        from click.shell_completion import CompletionItem

        told = self.summaries(ctx)
        names = [name for name in told if name.startswith(incomplete)]
        commands = [CompletionItem(name, help=told[name]) for name in names]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def summaries(self, ctx: click.Context) -> dict[str, str]:
        """What each command does, in a line, in the order in which one meets them."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        return {name: found.get_short_help_str(100) for name, found in commands.items() if found}
