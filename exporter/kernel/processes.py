"""The processes that the kernel's programs follow: how they come to be followed, and which of them live."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from exporter.common.bounded import readers
from exporter.events import wire
from exporter.events.facts import HOST, ProcessKey
from exporter.kernel.frames.packet_frames import Frames

from .bpf import U32, Map
from .maps.candidates import early_of, found_value, step_number
from .maps.fork_counts import Forks
from .maps.inheritance import Running, running
from .maps.procs import all_procs, is_there, proc_at, proc_of
from .maps.rings import Ring
from .maps.windows import Windows
from .scopes import Scopes

_TICK_NS = 10_000_000
"""The resolution in ns with which /proc shows when a process started."""


class FollowedProcesses:
    """The kernel's table of processes; each is followed as one of a scope."""

    def __init__(  # noqa: PLR0913 - all that has to know when a process is followed
        self,
        maps: Mapping[str, Map],
        scopes: Scopes,
        *,
        forks: Forks,
        windows: Windows,
        frames: Frames,
        lineage: Ring,
        is_adopted: bool,
        is_detached: Callable[[], bool],
    ) -> None:
        """`lineage` is the ring of forks and execs, by whose unread records `running` looks back.

        With `is_adopted` an exporter that ended has followed processes before. `is_detached` returns whether
        the programs are detached: then processes that end stay in the table.
        """
        self._maps = maps
        self._procs, self._strays, self._found_steps = maps["procs"], maps["strays"], maps["found_steps"]
        self._scopes, self._forks, self._windows, self._frames = scopes, forks, windows, frames
        self._lineage = lineage
        self._is_adopted = is_adopted
        self._follows_host = False
        self.is_detached = is_detached

    def follow(self, process: ProcessKey, scope: int) -> None:
        """Make `process` the root of the job `scope`: from now on it and its descendants are traced."""
        self._windows.follow(scope)
        self._forks.follow(scope)
        self._frames.arrived(process, scope)
        value = wire.PROC_VALUE.pack(process.started_ns, scope, *[0] * 15)
        self._procs.update(U32.pack(process.pid), value)

    def find(self, process: ProcessKey, standing: int = wire.STANDING_NONE, agent: int = 0) -> bool:
        """Follow `process`, which ran before the programs were attached, as one of no job.

        Only adds `standing` if it is followed already. Returns whether it has `standing` only from now on.
        Until `forget_found` is called, older children of a found process take their standing from it when
        they fork or execute.
        """
        if not self._follows_host:
            self._windows.follow(HOST)
            self._follows_host = True
        is_new = self._enter(process, found_value(process, standing, agent))
        met = self._met(process) if is_new else None  # after it was entered: programs use the entry now
        if met and standing != wire.STANDING_STEP:
            standing, agent = met.standing, met.agent
            self._stand(process.pid, standing, agent)
        if not standing:
            return False
        is_new = is_new or self._stand(process.pid, standing, agent)
        self._note_step(step_number(process), agent)  # after its standing is set: an agent itself is no step
        return is_new

    def _enter(self, process: ProcessKey, value: bytes) -> bool:
        """Enter `process` into the table, unless it is there; return whether it wasn't.

        An entry of an older process with its pid is replaced. That process ended before the programs were
        attached, so that nobody removed it.
        """
        key = U32.pack(process.pid)
        if self._procs.insert(key, value):
            return True
        entry = proc_at(self._procs, process.pid)
        is_left_over = entry is not None and entry.started_ns < process.started_ns - _TICK_NS
        if is_left_over:
            self._procs.update(key, value)
        return is_left_over

    def _met(self, process: ProcessKey) -> wire.ProcValue | None:
        """Return the entry that programs made when they met `process` earlier, if it has a standing.

        The parents of the process may have ended since: then /proc doesn't show any more what it is.
        """
        stray = proc_of(self._strays, process)
        return stray if stray and stray.standing else None

    def all_are_found(self) -> None:
        """Hold a process without a known ancestor as a step from now on.

        Call it after the last search, before the programs are attached: all processes that ran before are
        known then, so such a process can only be the last one of a chain that was made in between.
        """
        self._windows.know_everyone()

    def forget_found(self) -> None:
        """End what `find` began: processes that may still take their standing from a found one get it now."""
        found = dict(self._found_steps.items())
        for pid, proc in all_procs(self._procs) if found else ():
            agent = found.get(U32.pack(proc.early))
            if agent is not None and proc.standing in {wire.STANDING_NONE, wire.STANDING_MARKED}:
                self._stand(pid, wire.STANDING_STEP, U32.unpack(agent)[0])
        self._found_steps.clear()

    def _note_step(self, number: int, agent: int) -> None:
        with suppress(OSError):  # no room: then the next walk through /proc finds its children
            self._found_steps.update(U32.pack(number), U32.pack(agent))

    def _stand(self, pid: int, standing: int, agent: int) -> bool:
        """Set the standing of a process that is followed already; return whether it had another one.

        Such a process was made, or executed a program, while ci-egress began; or an earlier watch followed
        it. The standing that the kernel recorded takes precedence, since by /proc a step may look like an
        agent. But a process below an agent is none, whatever it executed before the kernel knew its place.
        """
        proc = proc_at(self._procs, pid)
        if not proc or proc.scope != HOST or proc.standing == standing:
            return False
        is_step = standing == wire.STANDING_STEP
        is_no_agent = is_step and proc.standing == wire.STANDING_AGENT and not self._is_adopted
        if is_step and proc.standing == wire.STANDING_MARKED:
            standing = wire.STANDING_MARKED_STEP
        elif proc.standing != wire.STANDING_NONE and not is_no_agent:
            return False
        if is_step and proc.early:
            self._note_step(proc.early, agent)
        process = ProcessKey(pid, proc.started_ns)
        early = proc.early if proc.standing == wire.STANDING_MARKED else early_of(process, standing)
        proc = proc._replace(standing=standing, agent=agent, early=early)
        self._procs.update(U32.pack(pid), wire.PROC_VALUE.pack(*proc))
        return True

    def know_steps(self, agents: Mapping[bytes, int], marks: Mapping[bytes, int]) -> None:
        """Treat children of `agents`, and processes that execute with `marks`, as possibly a job's.

        The number of an agent, or of a mark, identifies its CI system; 0: it isn't known.
        """
        for name, known in (("agents", agents), ("marks", marks)):
            for key, number in known.items():
                self._maps[name].update(key, U32.pack(number))
            for key in set(self._maps[name]) - known.keys():  # an earlier exporter entered them
                self._maps[name].delete(key)

    def running(self) -> Iterator[Running]:
        """Iterate over the processes that were followed when the oldest unread record came, oldest first."""
        return running(self._procs, self._lineage, self._scopes.scope_of)

    def live_pids(self, scope: int) -> list[int]:
        """Return the pids of the processes of `scope` that run now, whatever records were lost."""
        pids = sorted(process.pid for process in self.live(scope))
        # Once detached, nobody removes processes that end from the table.
        return [pid for pid in pids if not self.is_detached() or _runs(pid)]

    def live(self, scope: int) -> list[ProcessKey]:
        """Return the processes that are held as ones of `scope`, in no order, whatever records were lost.

        A process that was made meanwhile may be missing, along with the one that made it: see `made`.
        """
        found = all_procs(self._procs)
        return [
            ProcessKey(pid, proc.started_ns) for pid, proc in found if self._scopes.held_as(proc) == scope
        ]

    def made(self, scope: int) -> int:
        """Return how many processes `scope` has made. If none is made while none is found, none is left."""
        return self._forks.made(scope)

    def firsts_of_steps(self) -> dict[int, ProcessKey | None]:
        """Return the process that each step began with, by the step's number; None where it has ended.

        The result has all steps of which a process runs.
        """
        firsts: dict[int, ProcessKey | None] = {}
        for pid, proc in all_procs(self._procs):
            process = ProcessKey(pid, proc.started_ns)
            if proc.early == step_number(process):
                firsts[proc.early] = process
            else:
                firsts.setdefault(proc.early, None)
        return firsts

    def meet(self, scope: int, most_s: float) -> Iterator[ProcessKey]:
        """Iterate over the processes of `scope`, each as soon as it is found, for at most `most_s`.

        While processes come and go, the same one may come several times.
        """
        until_s = time.monotonic() + most_s
        for key in self._procs:
            pid = U32.unpack(key)[0]
            proc = proc_at(self._procs, pid)
            if proc and self._scopes.held_as(proc) == scope:
                yield ProcessKey(pid, proc.started_ns)
            if time.monotonic() >= until_s:
                return

    def forget_ended(self, pids: Collection[int], most_s: float) -> None:
        """Forget processes that have ended, of those that aren't among `pids`: their exits were missed.

        This takes no more than `most_s`; the next call goes on.
        """
        until_s = time.monotonic() + most_s
        for pid, proc in all_procs(self._procs):
            if pid not in pids and not is_there(pid):
                self._forget(ProcessKey(pid, proc.started_ns))
            if time.monotonic() >= until_s:
                return

    def _forget(self, process: ProcessKey) -> None:
        key = U32.pack(process.pid)
        taken = self._procs.take(key)
        if taken and wire.ProcValue.unpack(taken).started_ns != process.started_ns:
            self._procs.insert(key, taken)  # a new process has got the pid just now

    def is_live(self, process: ProcessKey) -> bool:
        """Whether `process` is followed, and has not ended."""
        return proc_of(self._procs, process) is not None

    def let_go_of_others(self, goes_on: Callable[[ProcessKey], bool]) -> None:
        """Follow only held processes and their children, since nobody reads the records of others any more.

        Steps that begin from now on are held to no policy, nor are processes of which `goes_on` is true.
        """
        self.know_steps({}, {})
        self._windows.follow_jobs_alone()
        others = [
            pid
            for pid, proc in all_procs(self._procs)
            if self._scopes.held_as(proc) == HOST or goes_on(ProcessKey(pid, proc.started_ns))
        ]
        for pid in others:  # not before all are known: `goes_on` looks at their ancestors
            self._procs.delete(U32.pack(pid))


def _runs(pid: int) -> bool:
    """Whether a process has `pid` and runs: a zombie has no executable any more."""
    try:
        readers().within(Path(f"/proc/{pid}/exe").readlink, about=pid)
    except (PermissionError, TimeoutError):
        return True
    except OSError:
        return False
    return True
