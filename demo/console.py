"""Helpers of both demos: a check of what they need, and a console of readable width."""

from __future__ import annotations

import os
import shutil

from rich.console import Console

from demo.job import CI_EGRESS
from exporter.common.errors import KernelError

INTERRUPTED_STATUS = 130
_WIDTH_MAX = 120


def check(target: str) -> None:
    """Raise KernelError, with what is missing, unless `make TARGET` has all that it needs."""
    if os.geteuid() != 0:
        raise KernelError(
            "the demo needs root, to load eBPF programs and make a network", hint=f"sudo make {target}"
        )
    missing = [program for program in (CI_EGRESS, "curl", "ip") if shutil.which(program) is None]
    if missing:
        raise KernelError(f"not installed: {', '.join(map(str, missing))}", hint="make setup")


def make_console() -> Console:
    """Make a console as wide as the terminal, but not too wide to be read."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = min(console.width, _WIDTH_MAX) if console.is_terminal else _WIDTH_MAX
    return console
