"""The jobs' scopes in the kernel: for each its policy, its counts, its grants and its DNS questions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from exporter.events import wire
from exporter.events.facts import HOST, ProcessKey
from exporter.kernel.bpf import Map
from exporter.kernel.frames.packet_frames import Frames
from exporter.kernel.maps.candidates import Candidates, root_key
from exporter.kernel.maps.fork_counts import Forks
from exporter.kernel.maps.grants import EarlyGrant, Grants
from exporter.kernel.maps.modes import all_modes
from exporter.kernel.maps.policies import Policies, WrittenPolicy
from exporter.kernel.maps.procs import all_procs, is_there, proc_at, proc_of
from exporter.kernel.maps.queries import Queries
from exporter.kernel.maps.rings import Handler
from exporter.kernel.maps.verdicts import Peer, Verdicts
from exporter.kernel.maps.windows import Windows
from exporter.policy.compile import Compiled
from exporter.policy.compile_names import NamedRules

from .grace_period import wait_for_programs

SWEPT_FROM = 1024
"""The number of candidates from which on `sweep` removes some: below that there is room for all."""

Answers = Mapping[bytes, tuple[set[str], int]]
"""The names that led to each address (16 bytes), and when the last answer came, in ns since boot."""
Seeds = Iterable[tuple[bytes, Collection[str]]]
NamesOf = Callable[[int, bytes], Collection[str]]
"""A function that returns the names that led a scope to an address (16 bytes), in answers that may grant."""


class Named(NamedTuple):
    """A policy's number, and its rules for names."""

    number: int
    rules: NamedRules


class Scopes:
    """The scopes of an instance: each opened when its job begins, closed when no process of it is left."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that a scope has a part of
        self,
        maps: Mapping[str, Map],
        policies: Policies,
        grants: Grants,
        queries: Queries,
        forks: Forks,
        windows: Windows,
        frames: Frames,
    ) -> None:
        """Begin without an open scope; `maps` has the instance's maps, by their names in bpf/."""
        self._frames = frames
        self._policies, self._grants, self._queries = policies, grants, queries
        self._windows, self._forks, self._procs = windows, forks, maps["procs"]
        self._candidates = Candidates(maps["candidates"])
        self._late_resolvers = maps["late_resolvers"]
        self._modes = maps["modes"]
        self._verdicts = Verdicts(maps)

    def open(self, scope: int) -> None:
        """Begin to count acts of `scope`. Raises OSError (E2BIG) when there are too many scopes."""
        self._windows.follow(scope)
        if scope != HOST:
            self._forks.follow(scope)

    def adopt(self, process: ProcessKey, exec_id: int, scope: int) -> None:
        """Put a program that was followed as one of no job into `scope`: see `Candidates.adopt`."""
        try:
            self._frames.arrived(process, scope)  # first: as soon as its acts are denied, its frames are, too
        finally:
            self._candidates.adopt(process, exec_id, scope)

    def release(self, process: ProcessKey, exec_id: int) -> None:
        """Stop holding a program that turned out to be of no job: see `Candidates.release`."""
        self._candidates.release(process, exec_id)

    def entry(self, process: ProcessKey) -> wire.ProcValue | None:
        """Return the kernel's entry of `process`, whatever records were lost; None when it has none."""
        return proc_of(self._procs, process)

    def is_agent(self, process: ProcessKey) -> bool:
        """Whether `process` is an agent, by the kernel's entry: its name could be anybody's choice."""
        entry = self.entry(process)
        return entry is not None and entry.standing == wire.STANDING_AGENT

    def entry_at(self, pid: int) -> wire.ProcValue | None:
        """Return the kernel's entry of the process that has `pid` now; None when it has none."""
        return proc_at(self._procs, pid)

    @property
    def refused(self) -> int:
        """The number of jobs' programs that found no room among the candidates, and so are in no scope."""
        return self._candidates.refused

    def undecided(self) -> Iterator[tuple[ProcessKey, wire.ProcValue]]:
        """Iterate over processes of no job, as far as is known, the youngest first; agents are left out."""
        found = []
        for pid, proc in all_procs(self._procs):
            if proc.standing != wire.STANDING_AGENT and self.scope_of(proc) == HOST:
                found.append((ProcessKey(pid, proc.started_ns), proc))
        yield from sorted(found, reverse=True, key=lambda each: each[0].started_ns)

    def sweep(self) -> None:
        """Remove the candidates of processes that have ended, or whose own entry has their scope by now.

        A process that may still take its scope from a candidate is in the kernel's table, and takes it before
        it makes another process.
        """
        if len(self._candidates) < SWEPT_FROM:
            return
        needed = {key for _, key in self._late_resolvers.items()}
        needed.update(root_key(proc) for _, proc in all_procs(self._procs) if proc.scope == HOST)
        self._candidates.forget_all_but(needed)

    def write(self, policy: Compiled, scope: int | None = None, *, leaving: int = 0) -> WrittenPolicy:
        """Write a policy, for `hold`. Raises KernelError when it has no room.

        If an exporter that ended held `scope` to the same policy, the entries and the number stay. Else
        there must be room for `leaving` further entries for addresses.
        """
        return self._policies.write(policy, scope, leaving=leaving)

    def hold(
        self, scope: int, number: int, policy: Compiled, seeds: Seeds = (), *, is_new: bool = False
    ) -> None:
        """Hold `scope` to `policy`, written as `number`, from now on, in its mode.

        `seeds` are the names that addresses (16 bytes) have without being looked up. With `is_new` the scope
        has no process yet: the network of the first one is looked after when it comes (`Frames.arrived`).
        Raises KernelError when the policy has to be enforced and, as far as is known, can't be.
        """
        if not self._policies.is_held(scope, number):  # else the scope has these grants, and later ones
            masks = ((peer, policy.named.granted(names)) for peer, names in seeds)
            self._grants.seed(scope, number, ((peer, mask) for peer, mask in masks if mask))
        if self._policies.will_enforce(scope, policy):
            if not is_new:  # a new scope has no process to find
                self._frames.look(about_to_be={scope})  # first: if this process is killed, the policy stays
            self._frames.require_options()
        self._policies.hold(scope, number, policy)
        self._windows.judge(has_executables=bool(self._policies.executables))

    def look_again(self) -> None:
        """Look again for the files of the executables that policies name. Raises KernelError and OSError."""
        self._policies.executables.look_again()

    def look_for_sockets(self) -> None:
        """Look again for the files of the Unix sockets that policies name. Raises OSError."""
        self._policies.look_for_sockets()

    def prepare(self, scope: int, number: int, policy: Compiled) -> None:
        """Make the kernel grant under `policy` (written as `number`), too: `scope` is to be held to it."""
        self._policies.prepare(scope, number, policy)

    def allows(self, policy: int, peer: Peer) -> bool:
        """Whether the policy numbered `policy` lets each process of a job act with `peer`, by its address."""
        return self._verdicts.allows(policy, peer)

    def carry_over(self, scope: int, before: int, after: int, named: NamedRules, answers: Answers) -> int:
        """Grant under the policy `after`, with rules `named`, as if it had been there when `answers` came.

        Returns how many addresses had a grant under `before` and lack one now: there is no room for it, or
        the names that led to the address aren't remembered, so that its rules aren't known.
        """
        masks = {peer: (named.granted(names), at_ns) for peer, (names, at_ns) in answers.items()}
        return self._grants.carry_over(scope, before, after, masks)

    def carry_over_early(self, before: Named, after: Named, names_of: NamesOf) -> int:
        """Carry grants over, as `carry_over` does, for steps that looked names up before their job was known.

        A name counts for a step's address only if a process of the step's job, or of no job yet, looked it
        up, and if `before` granted the name's rules to the step: other jobs may use resolvers that this job
        doesn't trust.
        """
        scopes = self._scopes_of_steps()

        def mask_of(early: EarlyGrant) -> int | None:
            if early.step not in scopes:  # the step is over
                return 0
            told = {name for scope in (HOST, *scopes[early.step]) for name in names_of(scope, early.address)}
            own = [name for name in told if before.rules.granted([name]) & early.mask]
            return after.rules.granted(own) if own else None

        return self._grants.carry_over_early(before.number, after.number, mask_of)

    def _scopes_of_steps(self) -> Mapping[int, set[int]]:
        """Return, by a step's number, the scopes of its processes that still run; as a rule only one."""
        found = defaultdict[int, set[int]](set)
        for _, proc in all_procs(self._procs):
            found[proc.early | wire.SCOPE_EARLY].add(self.scope_of(proc))
        return found

    def drop_grants(self, scope: int, number: int) -> None:
        """Remove the grants of `scope` under the policy `number`."""
        self._grants.forget(scope, number=number)

    def remove(self, number: int) -> None:
        """Remove the policy `number`, to which no scope is held, and which no running program uses."""
        self._policies.remove(number)

    def let_go(self, scope: int) -> None:
        """Hold `scope` to no policy any more, although some of its processes may go on."""
        self._policies.release(scope)
        self._grants.forget(scope)

    def forget_earlier(self) -> int:
        """Remove policies of earlier exporters that no scope is held to, and the grants under them.

        Returns how many of these grants came from answers.
        """
        wait_for_programs()
        lost = self._grants.keep_only(self._policies.numbers)
        self._policies.remove_unknown()
        return lost

    def scope_of(self, proc: wire.ProcValue) -> int:
        """Return the scope of a process; HOST when it is of no job."""
        return self._candidates.scope_of(proc)

    def held_as(self, proc: wire.ProcValue) -> int:
        """Return the scope to whose policy a process is held, even while its job isn't known."""
        return self._candidates.held_as(proc, self._frames.undecided)

    def held(self) -> set[int]:
        """Return the scopes that are held to a policy."""
        return {scope for scope, _ in all_modes(self._modes)}

    def is_empty(self, scope: int) -> bool:
        """Whether no process of `scope` is left, whatever records were lost; False if that is unsure now."""
        return bool(self.empty({scope}))

    def empty(self, scopes: Collection[int]) -> list[int]:
        """Return the `scopes` that are empty (see `is_empty`), by one walk through the processes for all."""
        made = {scope: self._forks.made(scope) for scope in scopes}
        live = set[int]()
        for pid, proc in all_procs(self._procs) if made else ():
            scope = self.scope_of(proc)
            if scope in made and scope not in live and is_there(pid):
                live.add(scope)
        return [scope for scope in made if scope not in live and self._forks.made(scope) == made[scope]]

    def give_up_open(self, scope: int, handle: Handler) -> None:
        """Hand over, and forget, counted connects of `scope` that are open: its job is over."""
        self._windows.give_up_open(scope, handle)

    def close(self, scopes: Collection[int], handle: Handler) -> None:
        """Remove all entries of empty scopes; the acts that were counted last go to `handle`."""
        for scope in scopes:
            self._candidates.forget(scope)
            self._policies.release(scope)
        self._grants.forget(*scopes)
        self._queries.forget(*scopes)
        for scope in scopes:
            self._forks.forget(scope)
            self._windows.forget(scope, handle)
