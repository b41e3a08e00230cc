"""Not starved by a job that shares limits with this process: processor, memory, descriptors."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NICE = -10
"""Ten times the share of a usual process."""
_OOM_SCORE = Path("/proc/self/oom_score_adj")
_NEVER = "-1000"
"""What the kernel never kills to have memory again."""


def go_first() -> None:
    """Let this process, with the threads that it makes from now on, have what it takes before the job's.

    A job that starts more processes than there are processors would starve whoever tells what they do; one
    that fills the memory in pages that belong to nobody would have it killed first. It may have as much CPU
    time as it takes, and as many descriptors as it may: a limit is meant for the job, whose end it would be,
    too. Without the right to something (CAP_SYS_NICE, CAP_SYS_RESOURCE) that stays as it is.

    COMMAND is forked before, so it has what the caller has.
    """
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    with suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # above what the machine gives anybody now
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _set_oom_score(_NEVER)


@contextmanager
def as_others() -> Iterator[None]:
    """What is forked in the block is killed for memory as soon as anybody, and can't ask for less.

    A process with the rights of the job's user would else be what the job can hide in.
    """
    before = _OOM_SCORE.read_text()
    _set_oom_score("0")
    try:
        yield
    finally:
        _set_oom_score(before)


def _set_oom_score(score: str) -> None:
    with suppress(OSError):
        _OOM_SCORE.write_text(score)
