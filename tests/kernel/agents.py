"""Processes of a job that do, line by line, what a test tells them: for what takes several steps."""

from __future__ import annotations

import select
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exporter.events.facts import Acted, Aggregated, Event, ProcessKey

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence

    from exporter.policy.compile import Compiled

    from .kernel_side import KernelSide
    from .lab import Lab

PROGRAM = """
import ctypes, errno, os, select, socket, struct, sys

for line in sys.stdin:
    try:
        exec(line)
        print("ok", flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
"""
"""Answers each line of Python with `ok`, or with the name of its errno."""
COMMAND = (sys.executable, "-c", PROGRAM)
_ANSWER_LIMIT_S = 60.0


class Agent:
    """One of them."""

    def __init__(self, child: subprocess.Popen[str], process: ProcessKey) -> None:
        """`child` has pipes."""
        self._child = child
        self.process = process

    def do(self, *lines: str) -> str:
        """Have it run lines of Python; what came of the last one. All before it have to work."""
        *before, last = [self._one(line) for line in lines]
        assert set(before) <= {"ok"}, (lines, before)
        return last

    def value(self, expression: str) -> str:
        """What an expression is, as text."""
        text, _, done = self._one(f"print({expression}, end=' ')").rpartition(" ")
        assert done == "ok", expression
        return text

    def end(self) -> None:
        """Let it end."""
        self._child.communicate(timeout=_ANSWER_LIMIT_S)

    def _one(self, line: str) -> str:
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{line}\n")
        stdin.flush()
        assert select.select([stdout], [], [], _ANSWER_LIMIT_S)[0], "nothing came"
        return stdout.readline().rstrip("\n")


@contextmanager
def agent(
    kernel: KernelSide, lab: Lab, policy: Compiled | None, *, under: Sequence[str] = ()
) -> Iterator[Agent]:
    """One on the lab's build side, as a job of its own; `under` is a command that starts it."""
    with kernel.beginning(lab, [*under, *COMMAND], policy) as (child, process):
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
        doer = Agent(child, process)
        assert doer.do("pass") == "ok"
        yield doer
        doer.end()


def acts(events: Sequence[Event], process: ProcessKey) -> list[Acted | Aggregated]:
    """Those of one process."""
    return [event for event in events if isinstance(event, Acted | Aggregated) and event.process == process]


GONE = {"ECONNRESET", "ENOTCONN", "EPIPE", "ECONNABORTED", "EDESTADDRREQ", "the end"}
