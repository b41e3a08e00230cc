"""What a watch had no room to be told: made up for where it can be, and said."""

from __future__ import annotations

import time
from collections.abc import Callable

from exporter import wire
from exporter.clock import boot_ns
from exporter.events import HOST, Environment, Event, ProcessKey
from exporter.kernel.tracer import Tracer
from exporter.live import LiveSource, losses
from exporter.machine import MachineWatch
from exporter.pipeline import Pipeline
from exporter.procfs import environment_of
from exporter.watching import JOBS_MAX, JobWatch

_NEWS_S = 60.0


def read_environment(handle: Callable[[Event], None], process: ProcessKey, exec_id: int) -> None:
    """Hand over what `process` was executed with, as its `exec_id`th program, if /proc shows it."""
    if block := environment_of(process):
        handle(Environment(boot_ns(), process, exec_id, block, is_cut=False))


class Missed:
    """What the kernel had no room to tell."""

    def __init__(
        self,
        tracer: Tracer,
        source: LiveSource,
        pipeline: Pipeline,
        jobs: JobWatch | MachineWatch,
        handle: Callable[[Event], None],
    ) -> None:
        """Environments that are read late go to `handle`, whatever comes of the one before."""
        self._tracer, self._source = tracer, source
        self._handle = handle
        self._pipeline = pipeline
        self._jobs = jobs
        self._environments = 0
        self._told: list[str] = []
        self._next_s = 0.0

    def make_up(self) -> None:
        """Read the environments that got lost from /proc, of what is still there: a job may be among them.

        So it does of those that came to nothing here.
        """
        lost = self._tracer.counts().lost(wire.KIND_ENVIRONMENT) + self._source.failed_environments
        if lost > self._environments:
            self._environments = lost
            for program in self._pipeline.table.live({HOST}):
                exec_id = self._tracer.scopes.exec_id(program.process) or max(program.exec_id, 1)
                read_environment(self._handle, program.process, exec_id)

    def news(self) -> list[str]:
        """What there is to say of it now, a line each; nothing when it was said, or another one just was."""
        lines = self.all()
        if lines == self._told or time.monotonic() < self._next_s:
            return []
        self._told, self._next_s = lines, time.monotonic() + _NEWS_S
        return lines

    def all(self) -> list[str]:
        """All there is to say of it."""
        refused = self._tracer.scopes.refused
        unheld = f"{refused} programs of jobs found the kernel's table of them full: no policy holds for them"
        why = f"{JOBS_MAX} jobs ran already, or there was no room to hold it"
        turned_away = f"{self._jobs.turned_away} processes are of no job: {why}"
        told = [*([turned_away] if self._jobs.turned_away else []), *([unheld] if refused else [])]
        return [*losses(self._tracer), *told]
