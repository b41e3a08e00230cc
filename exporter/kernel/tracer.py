"""The kernel's programs while they run, as seen through their pinned maps and links.

tracer.processes.follow(root, scope)
while is_running():
    tracer.drain(handle, limit=8192)
"""

from __future__ import annotations

import math
import select
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from exporter.events import wire
from exporter.kernel.bpf import U32, Map
from exporter.kernel.frames.packet_frames import Frames
from exporter.kernel.locks import changing_modes
from exporter.kernel.maps.fork_counts import Forks
from exporter.kernel.maps.grants import Grants
from exporter.kernel.maps.inheritance import Inherited, inherited, total
from exporter.kernel.maps.modes import enforced, mode_of
from exporter.kernel.maps.policies import Policies
from exporter.kernel.maps.queries import Queries
from exporter.kernel.maps.registry import JobMode, Registered, Registry
from exporter.kernel.maps.resolvers import trust_units
from exporter.kernel.maps.rings import Drained, Handler, Ring, drain
from exporter.kernel.maps.windows import Coverage, Windows
from exporter.kernel.programs.attachment import DETACHED, REPLACED, UNPINNED, HeldLinks
from exporter.kernel.scopes import Scopes

from .dropped_connections import MAPS, NotAborted, abort
from .pins import leave, remove
from .processes import FollowedProcesses

RINGS = ("lineage", "first", "lookups", "events", "environments")
"""The rings, in the order in which records on a later one follow from records on an earlier one."""
_REFUSES_SENDS = "on_send"
"""The program that refuses packet sockets' sends; some kernels have no hook for it."""
_SEES_SOCKETS = "on_unix_connect"
"""The program that sees Unix sockets; some kernels have no hook for it, either."""
PINNED_MAPS = [
    *RINGS,
    *("procs", "strays", "forks", "candidates", "found_steps", "agents", "marks", "late_resolvers"),
    *("counters", "config"),
    *("flows_even", "flows_odd", "places_even", "places_odd", "places_of_all"),
    *("slots", "free_slots", "free_other_slots"),
    *("others", "others_told", "open_connects", "open_noted", "open_of_all", "account"),
    *("queries", "queries_noted", "queries_expired"),
    *("policy", "policies", "alternatives", "names", "rule_ports", "modes", "exe_bits", "exe_names"),
    *("named_sockets", "jobs"),
    *("granted", "grants_made", "grants_ended", "later", "packets", "resolver_units"),
    *("questions", "further_names", "kept_back", "without_mark", "refused_to_the_end"),
]


class Counts:
    """The kernel's counts so far, by kind of record (wire.KIND_*); each is read when it is asked for."""

    def __init__(self, count: Callable[[int, int], int]) -> None:
        """`count` returns one of a kind's counts (wire.COUNT_*)."""
        self._count = count

    def seen(self, kind: int) -> int:
        """How often an event of this kind happened in a job."""
        return self._count(kind, wire.COUNT_SEEN)

    def lost(self, kind: int) -> int:
        """How often the ring had no room for a record of this kind; for acts, no counter had, either."""
        return self._count(kind, wire.COUNT_LOST)

    def untracked(self) -> int:
        """The processes without room in the table of processes: their scope is found by their ancestors."""
        return self._count(wire.KIND_FORK, wire.COUNT_UNTRACKED)

    def unmetered(self) -> int:
        """How often there was no room to count the bytes of a datagram."""
        return self._count(wire.KIND_BYTES, wire.COUNT_UNTRACKED)

    def ungranted(self) -> int:
        """The addresses that rules for names would have granted, and for which there was no room."""
        return self._count(wire.KIND_DNS, wire.COUNT_UNGRANTED)


class Tracer:
    """One instance's maps and rings; its programs run until `detach`."""

    def __init__(
        self,
        directory: Path,
        stack: ExitStack,
        coverage: Coverage,
        *,
        outlives: bool = True,
        is_adopted: bool = False,
    ) -> None:
        """Open the maps and links pinned in `directory`; `stack` closes them again.

        Without `outlives` the programs are to end with this process, and no link is pinned. With `is_adopted`
        an exporter that ended has used this instance before.
        """
        self.directory = directory
        """Where the pins are."""
        self.is_adopted = is_adopted
        self._outlives = outlives
        self._goes_on = self._is_detached = False
        self.left = NotAborted()
        """The connections of which packets were dropped, and that `detach` couldn't abort."""
        self._noted = b""
        opened = {name: stack.enter_context(closing(Map(directory / f"map_{name}"))) for name in PINNED_MAPS}
        self.maps: Mapping[str, Map] = opened
        self._counters = opened["counters"]
        trust_units(opened["resolver_units"])
        self.frames = stack.enter_context(closing(Frames(directory, opened, outlives=outlives)))
        self._queries, forks = Queries(opened), Forks(opened["forks"])
        self._modes = opened["modes"]
        self._registry = Registry(opened["jobs"], partial(changing_modes, directory))
        self._policies, self._grants = Policies(opened, self._registry), Grants(opened)
        self._held = stack.enter_context(closing(HeldLinks(directory)))
        self.frames.refuses_sends = _REFUSES_SENDS in self.attached
        self._windows = stack.enter_context(closing(Windows(opened, coverage, goes_on=is_adopted)))
        parts = (self._policies, self._grants, self._queries, forks, self._windows, self.frames)
        self.scopes = Scopes(opened, *parts)
        self._urgent = select.poll()
        if coverage.reads_environments:
            self._urgent.register(opened["environments"].fileno(), select.POLLIN)
        self._rings = [
            stack.enter_context(closing(Ring(opened[name].fileno(), opened[name].max_entries)))
            for name in RINGS
            if name != "environments" or coverage.reads_environments
        ]
        self.processes = FollowedProcesses(
            opened,
            self.scopes,
            forks=forks,
            windows=self._windows,
            frames=self.frames,
            lineage=self._rings[0],
            is_adopted=is_adopted,
            is_detached=lambda: self._is_detached,
        )
        self._environments = self._rings[-1] if coverage.reads_environments else None
        self.before = inherited(opened, self._rings, self._windows) if is_adopted else Inherited()
        """The attempts that the kernel counted for earlier exporters, by what became of them."""

    def hold_links(self, unpinned: Mapping[str, int]) -> None:
        """Hold the links of the programs, which have been attached meanwhile. Raises OSError.

        `unpinned` has the links that aren't pinned, by their programs' names.
        """
        self._held.hold(unpinned)
        self.frames.refuses_sends = _REFUSES_SENDS in self.attached

    @property
    def attached(self) -> frozenset[str]:
        """The names of the programs whose links are held."""
        return self._held.programs

    @property
    def sees_sockets(self) -> bool:
        """Whether the kernel shows Unix sockets themselves; else only the names that clients give."""
        return _SEES_SOCKETS in self.attached

    def hold_undecided(self, scope: int) -> None:
        """Hold possible members of jobs to the policy of `scope` until their job is known; 0: to none."""
        self._windows.hold_undecided(scope)
        self.frames.undecided = scope

    def sleep(self, most_s: float) -> None:
        """Sleep for `most_s`; where there are policies, only until a process of no job executes something."""
        self._urgent.poll(most_s * 1000)

    def register(self, scope: int, job: Registered) -> None:
        """Publish the job of `scope` to other processes: before a policy holds it, and at each change."""
        self._registry.enter(scope, job)

    def unregister(self, scope: int) -> None:
        """Remove the job of `scope`, which is over, from the jobs that other processes see."""
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
        running = (process.scope for process in self.processes.running())
        return {**dict.fromkeys((*self.scopes.held(), *running)), **told}

    def note(self, settled: int) -> None:
        """Note, in case this process is killed, how many attempts it has reported or given up."""
        value = wire.ACCOUNT_VALUE.pack(self.before.settled + settled, self.counts().lost(wire.KIND_ACT))
        if value != self._noted:
            self._noted = value
            self.maps["account"].update(U32.pack(0), value)

    def mode(self, scope: int) -> JobMode:
        """Return the mode that the kernel applies to `scope` now."""
        return mode_of(self._modes, scope)

    def denies(self) -> bool:
        """Whether any policy is enforced."""
        return bool(enforced(self._modes))

    def is_attached(self) -> bool:
        """Whether all programs are where they were attached, as of now."""
        lost = self._held.lost()
        return not self._is_detached and not lost[DETACHED] and not lost[REPLACED]

    def drain(self, handle: Handler, *, limit: int, most_s: float = math.inf) -> Drained:
        """Hand finished records to `handle` for `most_s`: at least one if any, at most `limit`.

        Aggregate records of acts that the kernel only counted come once there are no others.
        """
        drained = drain(self._rings, handle, limit=limit, most_s=most_s)
        if drained.is_all:
            self._windows.turn(handle)
            self._queries.turn()
            self._grants.turn(self._windows.number)
        return drained

    def caught_up(self) -> Callable[[], bool]:
        """Return a function that returns whether all records that wait now have been handed over."""
        until = [ring.produced for ring in self._rings]
        return lambda: all(ring.handed >= position for ring, position in zip(self._rings, until, strict=True))

    def hand_environments(self, handle: Handler) -> None:
        """Hand the environments with which processes of no job execute to `handle`, before their turn.

        `take_environments` does so, and `drain` with those that came after it. `drain` hands each of them to
        its own handler, too, in order with the other records.
        """
        if self._environments is not None:
            self._environments.hand_early(handle)

    def take_environments(self, *, most_s: float) -> None:
        """Hand over environments that wait, for `most_s`, at least one; see `hand_environments`."""
        if self._environments is not None:
            self._environments.take_early(most_s=most_s)

    def lost_environments(self) -> int:
        """Return for how many environments the ring had no room so far."""
        return self.counts().lost(wire.KIND_ENVIRONMENT)

    def has_counted_open(self) -> bool:
        """Whether there are connects that were only counted and whose outcome isn't known yet."""
        return self._windows.has_open()

    def counts(self) -> Counts:
        """Return the kernel's counts, summed up over all CPUs."""
        return Counts(partial(total, self._counters))

    def misses(self) -> Mapping[str, int]:
        """Return how often the kernel left out a program: see `HeldLinks.misses`."""
        return self._held.misses()

    def lost(self) -> Mapping[str, frozenset[str]]:
        """Return the names of lost programs and pins, by the kind of their loss: see `HeldLinks.lost`."""
        found = dict(self._held.lost())
        found[UNPINNED] |= self.frames.unpinned()
        return found

    @property
    def name(self) -> str:
        """The instance's id."""
        return self.directory.name

    def detach(self) -> None:
        """Detach the programs, unless `let_it_go_on` was called. Rings and counts can still be read."""
        if self._goes_on:
            self.frames.close()
            self._held.misses()
            self._held.close()
            leave(self.directory)
            return
        if not self._is_detached:
            self.left = abort(*(self.maps[name] for name in MAPS))  # first: later, nothing drops packets
        self._is_detached = True
        self.frames.detach()
        self._held.detach()
        remove(self.directory)

    def let_it_go_on(self) -> bool:
        """Make `detach` leave the programs attached: policies stay in force until the instance is stopped.

        Returns whether it will do so: False where the programs are to end with this process.
        """
        self._goes_on = self._outlives
        return self._goes_on

    def finish(self, handle: Handler) -> None:
        """Hand over the last acts that the kernel only counted. Call it once, when detached and drained."""
        self._windows.finish(handle)
