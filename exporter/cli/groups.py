"""Commands below a command: what is none of them gets the name that it's like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_COMPARED_MAX = 100
"""Characters; comparing takes their square."""


class Commands(click.Group):
    """Asks for its commands by name alone, so that they may be imported when they are called."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called. Raises UsageError where there is none of that name."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            from difflib import get_close_matches

            near = get_close_matches(name[:_COMPARED_MAX], self.list_commands(ctx), n=1)
            ctx.fail(f"No such command {name!r}" + (f", did you mean `{near[0]}`?" if near else "."))
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
