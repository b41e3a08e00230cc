"""Warn of options of `run` that stand behind COMMAND: COMMAND gets them, and nothing else would say so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from exporter.common.text import printable
from exporter.session.messages import warn

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_OF_MANY_PROGRAMS = frozenset(
    {"--host", "--record", "--report", "--strict", "--summary", "--user", "--verbose", "-v"}
)
_WORTH_TELLING = frozenset({"--record", "--report", "--summary"})
"""Those of `_OF_MANY_PROGRAMS` that few programs have: mentioned if COMMAND fails, maybe because of them."""
_SEPARATOR = "--"


class CommandInFront(click.Command):
    """A command whose arguments are a COMMAND with arguments of its own, after `--` or not."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, and note in `ctx.meta` which options of this command COMMAND gets.

        Options under `misplaced` are hardly ones of COMMAND, too; options under `doubtful` may be.
        """
        given = list(args)
        left = super().parse_args(ctx, args)
        command: tuple[str, ...] = ctx.params.get("command") or ()
        is_separated = given[: len(given) - len(command)][-1:] == [_SEPARATOR]
        found = [] if is_separated else list(_misplaced(command[1:], self._own_options()))
        ctx.meta["misplaced"] = [name for name in found if name not in _OF_MANY_PROGRAMS]
        ctx.meta["doubtful"] = [name for name in found if name in _WORTH_TELLING]
        return left

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Complete this command's options; once COMMAND has begun, leave its completion to the shell."""
        if ctx.params.get("command"):
            return a_command(ctx, self.params[0], incomplete)
        return super().shell_complete(ctx, incomplete)

    def _own_options(self) -> frozenset[str]:
        return frozenset(name for each in self.params for name in each.opts)


def a_command(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return an item that makes the shell complete COMMAND: it knows programs and their arguments."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="command")]


def _misplaced(arguments: tuple[str, ...], options: frozenset[str]) -> Iterator[str]:
    for argument in arguments:
        if argument == _SEPARATOR:  # later arguments are for COMMAND beyond doubt
            return
        name = argument.partition("=")[0]
        if name in options:
            yield name


def warn_of_misplaced(command: tuple[str, ...]) -> None:
    """Warn of options that COMMAND gets and that may have been meant for this program."""
    if names := dict.fromkeys(click.get_current_context().meta["misplaced"]):
        program = printable(command[0])
        warn(
            f"{', '.join(names)} behind COMMAND: {program} gets that, ci-egress doesn't; put it before "
            f"COMMAND, or say that it is {program}'s: ci-egress run -- {program} …"
        )


def warn_of_doubtful(command: tuple[str, ...]) -> None:
    """Warn, once COMMAND has failed, of options it got that may have been meant for this program."""
    context = click.get_current_context(silent=True)
    if context and (names := dict.fromkeys(context.meta.get("doubtful", ()))):
        program, these = printable(command[0]), ", ".join(names)
        warn(
            f"{program} failed, which got {these}; if that was meant for ci-egress, put it before COMMAND: "
            f"ci-egress run {next(iter(names))} … -- {program} …"
        )
