"""End the processes that are left of a job: the kernel's table has them, wherever they went."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from exporter.common.descriptors import closing_fd
from exporter.common.text import printable
from exporter.events.facts import ProcessKey
from exporter.kernel.libc import pidfd_open, pidfd_send_signal
from exporter.kernel.tracer import Tracer

LIMIT_S = 10.0
"""The most seconds for ending all processes of a job: it may make new ones faster than they are killed."""
_PAUSE_S = 0.005
_CHASE_S = 0.02
"""The seconds for which processes that keep forking are killed as each is found, before `meanwhile` is
called."""


class EndResult(NamedTuple):
    """The result of `end_scope`."""

    ended: list[str]
    """The processes that ended, each as `name (pid)`, in no order."""
    left: list[str]
    """The processes that are still running, each as in `ended`."""
    is_over: bool
    """Whether no process of the job is left. One that forks and exits all the time may be in neither list."""


def end_scope(
    tracer: Tracer,
    scope: int,
    meanwhile: Callable[[], object],
    goes_on: Callable[[ProcessKey], bool] = lambda _: False,
    limit_s: float = LIMIT_S,
) -> EndResult:
    """Kill every process of `scope`, also those made meanwhile, until none is left or `limit_s` is over.

    A process that may still turn out to be of `scope` counts as one of it. The programs must be attached:
    they keep the table of processes. `meanwhile` is called now and then. `goes_on` returns whether a process
    is spared.
    """
    met: dict[ProcessKey, str] = {}
    deadline_s = time.monotonic() + limit_s
    while True:
        made = tracer.processes.made(scope)
        found = [process for process in tracer.processes.live(scope) if _is_there(process)]
        is_all = tracer.processes.made(scope) == made
        meanwhile()
        live = [process for process in found if not goes_on(process)]
        is_over = not live and is_all
        if is_over or time.monotonic() >= deadline_s:
            break
        for process in live:
            name = _shown(process)
            if _kill(process, tracer):  # else it has ended by itself
                met.setdefault(process, name)
        if tracer.processes.made(scope) != made:
            _chase(tracer, scope, goes_on, met)
        time.sleep(_PAUSE_S)
    ended = [name for process, name in met.items() if process not in live]
    return EndResult(ended, [met.get(process) or _shown(process) for process in live], is_over)


def _chase(
    tracer: Tracer, scope: int, goes_on: Callable[[ProcessKey], bool], met: dict[ProcessKey, str]
) -> None:
    """Kill processes as each is found, since they are gone before a list of them is made.

    A process is added to `met` if the signal reached it.
    """
    for process in tracer.processes.meet(scope, _CHASE_S):
        if not goes_on(process) and _kill(process, tracer):
            met.setdefault(process, _shown(process))


def _kill(process: ProcessKey, tracer: Tracer) -> bool:
    """Kill a process; return whether it was still there."""
    try:
        descriptor = pidfd_open(process.pid)
    except OSError:
        return False
    # Suppressed: it ended meanwhile, or it is among the processes that are left.
    with closing_fd(descriptor), suppress(ProcessLookupError, PermissionError):
        if tracer.processes.is_live(process):  # still followed, so no other process has its pid
            pidfd_send_signal(descriptor, signal.SIGKILL)
            return True
    return False


def _is_there(process: ProcessKey) -> bool:
    return Path(f"/proc/{process.pid}").exists()


def _shown(process: ProcessKey) -> str:
    try:
        name = Path(f"/proc/{process.pid}/comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        name = "a process"
    return f"{printable(name)} ({process.pid})"
