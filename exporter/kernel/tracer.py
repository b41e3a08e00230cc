"""The kernel's programs while they run, as seen through their pinned maps and links."""

from __future__ import annotations

import math
import select
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path

from exporter.events import wire
from exporter.events.facts import HOST, ProcessKey
from exporter.kernel.bpf import Map
from exporter.kernel.frames.frames import Frames
from exporter.kernel.locks import changing_modes
from exporter.kernel.maps.candidates import early_of, found_value, step_number
from exporter.kernel.maps.executables import Executables
from exporter.kernel.maps.fork_counts import Forks
from exporter.kernel.maps.grants import Grants
from exporter.kernel.maps.inheritance import Inherited, Running, inherited, running, total
from exporter.kernel.maps.policies import Policies
from exporter.kernel.maps.queries import Queries
from exporter.kernel.maps.registry import JobMode, Registered, Registry
from exporter.kernel.maps.resolvers import trust_units
from exporter.kernel.maps.rings import Drained, Handler, Ring, drain
from exporter.kernel.maps.windows import Coverage, Windows
from exporter.kernel.programs.attachment import DETACHED, REPLACED, UNPINNED, HeldLinks
from exporter.kernel.scopes import Scopes

from .dropped_connections import Left, abort
from .pins import leave, remove

RINGS = ("lineage", "first", "lookups", "events", "environments")
"""The rings in an order: what is on a later one follows from what is on an earlier one."""
PINNED_MAPS = [
    *RINGS,
    *("procs", "forks", "candidates", "found_steps", "agents", "marks", "late_resolvers"),
    *("counters", "config"),
    *("flows_even", "flows_odd", "slots", "free_slots", "others", "others_told", "open_connects", "account"),
    *("queries", "queries_noted", "queries_expired"),
    *("policy", "policies", "alternatives", "names", "rule_ports", "modes", "exe_bits", "exe_names", "jobs"),
    *("granted", "grants_made", "grants_ended", "later", "packets", "resolver_units"),
    *("questions", "further_names", "kept_back"),
]
_KEY = struct.Struct("=I")
_START = struct.Struct("=Q")


class Counts:
    """What the kernel counted so far, by kind of record (wire.KIND_*)."""

    def __init__(self, values: list[int]) -> None:
        """`values` in the order of the counters map."""
        self._values = values

    def seen(self, kind: int) -> int:
        """How often an event of this kind happened in a job."""
        return self._values[kind * wire.COUNTS + wire.COUNT_SEEN]

    def lost(self, kind: int) -> int:
        """How often the ring had no room for a record of this kind."""
        return self._values[kind * wire.COUNTS + wire.COUNT_LOST]

    def untracked(self) -> int:
        """The processes without room in the table of processes: their scope is found by their ancestors."""
        return self._values[wire.KIND_FORK * wire.COUNTS + wire.COUNT_UNTRACKED]

    def unmetered(self) -> int:
        """How often there was no room to count the bytes of a datagram."""
        return self._values[wire.KIND_BYTES * wire.COUNTS + wire.COUNT_UNTRACKED]

    def ungranted(self) -> int:
        """The addresses that rules for names would have granted, and for which there was no room."""
        return self._values[wire.KIND_DNS * wire.COUNTS + wire.COUNT_UNGRANTED]


class Tracer:
    """One instance's maps and rings; its programs run until `detach`."""

    def __init__(
        self,
        directory: Path,
        stack: ExitStack,
        coverage: Coverage,
        unpinned: Mapping[str, int] | None = None,
        *,
        is_adopted: bool = False,
    ) -> None:
        """Open what is pinned in `directory`; `stack` closes it again.

        `unpinned` are the links by their programs' names, where the programs are to end with this process:
        then no link is pinned. With `is_adopted` an exporter that ended has used this instance before.
        """
        self.directory = directory
        """Where the pins are."""
        self.is_adopted = is_adopted
        self._outlives = unpinned is None
        self._goes_on = self._is_detached = False
        self.left = Left()
        """The connections of which packets were dropped, and that `detach` couldn't abort."""
        self._noted = b""
        opened = {name: stack.enter_context(closing(Map(directory / f"map_{name}"))) for name in PINNED_MAPS}
        self.maps: Mapping[str, Map] = opened
        self._procs, self._counters = opened["procs"], opened["counters"]
        trust_units(opened["resolver_units"])
        self.frames = stack.enter_context(closing(Frames(directory, opened, outlives=unpinned is None)))
        self._queries, self._forks = Queries(opened), Forks(opened["forks"])
        self._modes = opened["modes"]
        self._registry = Registry(opened["jobs"], partial(changing_modes, directory))
        self._policies, self._grants = Policies(opened, self._registry), Grants(opened)
        self._held = stack.enter_context(closing(HeldLinks(directory, unpinned or {})))
        self._windows = stack.enter_context(closing(Windows(opened, coverage, goes_on=is_adopted)))
        parts = (self._policies, self._grants, self._queries, self._forks, self._windows, self.frames)
        self.scopes = Scopes(opened, *parts)
        self._urgent = select.poll()
        if coverage.reads_environments:
            self._urgent.register(opened["environments"].fileno(), select.POLLIN)
        self._rings = [
            stack.enter_context(closing(Ring(opened[name].fileno(), opened[name].max_entries)))
            for name in RINGS
            if name != "environments" or coverage.reads_environments
        ]
        self._environments = self._rings[-1] if coverage.reads_environments else None
        self.before = inherited(opened, self._rings, self._windows) if is_adopted else Inherited()
        """What earlier exporters did with the attempts that the kernel counted."""

    @property
    def window(self) -> int:
        """The number of the current window for acts that are only counted."""
        return self._windows.number

    def follow(self, process: ProcessKey, scope: int, held: int = 0) -> None:
        """Make `process` the root of the job `scope`: from now on it and its descendants are traced.

        `held` is the mask from `executables.held_by`, for a process whose execs weren't seen.
        """
        self._windows.follow(scope)
        self._forks.follow(scope)
        self.frames.arrived(process, scope)
        value = wire.PROC_VALUE.pack(process.started_ns, scope, *[0] * 5, held, *[0] * 7)
        self._procs.update(_KEY.pack(process.pid), value)

    def find(self, process: ProcessKey, standing: int = wire.STANDING_NONE, agent: int = 0) -> bool:
        """Follow `process`, which was there before the programs, as one of no job, unless it is followed.

        Returns whether it has `standing` only from now on. Until `forget_found` is called, what it, or
        another process that is found, had made before takes its standing from it when it forks or executes.
        """
        self._windows.follow(HOST)
        key = _KEY.pack(process.pid)
        is_new = self._procs.insert(key, found_value(process, standing, agent))
        if not standing:
            return False
        is_new = is_new or self._stand(key, standing, agent)
        self._note_step(step_number(process), agent)  # not before: an agent itself is no step
        return is_new

    def forget_found(self) -> None:
        """Have nobody take a standing any more from those that were found."""
        self.maps["found_steps"].clear()

    def _note_step(self, number: int, agent: int) -> None:
        with suppress(OSError):  # no room: then the next walk through /proc finds what it made
            self.maps["found_steps"].update(_KEY.pack(number), _KEY.pack(agent))

    def _stand(self, key: bytes, standing: int, agent: int) -> bool:
        """Set the standing of a process that is followed already; return whether it had another one.

        It was made, or executed something, while ci-egress began, or an earlier watch followed it. What the
        kernel saw of it comes first: by /proc a step may look like an agent. But below an agent nobody is
        one, whatever it executed before the kernel knew where it is.
        """
        value = self._procs.lookup(key)
        proc = value and wire.ProcValue.unpack(value)
        if not proc or proc.scope != HOST:
            return False
        is_step = standing == wire.STANDING_STEP
        is_no_agent = is_step and proc.standing == wire.STANDING_AGENT and not self.is_adopted
        if is_step and proc.standing == wire.STANDING_MARKED:
            standing = wire.STANDING_MARKED_STEP
        elif proc.standing != wire.STANDING_NONE and not is_no_agent:
            return False
        if is_step and proc.early:
            self._note_step(proc.early, agent)
        process = ProcessKey(_KEY.unpack(key)[0], proc.started_ns)
        early = proc.early if proc.standing == wire.STANDING_MARKED else early_of(process, standing)
        proc = proc._replace(standing=standing, agent=agent, early=early)
        self._procs.update(key, wire.PROC_VALUE.pack(*proc))
        return True

    def know_steps(self, agents: Mapping[bytes, int], marks: Mapping[bytes, int]) -> None:
        """Treat what `agents` make, and what executes with `marks`, as possibly a job's from now on.

        The number of an agent, or of a mark, says of which system it is; 0: nobody knows.
        """
        for name, known in (("agents", agents), ("marks", marks)):
            for key, number in known.items():
                self.maps[name].update(key, _KEY.pack(number))
            for key in set(self.maps[name]) - known.keys():  # an earlier exporter entered it
                self.maps[name].delete(key)

    def hold_undecided(self, scope: int) -> None:
        """Hold what may be a job's to the policy of `scope` until its job is known; 0: to none."""
        self._windows.hold_undecided(scope)
        self.frames.undecided = scope

    @property
    def executables(self) -> Executables:
        """The executables that the policies name."""
        return self._policies.executables

    def sleep(self, most_s: float) -> None:
        """Sleep for `most_s`; where there are policies, only until a process of no job executes something."""
        self._urgent.poll(most_s * 1000)

    def register(self, scope: int, job: Registered) -> None:
        """Publish the job of `scope` to other processes: before a policy holds it, and at each change."""
        self._registry.enter(scope, job)

    def unregister(self, scope: int) -> None:
        """Remove the job of `scope`, which is over, from what other processes see."""
        self._registry.leave(scope)

    def registered(self, scope: int) -> Registered | None:
        """Return the job of `scope` as other processes see it, with the mode that somebody chose."""
        return self._registry.of(scope)

    def stopped_by(self) -> int | None:
        """Return the uid of the user who stopped this instance; None: nobody did."""
        return self._registry.stopped_by()

    def jobs(self) -> Mapping[int, Registered | None]:
        """Return the jobs of an adopted instance by scope; None for a scope whose job wasn't registered."""
        told: dict[int, Registered | None] = dict(self._registry)
        running = (process.scope for process in self.running())
        return {**dict.fromkeys((*self.scopes.held(), *running)), **told}

    def running(self) -> Iterator[Running]:
        """Iterate over the processes that were followed when the oldest unread record came, oldest first."""
        return running(self._procs, self._rings[0], self.scopes.scope_of)

    def note(self, settled: int) -> None:
        """Note, in case this process is killed, how many attempts it has reported or given up."""
        lost = total(self._counters, wire.KIND_ACT * wire.COUNTS + wire.COUNT_LOST)
        value = wire.ACCOUNT_VALUE.pack(self.before.settled + settled, lost)
        if value != self._noted:
            self._noted = value
            self.maps["account"].update(_KEY.pack(0), value)

    def mode(self, scope: int) -> JobMode:
        """Return the mode that the kernel applies to `scope` now."""
        return mode_of(self._modes.lookup(_KEY.pack(scope)))

    def denies(self) -> bool:
        """Whether any policy is enforced."""
        return any(mode_of(value) is JobMode.ENFORCE for _, value in self._modes.items())

    def is_attached(self) -> bool:
        """Whether all programs are where they were attached, as of now."""
        lost = self._held.lost()
        return not self._is_detached and not lost[DETACHED] and not lost[REPLACED]

    def drain(self, handle: Handler, *, limit: int, most_s: float = math.inf) -> Drained:
        """Hand the finished records to `handle`: at most `limit`, none but one after `most_s`.

        Aggregate records of what the kernel only counted come once there are no others.
        """
        drained = drain(self._rings, handle, limit=limit, most_s=most_s)
        if drained.is_all:
            self._windows.turn(handle)
            self._queries.turn()
            self._grants.turn(self._windows.number)
        return drained

    def caught_up(self) -> Callable[[], bool]:
        """Return a function that tells whether all that waits now has been handed over."""
        until = [ring.produced for ring in self._rings]
        return lambda: all(ring.handed >= position for ring, position in zip(self._rings, until, strict=True))

    def take_environments(self, handle: Handler, *, most_s: float) -> None:
        """Hand over the environments that processes of no job executed with since the last call.

        After `most_s` none but one is handed over. `drain` hands them over once more, in order.
        """
        if self._environments is not None:
            self._environments.take_early(handle, most_s=most_s)

    def lost_environments(self) -> int:
        """Return how many environments found no room so far."""
        return total(self._counters, wire.KIND_ENVIRONMENT * wire.COUNTS + wire.COUNT_LOST)

    def has_counted_open(self) -> bool:
        """Whether there are connects that were only counted and whose outcome isn't known yet."""
        return self._windows.has_open()

    def counts(self) -> Counts:
        """Return what the kernel counted, summed up over all CPUs."""
        return Counts([total(self._counters, index) for index in range(wire.KINDS * wire.COUNTS)])

    def lost(self) -> Mapping[str, frozenset[str]]:
        """Return the names of programs and pins that aren't as they were, by what happened to them."""
        found = dict(self._held.lost())
        found[UNPINNED] |= self.frames.unpinned()
        return found

    @property
    def name(self) -> str:
        """The instance's id."""
        return self.directory.name

    def live_pids(self, scope: int) -> list[int]:
        """Return the pids of the processes of `scope` that run now, whatever records were lost."""
        pids = sorted(process.pid for process in self.live(scope))
        # Once detached, nobody removes processes that end from the table.
        return [pid for pid in pids if not self._is_detached or _runs(pid)]

    def live(self, scope: int) -> list[ProcessKey]:
        """Return the processes that are held as those of `scope`, in no order, whatever records were lost.

        One that was made meanwhile may be missing, along with the one that made it: see `made`.
        """
        return [found for key, value in self._procs.items() if (found := self._member(key, value, scope))]

    def made(self, scope: int) -> int:
        """Return how many processes `scope` has made. If that stays while none is found, none is left."""
        return self._forks.made(scope)

    def meet(self, scope: int, most_s: float) -> Iterator[ProcessKey]:
        """Iterate over the processes of `scope`, each as soon as it is found, for at most `most_s`.

        While processes come and go, the same one may come several times.
        """
        until_s = time.monotonic() + most_s
        for key in self._procs:
            value = self._procs.lookup(key)
            if value and (found := self._member(key, value, scope)):
                yield found
            if time.monotonic() >= until_s:
                return

    def is_live(self, process: ProcessKey) -> bool:
        """Whether `process` is followed, and has not ended."""
        value = self._procs.lookup(_KEY.pack(process.pid))
        return value is not None and _START.unpack_from(value)[0] == process.started_ns

    def detach(self) -> None:
        """Stop tracing, unless it is to go on. The rings and the counts can still be read."""
        if self._goes_on:
            self.frames.close()
            self._held.close()
            leave(self.directory)
            return
        if not self._is_detached:
            self.left = abort(self.maps["kept_back"], self._counters)  # first: nothing drops theirs any more
        self._is_detached = True
        self.frames.detach()
        self._held.detach()
        remove(self.directory)

    def let_go_of_others(self, goes_on: Callable[[ProcessKey], bool]) -> None:
        """Follow only those that are held, and what they make, since nobody takes in any more what others do.

        Whatever begins from now on is held to nothing; likewise those of which `goes_on` is true.
        """
        self.know_steps({}, {})
        self._windows.follow_jobs_alone()
        others = []
        for key, value in self._procs.items():
            proc = wire.ProcValue.unpack(value)
            process = ProcessKey(_KEY.unpack(key)[0], proc.started_ns)
            if self.scopes.held_as(proc) == HOST or goes_on(process):
                others.append(key)
        for key in others:  # not before all are known: who goes on shows by those above it
            self._procs.delete(key)

    def let_it_go_on(self) -> bool:
        """Have `detach` detach nothing: what is denied stays denied until somebody stops this instance.

        Returns whether it does: not where the programs are to end with this process.
        """
        self._goes_on = self._outlives
        return self._goes_on

    def finish(self, handle: Handler) -> None:
        """Hand over the rest of what the kernel only counted. Call it once, when detached and drained."""
        self._windows.finish(handle)

    def _member(self, key: bytes, value: bytes, scope: int) -> ProcessKey | None:
        """Return the process of an entry, if it is held as one of `scope`; else None."""
        proc = wire.ProcValue.unpack(value)
        is_one = self.scopes.held_as(proc) == scope
        return ProcessKey(_KEY.unpack(key)[0], proc.started_ns) if is_one else None


def _runs(pid: int) -> bool:
    """Whether a process has `pid` and runs: a zombie has no executable any more."""
    try:
        Path(f"/proc/{pid}/exe").readlink()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def mode_of(value: bytes | None) -> JobMode:
    """Return the mode that an entry of the map `modes` says; None stands for no entry."""
    if value is None:
        return JobMode.NONE
    mode = wire.ModeValue.unpack(value)
    return JobMode.ENFORCE if mode.is_enforcing else JobMode.AUDIT
