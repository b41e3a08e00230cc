"""Options of `run` that stand behind COMMAND, and so are COMMAND's: nothing else would tell."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from exporter.cli.messages import Messages
from exporter.text import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_OF_MANY_PROGRAMS = frozenset(
    {"--host", "--record", "--report", "--strict", "--summary", "--user", "--verbose", "-v"}
)
_SEPARATOR = "--"


class CommandInFront(click.Command):
    """One whose arguments are a COMMAND with its own, after `--` or not."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; `misplaced` in `ctx.meta` are options of this command that COMMAND gets."""
        given = list(args)
        left = super().parse_args(ctx, args)
        command: tuple[str, ...] = ctx.params.get("command") or ()
        is_separated = given[: len(given) - len(command)][-1:] == [_SEPARATOR]
        ctx.meta["misplaced"] = [] if is_separated else list(_misplaced(command[1:], self._own_options()))
        return left

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Options of this command, until COMMAND has begun: then it's for the shell to complete that."""
        if ctx.params.get("command"):
            return a_command(ctx, self.params[0], incomplete)
        return super().shell_complete(ctx, incomplete)

    def _own_options(self) -> frozenset[str]:
        return frozenset(name for each in self.params for name in each.opts) - _OF_MANY_PROGRAMS


def a_command(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Let the shell complete it: it knows programs, and what their arguments may be."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="command")]


def _misplaced(arguments: tuple[str, ...], options: frozenset[str]) -> Iterator[str]:
    for argument in arguments:
        if argument == _SEPARATOR:  # what follows is for COMMAND beyond doubt
            return
        name = argument.partition("=")[0]
        if name in options:
            yield name


def warn_of_misplaced(command: tuple[str, ...]) -> None:
    """Say which options COMMAND gets that may have been meant for this program."""
    if names := dict.fromkeys(click.get_current_context().meta["misplaced"]):
        program = printable(command[0])
        Messages.current().say(
            f"{', '.join(names)} behind COMMAND: {program} gets that, ci-egress doesn't; put it before "
            f"COMMAND, or say that it is {program}'s: ci-egress run -- {program} …",
            level=logging.WARNING,
        )
