"""Processes that were just started, as /proc shows them."""

from __future__ import annotations

from pathlib import Path


def wait_until_executed(pid: int) -> None:
    """Wait until /proc has what a process was executed with: for a moment after Popen its exec goes on.

    Where its code begins is noted last, behind arguments and variables: start_code of proc_pid_stat(5).
    """
    while int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[23]) == 0:
        pass
