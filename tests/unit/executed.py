"""Processes that were just started, as /proc shows them."""

from __future__ import annotations

from pathlib import Path


def wait_until_executed(pid: int) -> None:
    """Wait until /proc has what a process was executed with: for a moment after Popen its exec goes on."""
    while not Path(f"/proc/{pid}/cmdline").read_bytes():
        pass
