"""Make up for records for which the kernel had no room, and warn of losses that can't be made up for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from exporter.common.clock import boot_ns
from exporter.events import wire
from exporter.events.facts import Environment, Event, ProcessKey
from exporter.kernel.tracer import Tracer
from exporter.pipeline.procfs import environment_of
from exporter.session.feed import LiveSource, left_out, lost_records

from .job_finder import JobWatch
from .jobs_by_scope import JOBS_MAX
from .tenants import KEPT
from .whole_machine import MachineWatch

_NEWS_S = 60.0
_LOOK_S, _READ_S = 0.2, 0.005
"""Seconds between searches of all processes for lost environments, and seconds that one call reads them."""
LATE_MAX_BYTES = 32 << 20
"""The most bytes of environments that wait to be handed over.

Beyond that, no more are read until these are handed over; steps stay held meanwhile.
"""


def read_environment(
    handle: Callable[[Event], None], process: ProcessKey, exec_id: int, standing: int = 0, agent: int = 0
) -> None:
    """Read the environment of `process` from /proc and hand it to `handle`, if /proc shows it.

    `exec_id` is the number of its program. `standing` (wire.STANDING_*) and `agent`, the kind of agent that
    the process is below, are from the kernel's map of processes.
    """
    if block := environment_of(process):
        handle(_read(process, exec_id, block, standing, agent))


def _read(process: ProcessKey, exec_id: int, block: bytes, standing: int, agent: int) -> Environment:
    return Environment(boot_ns(), process, exec_id, block, False, standing, agent, is_from_proc=True)


def _shows_its_job(process: ProcessKey, proc: wire.ProcValue) -> bool:
    """Whether the job of `process` shows in its own environment, and not in that of a process above it."""
    return process == (proc.tgid, proc.born_ns) and proc.exec_id == proc.program


@dataclass
class _Round:
    """A round through all processes, the oldest first: searches that begin anew go on with it."""

    read_ns: int = 0
    """The latest start of the processes that this round has read; all older ones are read, too."""
    until_ns: int = 0
    """The latest start of the processes that this round is to read."""

    def go_on(
        self, found: list[tuple[ProcessKey, wire.ProcValue]]
    ) -> deque[tuple[ProcessKey, wire.ProcValue]]:
        """Return the processes among `found` that are still to be read, the youngest first in both."""
        if not any(self.read_ns < process.started_ns <= self.until_ns for process, _ in found):
            self.read_ns, self.until_ns = 0, found[0][0].started_ns if found else 0
        return deque(each for each in found if each[0].started_ns > self.read_ns)


class LostRecords:
    """A search for environments that the kernel had no room to report, and a report of all losses."""

    def __init__(
        self,
        tracer: Tracer,
        source: LiveSource,
        decide: Callable[[Environment], object],
        jobs: JobWatch | MachineWatch,
    ) -> None:
        """`decide` gets each environment that `make_up` reads, before `tell` hands it over."""
        self._tracer, self._source = tracer, source
        self._decide = decide
        self._jobs = jobs
        self._environments = 0
        self._unread: deque[tuple[ProcessKey, wire.ProcValue]] = deque()
        self._round = _Round()
        self._is_old_ones_turn = False
        self._look_s = 0.0
        self._late: list[Environment] = []
        self._late_bytes = 0
        self._told: list[str] = []
        self._next_s = 0.0

    def make_up(self) -> None:
        """Read lost environments from /proc, of processes that still run: one of them may be a job's root.

        The youngest and the oldest are read in turn, for `_READ_S`; the next calls read the rest. So a root
        that has just begun is read soon, and a root that waits is read however many others begin. A process
        is read only if its job shows in its own variables: a descendant's variables say nothing of the root.
        """
        lost = self._tracer.lost_environments() + self._source.failed_environments
        if lost > self._environments and time.monotonic() >= self._look_s:
            self._environments, self._look_s = lost, time.monotonic() + _LOOK_S
            self._unread = self._round.go_on(list(self._tracer.scopes.undecided()))
        until_s = time.monotonic() + _READ_S
        while self._late_bytes < LATE_MAX_BYTES and self._unread:
            process, proc = self._next()
            if _shows_its_job(process, proc) and (block := environment_of(process)):
                self._late_bytes += len(block)
                event = _read(process, proc.program, block, proc.standing, proc.agent)
                self._decide(event)
                self._late.append(event._replace(exec_id=proc.exec_id or 1))
            if time.monotonic() >= until_s:
                return

    def _next(self) -> tuple[ProcessKey, wire.ProcValue]:
        self._is_old_ones_turn = not self._is_old_ones_turn
        if not self._is_old_ones_turn:
            return self._unread.popleft()
        found = self._unread.pop()
        self._round.read_ns = found[0].started_ns
        return found

    def tell(self, handle: Callable[[Event], None]) -> None:
        """Hand the environments that were read to `handle`. Call it once earlier records are handled."""
        late, self._late, self._late_bytes = self._late, [], 0
        for event in late:
            handle(event)

    def news(self) -> list[str]:
        """Return the lines of `all` if they changed and the last ones are a minute old; else no lines.

        Programs that the kernel left out aren't among them: on some kernels, it always leaves out some.
        """
        lines = self._lost()
        if lines == self._told or time.monotonic() < self._next_s:
            return []
        self._told, self._next_s = lines, time.monotonic() + _NEWS_S
        return lines

    def all(self) -> list[str]:
        """Return a line about each kind of loss."""
        return [*self._lost(), *left_out(self._tracer)]

    def _lost(self) -> list[str]:
        refused = self._tracer.scopes.refused
        unheld = (
            f"{refused} programs of jobs found the kernel's table of them full: they are held to the "
            "strictest policy where one is enforced, else to none"
        )
        why = (
            f"{JOBS_MAX} jobs ran already, or half as many and {KEPT} from the same step or container, "
            "or there was no room to hold it"
        )
        turned_away = f"{self._jobs.turned_away} processes are of no job: {why}"
        told = [*([turned_away] if self._jobs.turned_away else []), *([unheld] if refused else [])]
        return [*lost_records(self._tracer), *told]
