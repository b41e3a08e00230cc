"""`ci-egress baseline`: learn what pipelines connect to from recorded runs, and make a policy of it."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporter.session.messages import warn

from .groups import Commands
from .options import DOCUMENT, FILE

if TYPE_CHECKING:
    from exporter.baseline.model import Baseline

_DIFFER_STATUS = 1
_LINES_MAX = 1000
"""The most lines of a difference that are printed; --json prints all of them."""
_MODULES = {"learn": "exporter.cli.baseline_learn", "show": "exporter.cli.baseline_show"}
"""Commands that have a module of their own, which is imported when they are called."""


class _Commands(Commands):
    def list_commands(self, _: click.Context) -> list[str]:
        """List the commands in the order in which a user comes to need them."""
        return [*_MODULES, *self.commands]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return the command called `name`, importing its module if it has one."""
        module = _MODULES.get(name)
        if module is None:
            return super().get_command(context, name)
        found: click.Command = getattr(importlib.import_module(module), name)
        return found


@click.group("baseline", cls=_Commands)
def command() -> None:
    """Learn what pipelines connect to, review it, and make a policy of it.

    \b
    ci-egress baseline learn runs/ --output baseline.yaml   # of what was traced into runs/
    ci-egress baseline show baseline.yaml runs/             # would enforcing have broken a run?
    ci-egress baseline diff before.yaml baseline.yaml
    ci-egress baseline export baseline.yaml --output policy.yaml
    """  # noqa: D301 - click wants a real backspace


@command.command(
    "diff",
    short_help="Say what NEW knows that OLD doesn't, and the other way round.",
    epilog="Exit status: 0 when both know the same, 1 when they differ, 2 when one of them is wrong.",
)
@click.argument("old", type=DOCUMENT)
@click.argument("new", type=DOCUMENT)
@click.option("--json", "as_json", is_flag=True, help='{"added", "removed", "changed", "folded"}.')
def diff(old: Path, new: Path, *, as_json: bool) -> int:
    """Say what NEW knows that OLD doesn't, and the other way round.

    A line each: `+` was added, `-` removed, `~` is known with other chains of processes, `*` is a wildcard in
    place of names. Dates and numbers of runs are no difference.

    \b
    ci-egress baseline diff before.yaml baseline.yaml
    ci-egress baseline diff before.yaml baseline.yaml --json | jq '.added | length'
    """  # noqa: D301 - click wants a real backspace
    from exporter.baseline.compare import compare, difference_fields, difference_lines
    from exporter.baseline.parse import load_baseline
    from exporter.common.console import print_lines
    from exporter.common.text import json_line

    difference = compare(load_baseline(old), load_baseline(new))
    if as_json:
        print_lines(json_line(difference_fields(difference)))
    else:
        print_lines(*_bounded(list(difference_lines(difference))))
    return 0 if difference.is_none else _DIFFER_STATUS


@command.command(
    "export",
    short_help="Make a policy that allows what FILE knows.",
    epilog="Exit status: 0; 2 when FILE is wrong or empty, or POLICY can't be written.",
)
@click.argument("file", type=DOCUMENT)
@click.option("--output", metavar="POLICY", type=FILE, help="Write it there instead of to stdout.")
def export(file: Path, output: Path | None) -> int:
    """Make a policy that allows what FILE knows: a section for each task, in mode `audit`.

    Which program connects is no part of it: the chains that were seen stand beside each rule, for a reviewer
    who wants to limit it to one of them. What the policy says otherwise than FILE is reported on stderr.

    \b
    ci-egress baseline export baseline.yaml --output policy.yaml
    ci-egress policy check policy.yaml
    """  # noqa: D301 - click wants a real backspace
    from exporter.baseline.export import as_policy
    from exporter.baseline.export import export as make
    from exporter.common.console import print_lines
    from exporter.common.documents.output import write_lines

    made = make(_known(file))
    as_policy(made)  # a policy that doesn't fit is an error here, not where it is enforced
    for what, counts in (
        ("allowed with every protocol and port, since no rule can name the protocol", made.wider),
        ("in no rule", made.left_out),
    ):
        _warn(what, counts)
    if output is None:
        print_lines(*made.lines)
    else:
        write_lines(output, made.lines)
    return 0


def _known(file: Path) -> Baseline:
    from exporter.baseline.parse import load_baseline
    from exporter.common.errors import UsageError

    baseline = load_baseline(file)
    if not baseline.entries:  # as a policy it would deny everything
        raise UsageError(f"{file} knows no destination", hint="learn it from runs that connect")
    return baseline


def _bounded(lines: list[str]) -> list[str]:
    more = len(lines) - _LINES_MAX
    return [*lines[:_LINES_MAX], f"… and {more:,} more"] if more > 0 else lines


def _warn(what: str, counts: Counter[str]) -> None:
    from exporter.common.text import counted

    for reason, count in counts.most_common():
        warn(f"{counted(count, 'entry', 'entries')} {what}: {reason}")
