"""`ci-egress completion`: complete command lines in a shell."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporter.common.console import write

if TYPE_CHECKING:
    from click.shell_completion import ShellComplete

SCRIPTS = Path(__file__).resolve().parents[1] / "completion"
"""The folder with the scripts that `ci-egress completion` prints and that packages install."""
FILES = {"bash": "ci-egress.bash", "zsh": "_ci-egress", "fish": "ci-egress.fish"}


@click.command("completion", epilog="Exit status: 0; 2 usage.")
@click.argument("shell", type=click.Choice(list(FILES)))
@click.option("--answer", "is_question", is_flag=True, hidden=True)
def command(*, shell: str, is_question: bool) -> int:
    """Print the script with which a shell completes commands, options, files, jobs and instances.

    The Debian package has installed it already.

    \b
    source <(ci-egress completion bash)         # in ~/.bashrc; for zsh likewise, in ~/.zshrc
    ci-egress completion bash > /etc/bash_completion.d/ci-egress
    ci-egress completion fish > ~/.config/fish/completions/ci-egress.fish
    """  # noqa: D301 - click wants a real backspace
    text = _answer(shell) if is_question else (SCRIPTS / FILES[shell]).read_text(encoding="utf-8")
    write(sys.stdout, text)
    return 0


def _answer(shell: str) -> str:
    """Return the completions of the words in COMP_WORDS, a line each; none if they make no sense."""
    from click.shell_completion import get_completion_class

    from . import cli

    if not {"COMP_WORDS", "COMP_CWORD"} <= os.environ.keys():
        return ""
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - FILES names none that click doesn't know
    return _lines(kind(cli, {}, "ci-egress", ""))


def _lines(shell: ShellComplete) -> str:
    try:
        words, incomplete = shell.get_completion_args()
        before = [word for word in words if word != "="]  # bash makes it a word of its own
        items = shell.get_completions(before, incomplete)
    except (click.ClickException, ValueError):
        return ""
    return "".join(f"{shell.format_completion(item)}\n" for item in items)
