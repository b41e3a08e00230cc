"""Two ways to look at a program without any tracer: from the peer, and with strace."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .arrivals import Arrivals
    from .lab import Lab


def observe(lab: Lab, command: Sequence[str]) -> Arrivals:
    """Run a command that prints nothing but "ok"; return what came in at the peer."""
    with lab.watch() as watch:
        done = lab.run(command)
    assert (done.stdout, done.stderr, done.returncode) == ("ok\n", "", 0)
    return watch.arrivals


def strace(lab: Lab, calls: str, command: Sequence[str], log: Path) -> str:
    """Return what the processes of COMMAND called: a line a call, the thread's id in front."""
    done = lab.run(
        ["strace", "-f", "-qqq", "-o", str(log), "-e", "signal=none", "-e", f"trace={calls}", *command]
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return log.read_text()
