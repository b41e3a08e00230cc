"""Keep a job from starving this process of shared resources: processor, memory, descriptors."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NICE = -10
"""The nice value of this process: about ten times the processor share of a usual one."""
_OOM_SCORE = Path("/proc/self/oom_score_adj")
_NEVER = "-1000"
"""The OOM score adjustment of a process that the kernel never kills to free memory."""


def go_first() -> None:
    """Give this process, and the threads that it makes from now on, resources before the job.

    A job that starts more processes than there are processors would starve this process, which reports on
    them; one that fills the memory with pages that belong to nobody would have it killed first. This process
    may use CPU time without limit, and as many descriptors as its hard limit allows: the caller's limits are
    meant for the job, and if this process reached them, the job would end, too. Settings for which it lacks
    the right (CAP_SYS_NICE, CAP_SYS_RESOURCE) stay as they are.

    COMMAND is forked before this is called, so it keeps the caller's settings.
    """
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    with suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # the hard limit is above what the machine allows now
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _set_oom_score(_NEVER)


@contextmanager
def as_others() -> Iterator[None]:
    """Give processes forked in the block the usual OOM score, so that they can be killed for memory.

    Without this, a process with the rights of the job's user could never be killed, and the job could hide in
    it. These processes can't lower the score again.
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
