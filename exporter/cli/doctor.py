"""`ci-egress doctor`: what works on this machine."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from exporter.common.errors import CANNOT_TRACE_STATUS
from exporter.session.messages import warn

from .options import compile_option

if TYPE_CHECKING:
    from exporter.kernel.doctor import Check


@click.command(
    "doctor", epilog="Exit status: 0 when `ci-egress run` would work, 91 when it would end with that status."
)
@click.option(
    "--json", "as_json", is_flag=True, help='{"ok", "instead", "checks": [{"name", "ok", "lost", "fix"}]}.'
)
@compile_option
@click.option("-v", "--verbose", is_flag=True, help="Show also what the compiler and the kernel said.")
def command(*, as_json: bool, compiles: bool, verbose: bool) -> int:
    """Say what `ci-egress run` needs, whether it is here, what is lost without it, and how to get it.

    Needs no root to say what is missing. As root it loads, attaches and detaches every program, and mounts
    bpffs where it isn't mounted, all as `run` does. docs/kernels.md lists the kernels on which this works.

    \b
    ci-egress doctor
    ci-egress doctor --json | jq -r '.checks[] | select(.ok | not).fix'
    """  # noqa: D301 - click wants a real backspace
    from exporter.kernel.doctor import examine, would_work

    checks = examine(warn, compiles=compiles)
    if as_json:
        print(json.dumps(fields(checks)))  # noqa: T201 - it is what was asked for
    else:
        show(checks, verbose=verbose)
    return 0 if would_work(checks) else CANNOT_TRACE_STATUS


def fields(checks: list[Check]) -> dict[str, object]:
    """Return the checks as fields for scripts; `ok` at the top says the same as the exit status.

    It means that `run` would work, perhaps reporting less, so it can be true while a check isn't ok. `lost`
    and `fix` are null for a check that is ok; `instead` is null unless another way than `run` is needed.
    """
    from exporter.kernel.doctor import instead, would_work

    return {
        "ok": would_work(checks),
        "instead": instead(checks) or None,
        "checks": [
            {"name": check.name, "ok": check.ok, "lost": check.lost or None, "fix": check.fix or None}
            for check in checks
        ],
    }


def show(checks: list[Check], *, verbose: bool) -> None:
    """Print a line for each check: what was found, or what is lost without it and how to get it."""
    from rich.table import Table
    from rich.text import Text

    from exporter.common.console import printing
    from exporter.common.text import printable
    from exporter.kernel.doctor import instead, would_work

    table = Table.grid(padding=(0, 2, 0, 0))
    for check in checks:
        told = check.found if check.ok else f"{check.lost}; {check.fix}"
        table.add_row(check.name, Text(*_state(check)), Text(printable(told, limit=500)))
    with printing(sys.stdout) as console:
        console.print(table)
        if verbose:
            for check in checks:
                for line in check.detail.splitlines():
                    console.print(Text(line), soft_wrap=True)
        console.print(Text(_verdict(checks, works=would_work(checks))), soft_wrap=True)
        if other_way := instead(checks):
            console.print(Text(other_way), soft_wrap=True)


def _state(check: Check) -> tuple[str, str]:
    """Return the state of `check` in a word, and the word's colour on a terminal."""
    if check.ok:
        return "ok", "green"
    if not check.is_checked:
        return "not checked", "yellow"
    if not check.is_loss:
        return "left", "yellow"
    return ("missing", "red") if check.is_required else ("limited", "yellow")


def _verdict(checks: list[Check], *, works: bool) -> str:
    if not works:
        return "`ci-egress run` can't trace here"
    is_less = any(not check.ok and check.is_loss for check in checks)
    return f"`ci-egress run` works here{', and reports less than it could' if is_less else ''}"
