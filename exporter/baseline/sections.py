"""Find the section key of a policy's `jobs` that matches one task, and no other one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection

from exporter.common.text import printable
from exporter.policy.model import job_names

from .model import Task

_NO_NAMES = "a job without names can't be told from others"
_PIPELINE = "a section for its jobs without a task would be for those of all its tasks"
_SHARED = "a section for it would be for other tasks, too"
_SPECIAL = re.compile(r"[*?\[:]")
_TEXT_MAX = 120


class Patterns:
    """The keys for all tasks of a baseline."""

    def __init__(self, tasks: Collection[Task]) -> None:
        """`tasks` are all tasks of the baseline, each once."""
        self._known = Counter(name for task in tasks for name in job_names(*task))

    def of(self, task: Task) -> str | None:
        """Return the pattern that matches `task` and no other task of the baseline. None: there is none.

        A pattern is matched with the pipeline, whatever the task, and with pipeline/task. So there is none
        for jobs without a task where other jobs of their pipeline have one. Nor is there one for `a/b`, `c`
        where `a`, `b/c` exists, too.
        """
        literal = job_names(*task)[-1]
        if not literal or self._known[literal] > 1:
            return None
        return _SPECIAL.sub(r"[\g<0>]", literal)

    def why_not(self, task: Task) -> str:
        """Return why there is no pattern for `task`."""
        if not job_names(*task)[-1]:
            return _NO_NAMES
        return _PIPELINE if task.task is None else _SHARED


def shown_task(task: Task) -> str:
    """Return the task's names for people, as in `release, build`; harmless on a terminal."""
    names = [printable(name, limit=_TEXT_MAX) for name in task if name is not None]
    return ", ".join(names) or "jobs without names"
